"""Who is inside: the records that a removal's reports are made of."""

from __future__ import annotations

from collections import namedtuple
from weakref import ref

from . import stacks, tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from logging import Logger
    from traceback import StackSummary
    from typing import Any, TypeAlias

    from ._backend import Cell, Proxy
    from .device import Device
    from .provider import Provider

    Noted: TypeAlias = Provider[Any] | Device | Proxy[Any]

__all__ = [
    "Blocker",
    "Note",
    "blockers",
    "describe",
    "logger",
    "note_access",
    "note_dropping",
    "note_making",
    "notes",
    "show",
    "stall_due",
    "which",
]


def which(proxy: str | None, provider: str) -> str:
    """What messages call a proxy, of these two names; the twins say it in the same words."""
    return f"{'a proxy' if proxy is None else f'proxy {proxy!r}'} of {provider!r}"


def logger() -> Logger:
    """Where failures go that no caller can be told of. Imported when it is needed: logging is slow to load."""
    import logging

    return logging.getLogger("ref_proxy")


def stall_due(since: float, stall_after: float, reports: int) -> float:
    """When a removal says next that it stalls, after so many reports: the intervals double."""
    return since + stall_after * ((2 << reports) - 1)


class Blocker(namedtuple("Blocker", "provider proxy thread ident task detached waiting stack began")):
    """One open section that a removal waits for, or would wait for.

    A frozen record, taken at one moment: the section may have ended since. Printing it gives one line.

    Attributes:
        provider: the name of the provider.
        proxy: the name of the proxy that the section was begun with; None where it has none.
        thread: the name of the thread that began it, or "(ended)" where that thread is gone.
        ident: that thread's number, as `threading.get_ident()` gives it.
        task: the name of the task, of asyncio or trio, that holds it across an `await`; None where none does.
        detached: whether it was handed over, to be ended elsewhere.
        waiting: for how long the removal has been waiting, in seconds; None where nothing is being removed.
        stack: where that task, else that thread, was at that moment, as `traceback` has it; empty where it is gone.
        began: where the section began, as `stack`; None unless the process was started with REF_PROXY_DEBUG=1.

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
    task: str | None
    detached: bool
    waiting: float | None
    stack: StackSummary
    began: StackSummary | None

    def __str__(self) -> str:
        where = f"thread {self.thread!r}" if self.task is None else f"task {self.task!r} of thread {self.thread!r}"
        handed = ", handed over" if self.detached else ""
        since = "" if self.waiting is None else f", waited for since {self.waiting:.3f} s"
        return f"{which(self.proxy, self.provider)} in {where}{handed}{since}"


Blocker.__module__ = "ref_proxy"


def blockers(cell: Cell, first: int, last: int, waiting: float | None = None) -> list[Blocker]:
    """A record for each open section of the publications `first` to `last`.

    Costs the sections nothing: it reads the list. If such a thread runs an event loop, one pass over all objects finds the tasks.
    """
    sections = cell.sections(first, last)
    if not sections:
        return []
    import threading

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = stacks.of_threads({section[1] for section in sections})
    stood = {ident: stacks.extract(each) for ident, each in frames.items()}
    held = _held_by_tasks({token for _, ident, _, _, token in sections if tasks.run_in(frames.get(ident, ()))})
    found: list[Blocker] = []
    for proxy, ident, _, detached, token in sections:
        task = held.get(token)
        found.append(
            Blocker(
                provider=cell.name,
                proxy=proxy.name,
                thread=names.get(ident, "(ended)"),
                ident=ident,
                task=None if task is None else tasks.name(task),
                detached=detached,
                waiting=waiting,
                stack=tasks.stack(task) if task is not None else stood.get(ident) or stacks.extract(()),
                began=None if (note := notes.get(token)) is None else note.stack,
            )
        )
    return found


def _held_by_tasks(tokens: Collection[int]) -> dict[int, Any]:
    if not tokens:
        return {}
    return {token: task for task in tasks.everywhere() for token in tasks.holds(task, tokens)}


def describe(found: Sequence[Blocker]) -> str:
    """A phrase for an error message: the first few, and how many more."""
    shown = "; ".join(map(str, found[:3]))
    return shown + (f"; and {len(found) - 3} more" if len(found) > 3 else "") or "nobody any more"


def show(found: Sequence[Blocker]) -> str:
    """All of them, each with its stack, as lines to be logged or printed."""
    lines: list[str] = []
    for each in found:
        lines.append(f"  {each}\n")
        if each.began is not None:
            lines += ["    began at\n", *_indented(each.began[-3:])]
        lines += ["    is at\n", *_indented(each.stack)] if each.stack else ["    whose thread is gone\n"]
    return "".join(lines)


def _indented(stack: Sequence[Any]) -> list[str]:
    import traceback

    return ["    " + line.replace("\n    ", "\n        ") for line in traceback.format_list(list(stack))]


class Note:
    """Where something began: a provider or a device was made, or a section began with a proxy. `of` refers to that weakly."""

    __slots__ = ("dropped", "of", "stack")

    def __init__(self, of: Noted) -> None:
        self.of: Callable[[], Noted | None] = ref(of)
        self.stack = stacks.extract(stacks.callers())
        self.dropped = ""  # what it was, if it was dropped while open, or live


# For those who debug: what was made and what began, by its id(), which later ones use again and overwrite: never more than there
# were at once.
notes: dict[int, Note] = {}
noting = False


def note_making(made: Provider[Any] | Device) -> None:
    """Remember where the caller makes a provider or a device."""
    if noting:
        notes[id(made)] = Note(made)


def note_dropping(token: int, what: str) -> None:
    """Remember that something was dropped while it was open, or live: by its id() and name, for it is on its way out."""
    note = notes.get(token)
    if note is not None:
        note.dropped = what


def note_access(proxy: Proxy[Any], token: int) -> None:
    """Remember where the caller stands, for the section that begins there. The tracer of those who debug."""
    if token > 0:
        notes[token] = Note(proxy)
    elif token < 0:
        note_dropping(-token, f"section of {which(proxy.name, proxy._cell.name)}")
