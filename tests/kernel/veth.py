"""A pair of virtual Ethernet interfaces, in a network namespace of its own: what is sent into one comes out of the other."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Any

from tests.support import Call

PROTOCOL = 0x88B5  # an EtherType for experiments: nobody else in the namespace speaks it

CLONE_NEWNET = 0x40000000
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
RTM_NEWLINK, RTM_DELLINK = 16, 17
IFLA_IFNAME, IFLA_LINKINFO = 3, 18
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFF_UP = 1


def attribute(kind: int, *values: bytes) -> bytes:
    """One rtnetlink attribute, which may be made of others."""
    value = b"".join(values)
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link_header(flags: int = 0) -> bytes:
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, flags, flags)


def in_new_namespace(fn: Any) -> Any:
    """Call `fn()` in a thread that has a network namespace of its own. The sockets that it makes stay in there."""

    def enter() -> Any:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"a network namespace: {os.strerror(ctypes.get_errno())}")
        return fn()

    return Call(enter).result()


class VethPair:
    """Two interfaces that are up, with a packet socket bound to each."""

    NAMES = ("left", "right")

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        left, right = (attribute(IFLA_IFNAME, name.encode() + b"\0") for name in self.NAMES)
        veth = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, link_header(), right))
        info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth"), veth)
        try:
            self._ask(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link_header() + left + info)
            for name in (left, right):
                self._ask(RTM_NEWLINK, 0, link_header(IFF_UP) + name)
        except OSError:
            self._netlink.close()
            raise
        self.left, self.right = map(self._packets, self.NAMES)

    def _ask(self, what: int, flags: int, body: bytes) -> None:
        self._netlink.send(struct.pack("IHHII", 16 + len(body), what, flags | NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
        answer = self._netlink.recv(65536)
        kind, number = struct.unpack_from("4xH10xi", answer)
        assert kind == NLMSG_ERROR  # which is what acknowledgements are
        if number:
            raise OSError(-number, f"rtnetlink: {os.strerror(-number)}")

    @staticmethod
    def _packets(name: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PROTOCOL))
        sock.bind((name, PROTOCOL))
        return sock

    def delete(self) -> None:
        """Take both interfaces away, as when the hardware is pulled."""
        self._ask(RTM_DELLINK, 0, link_header() + attribute(IFLA_IFNAME, b"left\0"))

    def close(self) -> None:
        for sock in (self.left, self.right, self._netlink):
            sock.close()


def frame(text: bytes) -> bytes:
    """An Ethernet frame to everybody."""
    return b"\xff" * 6 + b"\2" + bytes(5) + struct.pack("!H", PROTOCOL) + text
