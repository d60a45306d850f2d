"""A tun interface that is deleted, or taken down, under those who read its packets."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import sys

import pytest

from ref_proxy import Revoked
from ref_proxy.adapters import files
from tests import PATIENCE
from tests.support import Call, sleeps_in_call_on, until

from .support import CLONE_NEWNET, Lacking, apart, asleep

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
RTM_DELLINK, NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 17, 1, 4, 2
PACKET = b"\x45" + bytes(31)


def tunnel() -> tuple[int, str]:
    """The descriptor of a new interface, which is down, and its name."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        answer = fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"tun%d", IFF_TUN | IFF_NO_PI))
    except OSError as error:
        raise Lacking(f"/dev/net/tun: {error}") from None
    return descriptor, answer[:16].rstrip(b"\0").decode()


def delete(interface: str) -> None:
    """What `ip link del` does."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(interface), 0, 0)
    head = struct.pack("=IHHII", 16 + len(body), RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(head + body)
        answer = netlink.recv(4096)
    kind, code = struct.unpack_from("=4xH10xi", answer)
    assert (kind, code) == (NLMSG_ERROR, 0), os.strerror(-code)


def test_readers_that_are_blocked_when_it_is_deleted_learn_that_it_is_gone_and_the_owner_is_told_once():
    def check():
        told: list[object] = []
        descriptor, interface = tunnel()
        provider = files.provide(descriptor, name=interface, on_gone=told.append)
        packets = files.open(provider.proxy())
        readers = [Call(packets.read, 2000) for _ in range(3)]
        polling = Call(packets.poll)
        until(lambda: asleep(provider, 4))
        delete(interface)
        for reading in readers:
            with pytest.raises(Revoked, match=f"'{interface}' went away by itself") as caught:
                reading.result()
            assert caught.value.__cause__.errno == errno.EBADFD
        assert polling.result() == select.POLLERR
        for use in (lambda: packets.read(1), lambda: packets.write(PACKET), lambda: packets.ioctl(0x800454D2, bytes(40))):
            with pytest.raises(Revoked, match="went away by itself"):
                use()
        assert told == [provider]
        assert provider.revoke(timeout=PATIENCE) is True

    apart(CLONE_NEWNET, check)


def test_a_reader_that_the_kernel_itself_holds_learns_it_too():
    """Of a descriptor that somebody has made blocking: the read sleeps in the kernel, and ends with EFAULT, of all numbers."""

    def check():
        if not os.access("/proc/self/syscall", os.R_OK):
            raise Lacking("/proc/self/syscall, to see a thread asleep")
        descriptor, interface = tunnel()
        provider = files.provide(descriptor, name=interface)
        os.set_blocking(descriptor, True)
        reading = Call(files.open(provider.proxy()).read, 2000)
        until(lambda: provider.blockers() and sleeps_in_call_on(reading, descriptor))
        delete(interface)
        with pytest.raises(Revoked, match="went away by itself") as caught:
            reading.result()
        assert caught.value.__cause__.errno == errno.EFAULT
        assert provider.revoke(timeout=PATIENCE) is True

    apart(CLONE_NEWNET, check)


def test_an_interface_that_is_only_down_is_not_gone():
    """It refuses packets with EIO, which is what a device that is gone says, too."""

    def check():
        told: list[object] = []
        descriptor, interface = tunnel()
        with files.provide(descriptor, name=interface, on_gone=told.append) as provider:
            with pytest.raises(OSError) as caught:
                files.open(provider.proxy()).write(PACKET)
            assert caught.value.errno == errno.EIO
            assert not isinstance(caught.value, Revoked)
        assert told == []

    apart(CLONE_NEWNET, check)


def test_a_removal_brings_blocked_readers_back_and_the_interface_goes_with_the_release():
    def check():
        descriptor, interface = tunnel()
        provider = files.provide(descriptor, name=interface)
        readers = [Call(files.open(provider.proxy()).read, 2000) for _ in range(3)]
        until(lambda: asleep(provider, 3))
        assert provider.revoke(timeout=PATIENCE) is True
        for reading in readers:
            with pytest.raises(Revoked, match="was refused"):
                reading.result()
        assert interface not in dict(map(reversed, socket.if_nameindex()))

    apart(CLONE_NEWNET, check)
