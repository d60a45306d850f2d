"""A pipe that wakes a thread which sleeps until one of several descriptors has something to say."""

from __future__ import annotations

import os
from _thread import RLock

__all__ = ["Wake"]

_wakes: dict[Wake, None] = {}  # all that are open, for a forked child to close


class Wake:
    """Wakes a thread that sleeps on `fd`. From anywhere, also after its end; never blocks."""

    def __init__(self) -> None:
        self._lock = RLock()  # against a write into what was closed; a signal handler may come by in the midst of a ring
        self._open = True
        self.fd, self._writer = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._writer, False)
        _wakes[self] = None

    def __call__(self) -> None:
        with self._lock:
            if self._open:
                try:
                    os.write(self._writer, b"!")
                except BlockingIOError:  # it has been told often enough
                    pass

    def heard(self) -> None:
        """Sleep again: to be called by that thread, before it looks what there is to do."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """End it. May be called again."""
        with self._lock:
            self.abandon()

    def abandon(self) -> None:
        """Close its descriptors: in a forked child, where a thread that is not there may have the lock."""
        if self._open:
            self._open = False
            _wakes.pop(self, None)
            os.close(self.fd)
            os.close(self._writer)


def _after_fork() -> None:
    for wake in list(_wakes):
        wake.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
