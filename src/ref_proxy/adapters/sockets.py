"""Sockets that vanish: a connection that is taken away, an interface that is deleted, a server that has to let go of its port.

`shutdown()` wakes those who are blocked in most kinds of socket, but not in all: packet, netlink and CAN sockets cannot be shut
down, and systems differ over listening and unconnected ones. So nobody blocks in the system's calls here. The shared socket never
blocks; who has to wait polls it together with a waker, which is readable for good once the removal has begun. One list of
calls, `_Calls`, is performed in two ways: by `SharedSocket`, the resource, as it is; by `Socket`, a consumer's handle, in a
section.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from ..errors import Revoked
from ..provider import Provider
from .gone import Departure, revoked_from
from .waking import Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Concatenate, ParamSpec

    from .._backend import Proxy

    Args = ParamSpec("Args")

__all__ = ["Socket", "open", "provide"]

T = TypeVar("T")

READ, WRITE, NEITHER = selectors.EVENT_READ, selectors.EVENT_WRITE, 0
FOREVER, NOT_AT_ALL = inf, -inf  # deadlines
PAUSE = 0.01  # seconds between two attempts at what the system has no way to wait for
LONGEST = 1e6  # seconds that poll() can wait for

# Unlike epoll it needs no descriptor of its own, and unlike select it takes any number.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)

_WITHOUT_SHUTDOWN = {getattr(socket, name, None) for name in ("AF_PACKET", "AF_NETLINK", "AF_CAN", "AF_ALG")}


class _Calls(socket.socket):
    """What may block in a socket, each in terms of `_perform()`."""

    _timeout: float | None
    _sendfile_use_send: Callable[[Any, int, int | None], int]  # Python's own

    def _perform(self, work: Callable[Concatenate[SharedSocket, float, Args], T], *args: Args.args, **kwargs: Args.kwargs) -> T:
        """Call `work(shared, deadline, ...)`."""
        raise NotImplementedError

    def _io(self, event: int, call: Callable[..., T], *args: object) -> T:
        return self._perform(_transfer, event, call, *args)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        return self._io(READ, socket.socket.recv, bufsize, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self._io(READ, socket.socket.recv_into, buffer, nbytes, flags)

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        return self._io(READ, socket.socket.recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        return self._io(READ, socket.socket.recvfrom_into, buffer, nbytes, flags)

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        return self._io(READ, socket.socket.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        return self._io(READ, socket.socket.recvmsg_into, buffers, ancbufsize, flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        return self._io(WRITE, socket.socket.send, data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        return self._perform(_sendall, data, flags)

    def sendto(self, data: Any, /, *flags_and_address: Any) -> int:
        return self._perform(_attempt, WRITE, socket.socket.sendto, data, *flags_and_address)

    def sendmsg(self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /) -> int:
        work = _transfer if address is None else _attempt
        return self._perform(work, WRITE, socket.socket.sendmsg, buffers, ancdata, flags, address)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        return self._sendfile_use_send(file, offset, count)  # through send(), not past it with a number

    def accept(self) -> tuple[socket.socket, Any]:
        return self._perform(_accept)

    def connect(self, address: Any, /) -> None:
        return self._perform(_connect, address)

    def connect_ex(self, address: Any, /) -> int:
        try:
            self.connect(address)
        except (Revoked, socket.gaierror):
            raise
        except OSError as error:
            return error.errno or errno.EAGAIN  # a timeout has no number
        return 0

    # The timeout is the object's own: the descriptor, which others use too, never blocks.

    def settimeout(self, value: float | None, /) -> None:
        if value is not None and not value >= 0:
            raise ValueError(f"a timeout is 0 or more seconds, or None to wait without bound, not {value!r}")
        self._timeout = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        return self._timeout

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0


def _deadline(timeout: float | None) -> float:
    return FOREVER if timeout is None else monotonic() + timeout if timeout else NOT_AT_ALL


def _plain(sock: SharedSocket, deadline: float, call: Callable[..., T], *args: object) -> T:
    """Do what does not block."""
    return call(sock, *args)


def _attempt(sock: SharedSocket, deadline: float, event: int, call: Callable[..., T], *args: object) -> T:
    """Do a call of the system's, again and again until it need not block."""
    was_ready = False
    while True:
        sock.check()
        try:
            result = call(sock, *args)
        except BlockingIOError:
            if deadline == NOT_AT_ALL:
                raise
        else:
            if _is_nothing(result):
                sock.check()  # it is no end of the peer's
            return result
        if was_ready and event == WRITE:
            # There was room, and there is none: what is full is the receiver of an AF_UNIX datagram. Nothing waits for that.
            sock.pause(deadline)
            was_ready = False
        else:
            sock.wait(event, deadline)
            was_ready = True


def _is_nothing(result: Any) -> bool:
    return not (result[0] if isinstance(result, tuple) else result)


def _transfer(sock: SharedSocket, deadline: float, event: int, call: Callable[..., T], *args: object) -> T:
    """Send or receive. Where that fails because the device is gone, nobody gets anything any more.

    Other calls may fail with the same numbers for what they were given: an address, an interface, one connection to accept.
    """
    try:
        return _attempt(sock, deadline, event, call, *args)
    except Revoked:
        raise
    except OSError as error:
        sock.note(error)
        raise


def _sendall(sock: SharedSocket, deadline: float, data: Any, flags: int) -> None:
    with memoryview(data) as view, view.cast("B") as left:
        sent = 0
        while sent < len(left):
            sent += _transfer(sock, deadline, WRITE, socket.socket.send, left[sent:], flags)


def _accept(sock: SharedSocket, deadline: float) -> tuple[socket.socket, Any]:
    accepted = _attempt(sock, deadline, READ, socket.socket.accept)
    if socket.getdefaulttimeout() is None:
        accepted[0].setblocking(True)  # some systems hand down that the listening one does not block
    return accepted


def _connect(sock: SharedSocket, deadline: float, address: Any) -> None:
    while True:
        sock.check()
        try:
            socket.socket.connect(sock, address)
            break
        except BlockingIOError as error:
            if deadline == NOT_AT_ALL:
                raise
            full = error.errno == errno.EAGAIN  # an AF_UNIX listener's queue: nothing waits for that
        if full:
            sock.pause(deadline)
            continue
        sock.wait(WRITE, deadline)
        sock.check()
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))
        break
    sock.connected = True


class SharedSocket(_Calls):
    """The resource: a socket whose blocked calls all come back when it is stopped, and whose later ones never block."""

    def __init__(self, sock: socket.socket) -> None:
        self._waker = Waker()  # first: it may fail, and then the socket is still the caller's
        self._timeout = sock.gettimeout()
        self._why: str | None = None
        self._pid = os.getpid()
        self.who = ""
        self.departed = False
        self.departure = Departure(None)
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        socket.socket.setblocking(self, False)
        try:
            self.getpeername()
        except OSError:
            self.connected = False
        else:
            self.connected = True

    def _perform(self, work: Callable[Concatenate[SharedSocket, float, Args], T], *args: Args.args, **kwargs: Args.kwargs) -> T:
        return self.carry_out(work, _deadline(self._timeout), *args, **kwargs)

    def carry_out(
        self, work: Callable[Concatenate[SharedSocket, float, Args], T], deadline: float, *args: Args.args, **kwargs: Args.kwargs
    ) -> T:
        """Do some work, in a section. Raises: `Revoked` once the socket was stopped."""
        try:
            return work(self, deadline, *args, **kwargs)
        except Revoked:
            raise
        except OSError as error:
            self.check(error)
            raise

    def note(self, error: OSError) -> None:
        """Stop everybody if the device is gone: the system may tell one caller alone, and leave the others waiting for good."""
        gone = revoked_from(error, self.who)
        if gone is not None and (error.errno != errno.ENOTCONN or self.connected):
            self.departed = True
            self.stop(str(gone.strerror))

    def wait(self, event: int, deadline: float) -> None:
        """Block until there may be something to do, or nothing any more. Raises: `TimeoutError` after the deadline."""
        with _Selector() as selector:
            selector.register(self._waker, READ)
            if event != NEITHER:
                selector.register(self, event)
            while True:
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError("timed out")
                if selector.select(None if left == FOREVER else min(left, LONGEST)):
                    return

    def pause(self, deadline: float) -> None:
        """Block for a moment, for what the system has no way to wait for."""
        until = monotonic() + PAUSE
        try:
            self.wait(NEITHER, min(until, deadline))
        except TimeoutError:
            if deadline <= until:
                raise

    def check(self, cause: BaseException | None = None) -> None:
        """Raise `Revoked` once it was stopped."""
        if self._why is not None:
            raise Revoked(errno.ENODEV, self._why) from cause

    def stop(self, why: str) -> None:
        """Bring back those who are blocked, and those who are about to be."""
        if self._why is None:
            self._why = why  # first: whoever is woken looks at it
        self._waker.wake()

    def interrupt(self) -> None:
        self.stop(f"{self.who} was revoked in the middle of this call; drop this handle, and get one from the next provider")
        if self._pid != os.getpid():
            return  # a forked child: the connection is the parent's too
        try:
            self.shutdown(socket.SHUT_RDWR)  # for those who poll a number of their own, and for the peer
        except OSError:
            pass  # never connected, already reset, or of a kind that knows no shutdown


class Socket(_Calls):
    """A consumer's handle on a socket that may be revoked, with the methods that sockets have. Made by `open(proxy)`.

    Each call is a section of its own. Once the socket is revoked a call raises `Revoked`: also one that is blocked, at once, and
    also where a socket would return nothing, as at the end of a connection. The timeout is this handle's own. After `close()`
    calls raise `OSError` with `EBADF`, as those of a closed socket do; what goes on in other threads goes on.

    It is a `socket.socket`, for libraries that ask; one without a descriptor, so what is not written here fails with `EBADF`.
    Threads: any. asyncio: `await asyncio.open_connection(sock=sockets.open(proxy))`. Fork: use it in the child as in the parent.

    Guarantees: S1 to S3, S5, S6. Raises: `Revoked`, and what sockets raise.

    >>> import socket
    >>> from ref_proxy.adapters import sockets
    >>> mine, peer = socket.socketpair()
    >>> provider = sockets.provide(mine, name="link")
    >>> handle = sockets.open(provider.proxy("reader"))
    >>> peer.send(b"ping")
    4
    >>> handle.recv(4)
    b'ping'
    >>> provider.revoke()
    True
    >>> handle.recv(4)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'link' was refused: the resource is revoked; ...
    >>> handle.close()
    >>> peer.close()
    """

    def __init__(self, proxy: Proxy[socket.socket]) -> None:
        # Not the socket's own __init__, which would open a descriptor; but what its makefile() and close() count with.
        self._io_refs = 0
        self._closed = False
        self._given_up = False
        self._numbers: dict[str, socket.socket] = {}
        self._proxy = proxy
        with proxy.access() as sock:
            shared = _shared(sock)
            self._timeout = shared.gettimeout()
            self._kind = shared.family, shared.type, shared.proto
            self._who = shared.who

    def _perform(self, work: Callable[Concatenate[SharedSocket, float, Args], T], *args: Args.args, **kwargs: Args.kwargs) -> T:
        if self._given_up:
            raise OSError(errno.EBADF, f"this handle on {self._who} is closed; open another one")
        deadline = _deadline(self._timeout)
        shared = None
        try:
            with self._proxy.access() as sock:
                shared = _shared(sock)
                return shared.carry_out(work, deadline, *args, **kwargs)
        except Revoked:
            if shared is not None and shared.departed:
                shared.departure.tell()  # the section has ended: it may revoke
            raise

    def _now(self, call: Callable[..., T], *args: object) -> T:
        return self._perform(_plain, call, *args)

    def bind(self, address: Any, /) -> None:
        self._now(socket.socket.bind, address)

    def listen(self, *backlog: int) -> None:
        self._now(socket.socket.listen, *backlog)

    def shutdown(self, how: int, /) -> None:
        """Shut the connection down, for everybody that uses it."""
        self._now(socket.socket.shutdown, how)

    def getsockname(self) -> Any:
        return self._now(socket.socket.getsockname)

    def getpeername(self) -> Any:
        return self._now(socket.socket.getpeername)

    def getsockopt(self, *which: int) -> Any:
        return self._now(socket.socket.getsockopt, *which)

    def setsockopt(self, *option: Any) -> None:
        self._now(socket.socket.setsockopt, *option)

    @property
    def family(self) -> socket.AddressFamily:
        return self._kind[0]

    @property
    def type(self) -> socket.SocketKind:
        return self._kind[1]

    @property
    def proto(self) -> int:
        return self._kind[2]

    def fileno(self) -> int:
        """Return a descriptor of this handle's own, to wait with: it stays valid, and refers to this, until `close()`.

        What it refers to is shut down by the removal, which wakes who waits, and stays in the system, with its port, until this
        handle is closed. -1 once that is. Raises: `Revoked`; `OSError` with `EOPNOTSUPP` for a kind of socket that cannot be shut
        down, so that a number would let others in after the removal.
        """
        if self._given_up:
            return -1
        mine = self._numbers.get("")
        if mine is None:
            fresh = self._perform(_own_number)
            mine = self._numbers.setdefault("", fresh)
            if mine is not fresh:  # another thread was faster
                fresh.close()
        return mine.fileno()

    def detach(self) -> int:
        """Close this handle, and return its descriptor, which is the caller's from now on."""
        self.fileno()
        number = self._numbers.pop("").detach()
        self._real_close()
        return number

    def dup(self) -> Socket:
        """Open another handle on the same socket."""
        return open(self._proxy)

    # close(), `with`, makefile(), and close() after makefile() are those of any socket. They end here:

    def _real_close(self, _: object = None) -> None:
        self._given_up = True
        if number := self._numbers.pop("", None):
            number.close()

    def __repr__(self) -> str:
        state = "closed" if self._given_up else "revoked" if self._proxy.revoked else "live"
        return f"<ref_proxy.adapters.sockets.Socket on {self._who}, {state}>"


def _own_number(sock: SharedSocket, deadline: float) -> socket.socket:
    if sock.family in _WITHOUT_SHUTDOWN:
        raise OSError(
            errno.EOPNOTSUPP,
            f"{sock.who} has no number to give away: a socket of {sock.family.name} cannot be shut down, so the number would "
            "outlive the removal; use it inside a section, `with proxy.access() as sock:`",
        )
    return socket.fromfd(sock.fileno(), sock.family, sock.type, sock.proto)


def _shared(sock: socket.socket) -> SharedSocket:
    if not isinstance(sock, SharedSocket):
        raise TypeError(f"the proxy leads to a {type(sock).__name__} that sockets.provide() does not know: provide it with that")
    return sock


def provide(
    sock: socket.socket, *, name: str | None = None, on_gone: Callable[[Provider[socket.socket]], object] | None = None
) -> Provider[socket.socket]:
    """Take a socket over, and make the `Provider` through which others use it.

    The removal wakes everybody who is blocked in it, shuts it down, and closes it after the last section. `sockets.open(proxy)`
    is what a consumer uses; in a section of one's own, `with proxy.access() as sock:`, it is a socket like any other, with a
    descriptor that does not block, and its methods raise `Revoked` on removal.

    Guarantees: S3, S4, S6, S14: a forked child's removal closes the child's socket, and leaves the connection to the parent.

    Args:
        sock: any socket but one of a subclass, which would lose what that adds: not one of `ssl`'s. Afterwards it is detached.
        name: what messages and reports call it.
        on_gone: called with the provider, once, outside any section, by the handle that finds that what is behind the socket went
            away by itself, such as an interface that was deleted: `Provider.revoke_soon` starts the removal.

    Raises: `TypeError` where it is no plain socket; it is still the caller's then. Cost: two more descriptors.

    >>> import socket
    >>> from ref_proxy.adapters import sockets
    >>> mine, peer = socket.socketpair()
    >>> with sockets.provide(mine, name="link") as provider:
    ...     handle = sockets.open(provider.proxy())
    ...     handle.sendall(b"ping")
    >>> peer.recv(100), peer.recv(100)
    (b'ping', b'')
    >>> handle.sendall(b"ping")
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] a proxy of 'link' was refused: the resource is revoked; ...
    >>> peer.close()
    """
    if type(sock) is not socket.socket:
        raise TypeError(
            f"sockets.provide() takes over a plain socket, not a {type(sock).__module__}.{type(sock).__name__}, "
            "which would lose what it adds to one: provide() the socket underneath"
        )
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a socket must be a str or None, not {type(name).__name__}")
    departure = Departure(on_gone)
    shared = SharedSocket(sock)  # from here on it is the provider's, and nothing can be refused any more
    shared.departure = departure
    provider = Provider[socket.socket](shared, interrupt=_interrupt, release=_release, name=name)
    shared.who = repr(provider.name)
    return shared.departure.watch(provider)


def _interrupt(sock: socket.socket) -> None:
    _shared(sock).interrupt()


def _release(sock: socket.socket) -> None:
    socket.close(sock.detach())  # not sock.close(): that waits for what somebody got from makefile()


def open(proxy: Proxy[socket.socket]) -> Socket:  # noqa: A001
    """Open a handle on a socket for one consumer: an object with a socket's methods, each call of which is a section.

    Guarantees: S2, S10: it never keeps the socket open, unless its `fileno()` is asked for. Blocks: never.
    Raises: `Revoked` once the socket is gone; `TypeError` where `sockets.provide()` did not make the provider.

    >>> import socket
    >>> from ref_proxy.adapters import sockets
    >>> with sockets.provide(socket.socket(), name="link") as provider:
    ...     proxy = provider.proxy("reader")
    >>> sockets.open(proxy)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'link' was refused: the resource is revoked; ...
    """
    return Socket(proxy)
