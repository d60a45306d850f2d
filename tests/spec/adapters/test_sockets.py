"""Sockets: blocked calls of every kind come back with Revoked, an end by removal is none, no number is used after its close."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import select
import selectors
import socket
import ssl
import struct
import sys
import tempfile
import threading

import pytest

from ref_proxy import Provider, Revoked, RevokeTimeout
from ref_proxy.adapters import sockets
from tests.support import Call, in_child, until

LINUX = sys.platform == "linux"
HERE = ("127.0.0.1", 0)


@pytest.fixture
def keep():
    """Keeps things until the end of the test, and closes them then."""
    kept: list = []

    def keep(*things):
        kept.extend(things)
        return things[0] if len(things) == 1 else things

    yield keep
    for thing in kept:
        thing.revoke(timeout=20) if isinstance(thing, Provider) else thing.close()


@pytest.fixture
def link(keep):
    """A provider of one end of a connection, and the other end."""
    mine, peer = socket.socketpair()
    return keep(sockets.provide(mine, name="link"), peer)


@pytest.fixture
def handle(link, keep):
    return keep(sockets.open(link[0].proxy("reader")))


def assert_blocks(call: Call) -> Call:
    """Prove that it polls the socket and the waker. An instant before it sleeps is as good: a waker stays as it is."""

    def polls():
        frame = sys._current_frames().get(call.ident)
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        return sockets.SharedSocket.wait.__code__ in codes and codes[0].co_filename == selectors.__file__

    until(lambda: call.returned or polls())
    assert not call.returned, f"it did not block, but came back with {call._outcome}"
    return call


def fill(sock: socket.socket) -> None:
    """Send until there is no more room, and leave no room."""
    sock.setblocking(False)
    size = 65536
    while size:
        try:
            sock.send(bytes(size))
        except BlockingIOError:
            size //= 2
    sock.setblocking(True)


# Each kind: a socket that somebody can be blocked in, and the call that blocks.


def stream(keep):
    mine, peer = socket.socketpair()
    keep(peer)
    return mine


def connection(keep):
    with socket.create_server(HERE) as server:
        mine = socket.create_connection(server.getsockname())
        keep(server.accept()[0])
    return mine


def full(keep):
    mine = stream(keep)
    fill(mine)
    return mine


def datagrams(keep):
    mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mine.bind(HERE)
    return mine


def connected_datagrams(keep):
    mine = datagrams(keep)
    mine.connect(mine.getsockname())
    return mine


def listener(keep):
    return socket.create_server(HERE)


def local_listener(keep):
    mine = socket.socket(socket.AF_UNIX)
    mine.bind("")  # a name of the system's own choice
    mine.listen()
    return mine


def privileged(*kind):
    try:
        return socket.socket(*kind)
    except PermissionError as error:
        pytest.skip(f"needs the right to open raw sockets: {error}")


def raw(keep):
    return privileged(socket.AF_INET, socket.SOCK_RAW, 253)  # a protocol that is nobody's


def packets(keep):
    return privileged(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))  # the same


def netlink(keep):
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


def caller(keep):
    """A socket that connects to a server which does not answer, since its queue is full."""
    server = keep(socket.socket())
    server.bind(HERE)
    server.listen(0)
    for _ in range(2):
        waiting = keep(socket.socket())
        waiting.setblocking(False)
        assert waiting.connect_ex(server.getsockname()) == errno.EINPROGRESS
    addresses["caller"] = server.getsockname()
    return socket.socket()


def local_caller(keep):
    server = keep(local_listener(keep))
    server.listen(0)
    waiting = keep(socket.socket(socket.AF_UNIX))
    waiting.connect(server.getsockname())
    addresses["local_caller"] = server.getsockname()
    return socket.socket(socket.AF_UNIX)


def local_datagrams(keep):
    """A socket that sends, unconnected, to one whose queue is full: the system has no way to wait for that one."""
    receiver = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    receiver.bind("")
    addresses["local_datagrams"] = receiver.getsockname()
    mine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    mine.setblocking(False)
    try:
        while True:
            mine.sendto(b"x", receiver.getsockname())
    except BlockingIOError:
        mine.setblocking(True)
        return mine


addresses: dict[str, object] = {}

only_linux = pytest.mark.skipif(not LINUX, reason="Linux has this kind")

BLOCKED = [
    (stream, lambda s: s.recv(1)),
    (stream, lambda s: s.recv_into(bytearray(1))),
    (stream, lambda s: s.recvfrom(1)),
    (stream, lambda s: s.recvfrom_into(bytearray(1))),
    (stream, lambda s: s.recvmsg(1)),
    (stream, lambda s: s.recvmsg_into([bytearray(1)])),
    (stream, lambda s: s.makefile("r").readline()),
    (connection, lambda s: s.recv(1)),
    (full, lambda s: s.send(b"x")),
    (full, lambda s: s.sendall(b"x")),
    (full, lambda s: s.sendmsg([b"x"])),
    (datagrams, lambda s: s.recv(1)),
    (datagrams, lambda s: s.recvfrom(1)),
    (connected_datagrams, lambda s: s.recv(1)),
    (listener, lambda s: s.accept()),
    pytest.param(local_listener, lambda s: s.accept(), marks=only_linux),
    pytest.param(caller, lambda s: s.connect(addresses["caller"]), marks=only_linux),
    pytest.param(caller, lambda s: s.connect_ex(addresses["caller"]), marks=only_linux),
    pytest.param(local_caller, lambda s: s.connect(addresses["local_caller"]), marks=only_linux),
    pytest.param(local_datagrams, lambda s: s.sendto(b"x", addresses["local_datagrams"]), marks=only_linux),
    pytest.param(raw, lambda s: s.recv(1), marks=only_linux),
    pytest.param(packets, lambda s: s.recv(1), marks=only_linux),
    pytest.param(netlink, lambda s: s.recv(1), marks=only_linux),
]


@pytest.mark.parametrize(("kind", "call"), BLOCKED)
def test_a_blocked_call_on_a_handle_comes_back_with_revoked(kind, call, keep):
    provider = keep(sockets.provide(kind(keep), name="link"))
    handle = keep(sockets.open(provider.proxy()))
    calls = [assert_blocks(Call(call, handle)) for _ in range(3)]
    assert provider.revoke(timeout=20) is True
    for each in calls:
        with pytest.raises(Revoked, match="'link' was revoked in the middle of this call"):
            each.result()


@pytest.mark.parametrize(("kind", "call"), BLOCKED)
def test_a_blocked_call_in_a_section_comes_back_with_revoked(kind, call, keep):
    def consumer():
        with proxy.access() as sock:
            return call(sock)

    provider = keep(sockets.provide(kind(keep), name="link"))
    proxy = provider.proxy()
    blocked = assert_blocks(Call(consumer))
    assert provider.revoke(timeout=20) is True
    with pytest.raises(Revoked, match="'link' was revoked in the middle of this call"):
        blocked.result()


def test_a_call_that_begins_in_a_section_after_the_removal_began_does_not_block(link):
    provider, _ = link
    with provider.proxy().access() as sock:
        removal = provider.revoke_soon()
        with pytest.raises(Revoked):
            sock.recv(1)
    assert removal.wait(20)


def test_what_had_arrived_before_the_removal_can_still_be_read_in_a_section(link):
    provider, peer = link
    with provider.proxy().access() as sock:
        assert sock.getblocking()
        peer.send(b"ping")
        assert sock.recv(4) == b"ping"


def test_the_end_of_the_peer_is_an_end_and_that_of_a_removal_is_not(link, handle):
    provider, peer = link
    peer.shutdown(socket.SHUT_WR)
    assert handle.recv(1) == b""
    assert handle.recv_into(bytearray(1)) == 0
    with provider.proxy().access() as sock:
        removal = provider.revoke_soon()
        with pytest.raises(Revoked):
            sock.recv(1)
    assert removal.wait(20)
    with pytest.raises(Revoked):
        handle.recv(1)


def test_an_end_that_is_read_in_the_instant_of_the_removal_is_none(link):
    def read_the_end(_):
        removals.append(provider.revoke_soon())
        return b""  # as the shutdown() in there has made it

    provider, _ = link
    removals = []
    with provider.proxy().access() as sock, pytest.raises(Revoked):
        sock._io(sockets.READ, read_the_end)
    assert removals[0].wait(20)


def test_the_peer_sees_the_end_at_once_though_a_consumer_still_has_a_number(link, handle):
    provider, peer = link
    assert handle.fileno() >= 0
    provider.revoke(timeout=20)
    assert peer.recv(1) == b""


def test_sendall_sends_all_with_pauses_of_the_peer_in_between(link, handle):
    _, peer = link
    data = os.urandom(3_000_000)
    sending = assert_blocks(Call(handle.sendall, data))
    heard = bytearray()
    while len(heard) < len(data):
        heard += peer.recv(100_000)
    sending.result()
    assert bytes(heard) == data


# Timeouts.


def test_each_handle_has_a_timeout_of_its_own_which_begins_as_the_sockets(keep):
    mine, peer = socket.socketpair()
    keep(peer)
    mine.settimeout(7)
    provider = keep(sockets.provide(mine))
    proxy = provider.proxy()
    first, second = keep(sockets.open(proxy), sockets.open(proxy))
    assert (first.gettimeout(), second.timeout) == (7, 7)
    first.settimeout(0.01)
    second.setblocking(False)
    with pytest.raises(TimeoutError):
        first.recv(1)
    with pytest.raises(BlockingIOError):
        second.recv(1)
    assert (first.gettimeout(), first.getblocking()) == (0.01, True)
    assert (second.gettimeout(), second.getblocking()) == (0, False)
    with proxy.access() as sock:
        assert sock.gettimeout() == 7
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout, handle):
    with pytest.raises(ValueError, match="0 or more seconds"):
        handle.settimeout(timeout)


def test_a_timeout_is_for_the_whole_of_sendall(link, handle):
    handle.settimeout(0.05)
    with pytest.raises(TimeoutError):
        handle.sendall(bytes(10_000_000))


@only_linux
def test_connect_keeps_to_its_timeout(keep):
    mine = caller(keep)
    handle = keep(sockets.open(keep(sockets.provide(mine)).proxy()))
    handle.settimeout(0.01)
    with pytest.raises(TimeoutError):
        handle.connect(addresses["caller"])
    other = keep(sockets.open(keep(sockets.provide(caller(keep))).proxy()))
    other.settimeout(0.01)
    assert other.connect_ex(addresses["caller"]) == errno.EAGAIN
    other.setblocking(False)
    assert other.connect_ex(addresses["caller"]) == errno.EALREADY


def test_connect_says_how_it_failed(keep):
    with socket.create_server(HERE) as server:
        nobody = server.getsockname()
    handle = keep(sockets.open(keep(sockets.provide(socket.socket())).proxy()))
    with pytest.raises(ConnectionRefusedError):
        handle.connect(nobody)
    again = keep(sockets.open(keep(sockets.provide(socket.socket())).proxy()))
    assert again.connect_ex(nobody) == errno.ECONNREFUSED


def test_to_wait_for_what_the_system_has_no_way_to_wait_for_is_not_to_spin(link):
    def send(_):
        attempts.append(1)
        raise BlockingIOError  # though there is room: so it is with the receiver of an AF_UNIX datagram that is full

    attempts = []
    with link[0].proxy().access() as sock, pytest.raises(TimeoutError):
        sock.settimeout(0.1)
        sock._io(sockets.WRITE, send)
    assert 1 < len(attempts) < 100


# What a handle is.


def test_it_serves_and_calls_like_a_socket(keep):
    server = keep(sockets.open(keep(sockets.provide(socket.socket(), name="server")).proxy()))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    server.bind(HERE)
    server.listen()
    client = keep(sockets.open(keep(sockets.provide(socket.socket(), name="client")).proxy()))
    client.connect(server.getsockname())
    accepted, address = server.accept()
    with accepted:
        assert address == client.getsockname()
        assert client.getpeername() == accepted.getsockname()
        assert (client.family, client.type, client.proto) == (accepted.family, accepted.type, accepted.proto)
        client.sendmsg([b"pi", b"ng"])
        with client.makefile("w") as text:
            text.write("pong\n")
        with tempfile.TemporaryFile() as file:
            file.write(b"from a file")
            file.seek(5)
            assert client.sendfile(file) == 6
        client.shutdown(socket.SHUT_WR)
        assert accepted.makefile("rb").read() == b"pingpong\na file"


def test_what_accept_gives_is_the_consumers_own_and_outlives_the_server(keep):
    provider = keep(sockets.provide(listener(keep)))
    handle = keep(sockets.open(provider.proxy()))
    client = keep(socket.create_connection(handle.getsockname()))
    accepted = keep(handle.accept()[0])
    assert type(accepted) is socket.socket
    assert accepted.gettimeout() is None
    provider.revoke(timeout=20)
    client.send(b"ping")
    assert accepted.recv(4) == b"ping"


def test_close_gives_up_this_handle_alone(link, handle, keep):
    provider, peer = link
    other = keep(handle.dup())
    with other:
        other.close()
        with pytest.raises(OSError, match="closed") as caught:
            other.recv(1)
        assert caught.value.errno == errno.EBADF
        assert not isinstance(caught.value, Revoked)
        assert other.fileno() == -1
    peer.send(b"ping")
    assert handle.recv(4) == b"ping"
    provider.revoke(timeout=20)
    handle.close()
    handle.close()


def test_a_file_goes_on_after_the_close_of_its_handle_like_that_of_a_socket(link, handle):
    provider, peer = link
    file = handle.makefile("rb")
    handle.close()
    peer.send(b"ping")
    assert file.read(4) == b"ping"
    provider.revoke(timeout=20)
    with pytest.raises(Revoked):
        file.read(1)
    file.close()
    assert handle.fileno() == -1


def test_what_it_does_not_have_fails_and_touches_no_descriptor(handle):
    with pytest.raises(OSError) as caught:
        socket.socket.recv(handle, 1)
    assert caught.value.errno == errno.EBADF


def test_its_text_says_whose_it_is_and_its_state(link, handle):
    assert repr(handle) == "<ref_proxy.adapters.sockets.Socket on 'link', live>"
    link[0].revoke(timeout=20)
    assert repr(handle).endswith("revoked>")
    handle.close()
    assert repr(handle).endswith("closed>")


# Numbers.


def test_its_number_is_its_own_wakes_on_removal_and_is_given_to_nobody_before_close(link, handle):
    provider, _ = link
    number = handle.fileno()
    assert handle.fileno() == number
    with provider.proxy().access() as sock:
        assert sock.fileno() != number
    waiting = Call(select.select, [handle], [], [])
    provider.revoke(timeout=20)
    assert waiting.result() == ([handle], [], [])
    assert number not in {os.dup(number) for _ in range(5)}, "somebody else has the number"
    assert handle.fileno() == number
    handle.close()
    with pytest.raises(OSError):
        os.fstat(number)


def test_detach_hands_the_number_over(link, handle):
    _, peer = link
    with socket.socket(fileno=handle.detach()) as mine:
        peer.send(b"ping")
        assert mine.recv(4) == b"ping"
    with pytest.raises(OSError) as caught:
        handle.recv(1)
    assert caught.value.errno == errno.EBADF


@only_linux
def test_a_number_that_would_outlive_the_removal_is_not_given(keep):
    handle = keep(sockets.open(keep(sockets.provide(packets(keep), name="sniffer")).proxy()))
    with pytest.raises(OSError, match=r"'sniffer' has no number to give away.*AF_PACKET cannot be shut down") as caught:
        handle.fileno()
    assert caught.value.errno == errno.EOPNOTSUPP


def test_the_release_frees_the_port_though_a_file_on_it_was_left_open(keep):
    mine = datagrams(keep)
    address = mine.getsockname()
    provider = sockets.provide(mine)
    assert mine.fileno() == -1  # it was taken over
    with provider.proxy().access() as sock:
        file = sock.makefile("rb")
    handle = keep(sockets.open(provider.proxy()))
    provider.revoke(timeout=20)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as next_one:
        next_one.bind(address)
    file.close()
    with pytest.raises(Revoked):
        handle.recv(1)


def test_a_removal_leaves_no_descriptor(keep):
    before = set(os.listdir("/proc/self/fd")) if LINUX else set()
    mine, peer = socket.socketpair()
    provider = sockets.provide(mine)
    provider.revoke(timeout=20)
    peer.close()
    assert not LINUX or set(os.listdir("/proc/self/fd")) == before


# A device that goes away by itself.


def disconnect(sock) -> None:
    """Take the connection away beneath it, as only the system can: connect it to nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = struct.pack("H14x", socket.AF_UNSPEC)
    assert libc.connect(sock.fileno(), nothing, len(nothing)) == 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET  # asked for once, it is forgotten


@only_linux
def test_a_connection_that_is_gone_is_revoked_and_its_owner_told_once_outside_any_section(keep):
    told = []

    def on_gone(provider):
        told.append(provider)
        assert provider.revoke(timeout=20)  # it could not from inside

    provider = keep(sockets.provide(connection(keep), name="modem", on_gone=on_gone))
    first, second = (keep(sockets.open(provider.proxy())) for _ in range(2))
    with provider.proxy().access() as sock:
        disconnect(sock)
    with pytest.raises(Revoked, match="'modem' went away by itself") as caught:
        first.recv(1)
    assert caught.value.__cause__.errno == errno.ENOTCONN
    assert told == [provider]
    with pytest.raises(Revoked):
        second.recv(1)
    with pytest.raises(Revoked):
        first.recv(1)
    assert len(told) == 1
    assert provider.state == "revoked"


@only_linux
def test_after_one_consumer_found_it_gone_all_get_revoked_though_nobody_revokes(keep):
    provider = keep(sockets.provide(connection(keep), name="modem"))
    handle = keep(sockets.open(provider.proxy()))
    with provider.proxy().access() as sock:
        disconnect(sock)
        for _ in range(2):
            with pytest.raises(Revoked, match="went away by itself"):
                handle.recv(1)
        with pytest.raises(Revoked, match="went away by itself"):
            sock.send(b"x")
    assert provider.state == "live"


def test_what_is_no_departure_stays_what_it_is(keep):
    def on_gone(_):
        raise AssertionError("it is still there")

    never = keep(sockets.open(keep(sockets.provide(socket.socket(), on_gone=on_gone)).proxy()))
    with pytest.raises(OSError) as caught:
        never.recv(1)
    assert type(caught.value) is OSError
    assert caught.value.errno == errno.ENOTCONN
    with socket.create_server(HERE) as server:
        mine = socket.create_connection(server.getsockname())
        peer = server.accept()[0]
    reset = keep(sockets.open(keep(sockets.provide(mine, on_gone=on_gone)).proxy()))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(ConnectionResetError):
        reset.recv(1)
    with pytest.raises(BrokenPipeError):
        reset.send(b"x")


# Asyncio.


def test_streams_of_asyncio_read_write_and_end(link, handle):
    _, peer = link

    async def main():
        reader, writer = await asyncio.open_connection(sock=handle)
        writer.write(b"ping")
        await writer.drain()
        assert peer.recv(4) == b"ping"
        peer.sendall(b"pong")
        peer.shutdown(socket.SHUT_WR)
        assert await reader.read() == b"pong"  # up to the end, which is the peer's
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())
    assert handle.fileno() == -1


def test_a_pending_read_of_asyncio_comes_back_with_revoked(link, handle):
    provider, _ = link

    async def main():
        reader, writer = await asyncio.open_connection(sock=handle)
        reading = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        removal = asyncio.to_thread(provider.revoke, 20)
        assert await removal is True
        with pytest.raises(Revoked):
            await asyncio.wait_for(reading, 20)
        with pytest.raises(Revoked):
            await reader.read()
        with pytest.raises((Revoked, ConnectionResetError)):
            writer.write(b"ping")
            await writer.drain()
        with pytest.raises(Revoked):
            await writer.wait_closed()

    asyncio.run(main())


def test_a_pending_drain_of_asyncio_comes_back_with_revoked(link, handle):
    provider, _ = link

    async def main():
        _, writer = await asyncio.open_connection(sock=handle)
        writer.write(bytes(10_000_000))
        draining = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        assert await asyncio.to_thread(provider.revoke, 20) is True
        with pytest.raises(Revoked):
            await asyncio.wait_for(draining, 20)
        with pytest.raises(Revoked):
            await writer.wait_closed()

    asyncio.run(main())


def test_a_removal_does_not_need_the_event_loop(link, handle):
    provider, _ = link

    async def main():
        reader, writer = await asyncio.open_connection(sock=handle)
        reading = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        assert provider.revoke(timeout=20) is True  # in the loop's own thread: it runs nothing else meanwhile
        with pytest.raises(Revoked):
            await asyncio.wait_for(reading, 20)
        with pytest.raises(Revoked):
            await writer.wait_closed()

    asyncio.run(main())


def test_the_calls_of_an_event_loop_come_back_with_revoked(link, handle):
    provider, peer = link

    async def main():
        loop = asyncio.get_running_loop()
        handle.setblocking(False)
        peer.send(b"ping")
        assert await loop.sock_recv(handle, 4) == b"ping"
        reading = asyncio.create_task(loop.sock_recv(handle, 4))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(provider.revoke, 20) is True
        with pytest.raises(Revoked):
            await asyncio.wait_for(reading, 20)

    asyncio.run(main())


def test_tls_over_a_handle_ends_with_the_removal(link, handle):
    provider, _ = link
    with ssl.create_default_context().wrap_socket(handle, server_hostname="localhost", do_handshake_on_connect=False) as secured:
        call = Call(secured.do_handshake)
        with provider.proxy().access() as sock:
            assert sock.fileno() != secured.fileno()
        provider.revoke(timeout=20)
        with pytest.raises(OSError):  # ssl's own: it knows of no removal
            call.result()


# Fork.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_childs_removal_brings_its_own_readers_back_and_leaves_the_parents_alone(link, handle):
    provider, peer = link
    reading = assert_blocks(Call(handle.recv, 4))

    def check():
        mine = assert_blocks(Call(handle.recv, 4))
        assert provider.revoke(timeout=5) is True
        with pytest.raises(Revoked):
            mine.result()

    in_child(check)
    with provider.proxy().access() as sock:
        assert select.select([sock._waker], [], [], 0) == ([], [], []), "the parent's readers have been woken, and spin"
    assert_blocks(reading)
    peer.send(b"ping")
    assert reading.result() == b"ping"


# Misuse.


def test_a_socket_of_a_subclass_is_refused_and_stays_the_callers():
    with ssl.create_default_context().wrap_socket(socket.socket(), server_hostname="localhost") as sock:
        with pytest.raises(TypeError, match=r"plain socket, not a ssl\.SSLSocket"):
            sockets.provide(sock)
        assert sock.fileno() >= 0


def test_a_socket_that_somebody_else_provides_is_refused(keep):
    with socket.socket() as sock:
        provider = keep(Provider(sock))
        with pytest.raises(TypeError, match=r"sockets\.provide\(\) does not know"):
            sockets.open(provider.proxy())


def test_a_replacement_that_cannot_be_woken_is_refused_to_consumers_and_released(link, handle, keep):
    provider, _ = link
    plain = socket.socket()
    provider.replace(plain).close()
    with pytest.raises(TypeError, match=r"sockets\.provide\(\) does not know"):
        handle.recv(1)
    provider.revoke(timeout=20)
    assert plain.fileno() == -1


def test_a_removal_waits_for_a_section_that_does_not_block_in_the_socket(link):
    provider, _ = link
    inside, leave = threading.Event(), threading.Event()

    def consumer():
        with provider.proxy("slow").access():
            inside.set()
            assert leave.wait(20)

    call = Call(consumer)
    assert inside.wait(20)
    with pytest.raises(RevokeTimeout, match="'slow'"):
        provider.revoke(timeout=0)
    leave.set()
    call.result()
    assert provider.revoke(timeout=20)


def test_what_cannot_be_provided_is_still_the_callers():
    mine, peer = socket.socketpair()
    with mine, peer:
        for wrong in ({"name": 3}, {"on_gone": "revoke"}):
            with pytest.raises(TypeError):
                sockets.provide(mine, **wrong)
        peer.send(b"ping")
        assert mine.recv(4) == b"ping"
