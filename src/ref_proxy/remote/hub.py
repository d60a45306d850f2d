"""One thread for all that this process hears from others: it sleeps until a descriptor has something to say.

It is started when there is something to listen to, and ends soon after there is nothing any more. All state of a back end that it
serves is changed in it alone, by what others `post()` to it: so there is no lock, and a signal handler may post too.
"""

from __future__ import annotations

import _thread
import atexit
import os
import selectors
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from .. import report
from ..waiting import spawn
from .wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hub", "ending", "hub", "outlived"]

# Seconds that the thread stays when there is nothing to listen to any more. Its end takes as long without the GIL as a
# removal, and would follow the farewell: all holders of a resource would pay it while the owner waits for the last (ADR 21).
LINGER = 0.1


class Hub:
    """Calls what was registered for a descriptor when that is ready, and what was posted, one after the other."""

    def __init__(self) -> None:
        report.logger()  # now: where no descriptor is left it could not be loaded any more, and the thread would end
        self._posted: deque[Callable[[], object]] = deque()
        self._running: dict[str, object] = {}
        self._selector: selectors.BaseSelector | None = None
        self._due: dict[object, tuple[float, Callable[[], object]]] = {}
        self._ending = self._ended = False
        self._wake = Wake()

    def post(self, job: Callable[[], object]) -> None:
        """Have `job()` called in the thread. From anywhere; never blocks. Nothing is done any more after `end()`.

        Raises: `BlockingIOError` where it is not there, and no thread can be had.
        """
        if self._ended:
            return
        self._posted.append(job)
        if self._running:
            self._wake()
            return
        try:
            spawn(self._run)
        except BlockingIOError:
            with suppress(ValueError):  # another one may have come up meanwhile, and have done it
                self._posted.remove(job)
            raise

    # In the thread itself:

    def watch(self, fd: int, ready: Callable[[int], object], events: int = selectors.EVENT_READ) -> None:
        """Have `ready(events)` called whenever there is something, or change what is watched for."""
        assert self._selector is not None
        try:
            self._selector.register(fd, events, ready)
        except KeyError:
            self._selector.modify(fd, events, ready)

    def unwatch(self, fd: int) -> None:
        """No more of that. To be called before it is closed."""
        if self._selector is not None and fd in self._selector.get_map():
            self._selector.unregister(fd)

    def call_at(self, key: object, moment: float, job: Callable[[], object]) -> None:
        """Have `job()` called at that moment of `monotonic()`, unless it is cancelled."""
        self._due[key] = moment, job

    def cancel(self, key: object) -> None:
        self._due.pop(key, None)

    def _run(self) -> None:
        me = object()
        if self._running.setdefault("", me) is not me:  # here, where no Ctrl-C comes between that and what it is for
            self._wake()
            return
        if self._ended:
            self._running.clear()
            return
        try:
            self._selector = selectors.DefaultSelector()
        except OSError:  # no descriptor is left for it
            self._selector = selectors.PollSelector()
        self._selector.register(self._wake.fd, selectors.EVENT_READ, self._woken)
        lingered = False
        while True:
            self._run_posted()
            unused = len(self._selector.get_map()) == 1 and not self._due and not self._posted
            if self._ending or (unused and lingered):
                self._selector.close()
                self._selector = None
                if self._ending:
                    self._close()
                self._running.clear()
                if self._posted and not self._ending:
                    self._run()
                return
            ready = self._selector.select(LINGER if unused else self._until_due())
            lingered = unused and not ready
            for key, events in ready:
                if key.fd in self._selector.get_map() and self._selector.get_key(key.fd).data is key.data:
                    self._call(lambda key=key, events=events: key.data(events))  # type: ignore[misc]
            now = monotonic()
            for which, (moment, job) in list(self._due.items()):
                if moment <= now:
                    self._due.pop(which, None)
                    self._call(job)

    def _until_due(self) -> float | None:
        due = min((moment for moment, _ in self._due.values()), default=None)
        return None if due is None else max(due - monotonic(), 0)

    def _run_posted(self) -> None:
        while self._posted:
            self._call(self._posted.popleft())

    def _call(self, job: Callable[[], object]) -> None:
        try:
            job()
        except Exception:
            report.logger().exception("a message from another process could not be dealt with")

    def _woken(self, _: int) -> None:
        self._wake.heard()

    def end(self) -> None:
        """Do what was posted, and end the thread: the interpreter is on its way out."""
        self._ending = True
        try:
            self.post(lambda: None)
        except BlockingIOError:  # it is not there: nobody is listened to
            self._close()

    def forget(self) -> None:
        """In a forked child, or where it has not run: close what is its own. A thread of the parent's may have the lock."""
        self._ended = True
        if self._selector is not None:
            self._selector.close()
        self._wake.abandon()

    def _close(self) -> None:
        self._ended = True
        self._wake.close()


def outlived() -> bool:
    """Whether this interpreter ends with all its threads, and the process goes on: an isolated subinterpreter."""
    return not getattr(_thread, "daemon_threads_allowed", lambda: True)()


def ending() -> bool:
    """Whether the interpreter is on its way out: what is dropped now is dropped by it, and no thread can be had for that."""
    return bool(_ended)


_ended: list[bool] = []
_hubs: dict[str, Hub] = {}


def hub() -> Hub:
    """The one of this process."""
    try:
        return _hubs[""]
    except KeyError:
        mine = Hub()
        the = _hubs.setdefault("", mine)
        if the is not mine:  # another thread was faster, or a signal handler
            mine.forget()
        return the


@atexit.register
def _end() -> None:
    _ended.append(True)
    for each in list(_hubs.values()):
        each.end()


def _after_fork() -> None:
    for each in list(_hubs.values()):
        each.forget()
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
