"""Something to be done at a time, while nobody is waiting for it: in a thread that is there only as long as needed."""

from __future__ import annotations

import atexit
import os
from math import inf
from time import monotonic

from . import report
from .waiting import Bell, Claim, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_at", "cancel"]

_due: dict[object, tuple[float, Callable[[], object]]] = {}
_runner: dict[str, Claim] = {}
_until: dict[str, float] = {}  # when the thread is going to look again
_changed = Bell()


def call_at(key: object, when: float, job: Callable[[], object]) -> None:
    """Have `job()` called when `monotonic()` has come to `when`; it takes the place of what was set with the same key.

    Never blocks: a finaliser and a signal handler may call it. A failure of `job` is logged. The end of the interpreter does not
    wait for it. Cost: constant, but for the thread's start and for what is due earlier than all else.
    """
    _due[key] = (when, job)
    if when < _until.get("", inf):
        _changed.ring()
    if "" not in _runner and "over" not in _runner:
        try:
            spawn(_run)
        except BlockingIOError:  # no thread can be had: there will be no report
            pass


def cancel(key: object) -> None:
    """Have that job not be called any more. May be called again, and where there is none."""
    if _due.pop(key, None) is not None and not _due:
        _changed.ring()  # the thread has nothing left to be there for


def _next() -> float:
    return min((when for when, _ in list(_due.values())), default=-inf)


def _run() -> None:
    # One at a time. Who adds a job while one runs relies on it to look once more after it gave up its claim.
    me = Claim()
    while _due and _runner.setdefault("", me) is me:
        try:
            while _due:
                _sleep(_next())
                _call_what_is_due()
        finally:
            _until.clear()
            _runner.pop("", None)


def _sleep(until: float) -> None:
    _until[""] = until
    _changed.wait(lambda: _next() < until, until)  # who comes before that is set is seen by the first look


def _call_what_is_due() -> None:
    for key, (when, job) in _due.copy().items():
        if when <= monotonic() and _due.pop(key, None) is not None:
            try:
                job()
            except BaseException:
                report.logger().exception("a report on a removal that waits has failed")


@atexit.register  # after waiting's, so called before it, which waits for the thread: an interpreter must not end under one
def _end() -> None:
    _runner["over"] = Claim()
    _due.clear()
    _changed.ring()


def _in_child() -> None:
    _due.clear()  # what the parent is waiting for
    _until.clear()
    _runner.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
