"""A network interface that is deleted: what Linux does to those who listen on it, and what they get through sockets.provide()."""

from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from ref_proxy import Provider, Revoked
from ref_proxy.adapters import sockets
from tests.spec.adapters.test_sockets import assert_blocks
from tests.support import Call

from .veth import VethPair, frame, in_new_namespace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="packet sockets are Linux's")


@pytest.fixture
def pair():
    try:
        pair = in_new_namespace(VethPair)
    except OSError as error:
        pytest.skip(f"needs the right to make network interfaces, and a kernel with veth: {error}")
    yield pair
    pair.close()


@pytest.fixture
def told():
    return []


@pytest.fixture
def provider(pair, told):
    provider = sockets.provide(pair.left, name="left", on_gone=told.append)
    yield provider
    provider.revoke(timeout=20)


@pytest.fixture
def handle(provider):
    with sockets.open(provider.proxy("sniffer")) as handle:
        yield handle


# What the world does.


def test_linux_tells_one_listener_once_and_is_silent_then(pair):
    listening = Call(pair.left.recv, 2000)
    pair.delete()
    with pytest.raises(OSError) as caught:
        listening.result()
    assert caught.value.errno == errno.ENETDOWN
    pair.left.setblocking(False)
    with pytest.raises(BlockingIOError):  # a blocking one would sleep for good
        pair.left.recv(2000)
    assert select.select([pair.left], [], [], 0) == ([], [], [])


def test_linux_cannot_shut_a_packet_socket_down(pair):
    with pytest.raises(OSError) as caught:
        pair.left.shutdown(socket.SHUT_RDWR)
    assert caught.value.errno == errno.EOPNOTSUPP


# What is promised.


def test_frames_go_through(pair, handle):
    assert pair.right.send(frame(b"ping")) == len(frame(b"ping"))
    assert handle.recv(2000) == frame(b"ping")
    assert handle.send(frame(b"pong")) == len(frame(b"pong"))
    assert pair.right.recv(2000) == frame(b"pong")


def test_all_listeners_get_revoked_when_the_interface_is_deleted_and_the_owner_is_told_once(pair, provider, told):
    handles = [sockets.open(provider.proxy()) for _ in range(5)]
    listening = [assert_blocks(Call(handle.recv, 2000)) for handle in handles]
    pair.delete()
    for call in listening:
        with pytest.raises(Revoked, match="'left' went away by itself"):
            call.result()
    assert told == [provider]
    for handle in handles:  # Linux is silent by now
        with pytest.raises(Revoked, match="'left' went away by itself"):
            handle.recv(2000)
    assert told == [provider]


@pytest.mark.parametrize(
    ("use", "said"), [(lambda s: s.recv(2000), errno.ENETDOWN), (lambda s: s.send(frame(b"ping")), errno.ENXIO)]
)
def test_who_comes_after_the_deletion_gets_revoked_from_what_linux_said(use, said, pair, provider, handle, told):
    pair.delete()
    with pytest.raises(Revoked, match="'left' went away by itself") as caught:
        use(handle)
    assert caught.value.__cause__.errno == said
    assert told == [provider]


def test_the_owner_may_have_it_removed_when_he_is_told(pair):
    provider = sockets.provide(pair.right, on_gone=Provider.revoke)
    handle = sockets.open(provider.proxy())
    pair.delete()
    with pytest.raises(Revoked):
        handle.recv(2000)
    assert provider.state == "revoked"
    handle.close()


def test_a_removal_wakes_all_listeners_at_once(provider):
    listening = [assert_blocks(Call(sockets.open(provider.proxy()).recv, 2000)) for _ in range(5)]
    assert provider.revoke(timeout=20) is True
    for call in listening:
        with pytest.raises(Revoked, match="'left' was revoked in the middle of this call"):
            call.result()
