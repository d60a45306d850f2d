"""A connection between two processes of one host, as the back end of `unix:` has it: messages, descriptors, and who is alive."""

from __future__ import annotations

# Now, for recv_fds(): where no descriptor is left it could not be loaded any more.
import array  # noqa: F401  # pyright: ignore[reportUnusedImport]
import atexit
import os
import selectors
import socket
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import wire
from .hub import ending, hub, outlived
from .records import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Peer

__all__ = ["Link"]

CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
MOST_UNSENT = 1024 * 1024  # bytes: who does not read that much is cut off
LAST_WORDS = 10.0  # seconds that the other side may take to read them

_links: dict[Link, None] = {}  # all that is open, for a forked child to close


class Link:
    """One connection in the hub's thread: messages in, messages out, and when the process at the other end ends."""

    def __init__(self, connection: socket.socket, peer: Peer, lines: wire.Lines) -> None:
        self.connection = connection
        self.peer = peer
        self.closed = False
        self.last_words: dict[str, Any] = {}  # also at the end of the interpreter
        self.tell_nobody()
        self._lines = lines
        self._unsent = b""
        self._descriptors: list[int] = []
        _links[self] = None

    def tell_nobody(self) -> None:
        """Have nobody called any more."""
        self.heard: Callable[[dict[str, Any]], object] = lambda _: None
        self.faulty: Callable[[ProtocolError], object] = lambda _: None
        self.hung_up: Callable[[], object] = lambda: None  # the connection has ended
        self.died: Callable[[], object] = lambda: None  # the process has

    def open(self) -> None:
        """Begin to listen. In the hub's thread, as all that follows."""
        if self.closed:
            return
        self.connection.setblocking(False)
        hub().watch(self.connection.fileno(), self._ready)
        if self.peer.pidfd is not None:
            hub().watch(self.peer.pidfd, lambda _: self._dead())

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.connection, 65536, 4, CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        try:
            if data:
                self.take(data)
            else:
                hub().unwatch(self.connection.fileno())
                self.hung_up()
        finally:
            for fd in self._descriptors:  # that nobody has asked for
                os.close(fd)
            self._descriptors.clear()

    def take(self, data: bytes) -> None:
        """Deal with what has come."""
        try:
            for message in self._lines.feed(data):
                if not self.closed:
                    self.heard(message)
        except ProtocolError as error:
            self.faulty(error)

    def descriptor(self) -> int | None:
        """One that came with the message that is dealt with just now; the caller is to close it."""
        return self._descriptors.pop(0) if self._descriptors else None

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message, as soon as the other side reads."""
        self.send(wire.encode(kind, **fields))

    def send(self, message: bytes) -> None:
        if not self.closed:
            self._unsent += message
            self._flush()

    def _send(self) -> None:
        try:
            sent = self.connection.send(self._unsent)
            self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:  # it is over: that is read, too
            self._unsent = b""

    def _flush(self) -> None:
        self._send()
        if len(self._unsent) > MOST_UNSENT:
            self._unsent = b""
            self.hung_up()
        elif not self.closed:
            hub().watch(
                self.connection.fileno(), self._ready, selectors.EVENT_READ | (selectors.EVENT_WRITE * bool(self._unsent))
            )

    def _dead(self) -> None:
        if self.peer.pidfd is not None:
            hub().unwatch(self.peer.pidfd)
        self.died()

    def close(self, **last_words: Any) -> None:
        """The end of it, as far as this side goes: as soon as the last words are sent, which may be more than a buffer takes."""
        if not self.closed:
            self.closed = True
            self.tell_nobody()
            if self.peer.pidfd is not None:
                hub().unwatch(self.peer.pidfd)
            if last_words:
                self._unsent += wire.encode(**last_words)
                self._send()
            if last_words and self._unsent and not ending():
                hub().watch(self.connection.fileno(), lambda _: self._send_last(), selectors.EVENT_WRITE)
                hub().call_at(self, monotonic() + LAST_WORDS, self._end)
            else:
                self._end()

    def _send_last(self) -> None:
        self._send()
        if not self._unsent:
            self._end()

    def _end(self) -> None:
        hub().cancel(self)
        hub().unwatch(self.connection.fileno())
        self.abandon()

    def hang_up(self) -> None:
        """The end of a connection that was never opened: say the last words, if the buffer takes them, and abandon it."""
        try:
            if self.last_words:
                self.connection.setblocking(False)
                self.connection.send(wire.encode(**self.last_words))
        except OSError:  # nobody is there to hear them
            pass
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close its descriptors, and nothing else: also in a forked child."""
        self.closed = True
        self.tell_nobody()  # and let go of them, and of what they hold: there is no cycle left for the collector
        _links.pop(self, None)
        self.connection.close()
        self.peer.close()


@atexit.register
def _at_end() -> None:
    """Let go of everything, where the process goes on. Where it ends, some thread may be inside until it does."""
    if outlived():
        for link in list(_links):
            hub().post(partial(link.close, **link.last_words))


def _after_fork() -> None:
    for link in list(_links):
        link.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
