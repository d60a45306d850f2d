"""What brings those back who wait for a descriptor: a waker to poll beside it, and a watch for event loops."""

from __future__ import annotations

import os
import select
from socket import close, socket, socketpair
from weakref import WeakSet

__all__ = ["Waker", "Watch"]

_ENDS = 1 if hasattr(os, "eventfd") else 2  # of an eventfd, or of a pair of sockets, which every system can poll
_inherited: WeakSet[Waker | Watch] = WeakSet()


class Waker:
    """What those who wait poll beside a descriptor: readable from `wake()` on, for good.

    Nobody ever reads from it, so all who wait are woken, and those who come to wait a moment later too.
    """

    __slots__ = ("__weakref__", "_ends", "_woken")

    def __init__(self) -> None:
        self._woken = False
        self._ends = self._make(_ENDS)
        _inherited.add(self)

    @staticmethod
    def _make(ends: int) -> list[int]:
        if ends == 1:
            return [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)]
        pair = socketpair()
        for end in pair:
            end.setblocking(False)
        return [end.detach() for end in pair]

    def fileno(self) -> int:
        return self._ends[0]

    def wake(self) -> None:
        self._woken = True  # first: see `after_fork`
        try:
            if len(self._ends) == 1:
                os.eventfd_write(self._ends[0], 1)
            else:
                end = socket(fileno=self._ends[1])
                try:
                    end.send(b"x")
                finally:
                    end.detach()
        except BlockingIOError:  # it is full of wake-ups
            pass

    def after_fork(self) -> None:
        # Parent and child poll one and the same object: a removal in one of them would wake the other's readers.
        for mine, fresh in zip(self._ends, self._make(len(self._ends)), strict=True):
            os.dup2(fresh, mine, inheritable=False)
            os.close(fresh)
        if self._woken:
            self.wake()

    def __del__(self) -> None:
        for end in getattr(self, "_ends", ()):
            close(end)


class Watch:
    """A descriptor for event loops: readable when another one is ready for `events`, or its waker has been woken.

    An epoll in an epoll. The outer one is known to the event loop, so it stays. The inner one has the descriptor and the waker in
    it, and is thrown away with them when there is another one to watch: to take a descriptor out of an epoll one would need its
    number, which may be somebody else's by then. The waker is kept, so this stays readable when the descriptor has been closed.
    """

    __slots__ = ("__weakref__", "_events", "_inner", "_outer", "_ready", "_waker")

    def __init__(self, events: int) -> None:
        self._events = events
        self._outer = select.epoll()
        self._inner: select.epoll | None = None
        self._waker: Waker | None = None
        self._ready: Waker | None = None
        _inherited.add(self)

    def fileno(self) -> int:
        return self._outer.fileno()

    def follow(self, descriptor: int, waker: Waker) -> None:
        """Watch these two from now on. Where two threads do so at once, what they leave lying about is closed with its object."""
        if self._waker is waker:
            return
        inner = select.epoll()
        inner.register(waker, select.EPOLLIN)
        try:
            inner.register(descriptor, self._events)
        except PermissionError:  # a regular file, which is always ready
            self._ready = Waker()
            self._ready.wake()
            inner.register(self._ready, select.EPOLLIN)
        self._outer.register(inner, select.EPOLLIN)
        old, self._inner, self._waker = self._inner, inner, waker
        if old is not None:
            old.close()

    def after_fork(self) -> None:
        # The epolls are shared with the parent, and so is what they watch. The number stays; it is given something to
        # watch at the next call.
        if not self._outer.closed:
            with select.epoll() as fresh:
                os.dup2(fresh.fileno(), self._outer.fileno(), inheritable=False)
            self._forget()

    def _forget(self) -> None:
        inner, self._inner, self._waker = self._inner, None, None
        if inner is not None:
            inner.close()

    def close(self) -> None:
        self._outer.close()
        self._forget()


def _after_fork() -> None:
    for each in list(_inherited):
        each.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
