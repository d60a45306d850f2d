"""Who is inside: the records that a removal's reports are made of."""

from __future__ import annotations

import sys
from collections import namedtuple
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger
    from traceback import StackSummary

    from ._backend import Cell

__all__ = ["Blocker", "blockers", "describe", "logger"]


def logger() -> Logger:
    """Where failures go that no caller can be told of. Imported when it is needed: logging is slow to load."""
    import logging

    return logging.getLogger("ref_proxy")


class Blocker(namedtuple("Blocker", "provider proxy thread ident detached waiting stack")):
    """One open section that a removal waits for, or would wait for.

    A frozen record, taken at one moment: the section may have ended since. Printing it gives one line.

    Attributes:
        provider: the name of the provider.
        proxy: the name of the proxy that the section was begun with; None where it has none.
        thread: the name of the thread that began it, or "(ended)" where that thread is gone.
        ident: that thread's number, as `threading.get_ident()` gives it.
        detached: whether it was handed over, to be ended elsewhere.
        waiting: for how long the removal has been waiting, in seconds; None where nothing is being removed.
        stack: where that thread was at that moment, as `traceback` has it; empty where it is gone.

    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> with provider.proxy("reader").access():
    ...     [blocker] = provider.blockers()
    >>> print(blocker)
    proxy 'reader' of 'line' in thread 'MainThread'
    """

    __slots__ = ()
    # Not typing.NamedTuple: that takes milliseconds to import.
    provider: str
    proxy: str | None
    thread: str
    ident: int
    detached: bool
    waiting: float | None
    stack: StackSummary

    def __str__(self) -> str:
        who = "a proxy" if self.proxy is None else f"proxy {self.proxy!r}"
        handed = ", handed over" if self.detached else ""
        since = "" if self.waiting is None else f", waited for since {self.waiting:.3f} s"
        return f"{who} of {self.provider!r} in thread {self.thread!r}{handed}{since}"


Blocker.__module__ = "ref_proxy"


def blockers(cell: Cell, first: int, last: int, waiting: float | None) -> list[Blocker]:
    """A record for each open section of the publications `first` to `last`. Costs the sections nothing: it reads the list."""
    sections = cell.sections(first, last)
    if not sections:
        return []
    import threading
    import traceback

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    stacks = {
        ident: traceback.StackSummary.extract(traceback.walk_stack(frames[ident]), lookup_lines=False)
        if ident in frames
        else traceback.StackSummary()
        for ident in {section[1] for section in sections}
    }
    return [
        Blocker(cell.name, proxy.name, names.get(ident, "(ended)"), ident, detached, waiting, stacks[ident])
        for proxy, ident, _, detached in sections
    ]


def describe(found: list[Blocker]) -> str:
    """A phrase for an error message: the first few, and how many more."""
    shown = "; ".join(map(str, found[:3]))
    return shown + (f"; and {len(found) - 3} more" if len(found) > 3 else "") or "nobody any more"
