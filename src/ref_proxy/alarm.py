"""Something to be done at a time, while nobody is waiting for it: in a thread that is there only as long as needed."""

from __future__ import annotations

import _thread
import os
import sys
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from . import report
from .waiting import Bell, Claim

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["call_at", "cancel"]

_due: dict[object, tuple[float, Callable[[], object]]] = {}
_runner: dict[str, Claim] = {}
_changed = Bell()


def call_at(key: object, when: float, job: Callable[[], object]) -> None:
    """Have `job()` called when `monotonic()` has come to `when`; it takes the place of what was set with the same key.

    Never blocks: a finaliser and a signal handler may call it. A failure of `job` is logged. The end of the interpreter does not
    wait for it.
    """
    _due[key] = (when, job)
    _changed.ring()
    if "" not in _runner and not sys.is_finalizing():
        try:
            _thread.start_new_thread(_run, ())
        except RuntimeError:  # no thread can be had any more
            pass


def cancel(key: object) -> None:
    """Have that job not be called any more. May be called again, and where there is none."""
    if _due.pop(key, None) is not None and not _due:
        _changed.ring()  # the thread has nothing left to be there for


def _next() -> float | None:
    return min((when for when, _ in list(_due.values())), default=None)


def _is_not_next(when: float) -> bool:
    return _next() != when


def _run() -> None:
    # One at a time. Who adds a job while one runs relies on it to look once more after it gave up its claim.
    me = Claim()
    while _due and _runner.setdefault("", me) is me:
        try:
            while (first := _next()) is not None:
                # Woken when the time has come, and when what comes first has changed: it was cancelled, or is earlier.
                if _changed.wait(partial(_is_not_next, first), first):
                    continue
                for key, (when, job) in list(_due.items()):
                    if when <= monotonic() and _due.pop(key, None) is not None:
                        try:
                            job()
                        except BaseException:
                            report.logger().exception("a report on a removal that waits has failed")
        finally:
            _runner.pop("", None)


def _in_child() -> None:
    _due.clear()  # what the parent is waiting for
    _runner.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
