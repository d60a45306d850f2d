"""The figures for people: one line while it runs, and a report; the same words with rich and without."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Protocol

from .specimen import OLDEST
from .tally import ALLOWED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .busted import Control
    from .tally import Tally

__all__ = ["Screen", "catalogue", "make_screen", "outcome", "report", "width"]

NARROW, WIDE = 80, 120
MEBIBYTE = 1 << 20


class Screen(Protocol):
    """Where the figures go while the storm lasts."""

    def watch(self, tally: Tally) -> None: ...

    def stop(self) -> None: ...


class Silent:
    """For a file, which need not know."""

    def watch(self, tally: Tally) -> None:
        pass

    def stop(self) -> None:
        pass


class Line:
    """For a terminal: one line, again and again. Needs rich."""

    def __init__(self, seconds: float) -> None:
        from rich.live import Live
        from rich.text import Text

        self._text = Text
        self._seconds = seconds
        self._live = Live(refresh_per_second=10, transient=True)
        self._live.start()

    def watch(self, tally: Tally) -> None:
        self._live.update(self._text(progress(tally, self._seconds), no_wrap=True, overflow="ellipsis"))

    def stop(self) -> None:
        self._live.stop()


def make_screen(seconds: float, *, quiet: bool) -> Screen:
    if quiet or not sys.stdout.isatty():
        return Silent()
    try:
        return Line(seconds)
    except ImportError:
        return Silent()


def width() -> int:
    """Of the report, in characters."""
    return max(NARROW, min(WIDE, shutil.get_terminal_size((100, 24)).columns))


def progress(tally: Tally, seconds: float) -> str:
    ages = [sum(each) for each in zip(*tally.ages, strict=True)]
    accesses = tally.total("accesses")
    figures = [
        f"{min(tally.seconds, seconds):5.1f} of {seconds:g} s",
        f"{accesses:,} accesses ({accesses / max(tally.seconds, 0.1):,.0f}/s)",
        f"{tally.total('removals'):,} removals",
        f"{tally.counts.get('replaced', 0):,} replaced",
        f"ages {ages[0]:,} {ages[1]:,} {sum(ages[ALLOWED + 1 :]):,}",
    ]
    return "  ".join(figures)


def report(tally: Tally, width: int) -> list[str]:
    """All that was counted, as lines."""
    lines: list[str] = []
    for group, kinds in tally.done.items():
        lines += _table(group, kinds, width)
    lines += _table("also", dict(sorted(tally.counts.items())), width, total=False)
    lines += _ages(tally.ages)
    before, after = (size / MEBIBYTE for size in tally.memory)
    lines.append(f"memory: {before:.1f} MiB at the start, {after:.1f} MiB at the end")
    return lines + tally.notes


def outcome(failures: Sequence[str], tally: Tally) -> list[str]:
    if failures:
        return [f"FAILURE: {each}" for each in failures]
    accesses, removals = tally.total("accesses"), tally.total("removals")
    return [f"SUCCESS: {accesses:,} accesses and {removals:,} removals in {tally.seconds:.1f} s, and no reader was overlooked"]


def _table(title: str, rows: Mapping[str, int], width: int, *, total: bool = True) -> list[str]:
    """Names and numbers, in as many columns as there is room for, read downwards."""
    columns = 3 if width >= WIDE else 2
    cell = width // columns - 2
    room = max((len(f"{number:,}") for number in rows.values()), default=0)
    cells = [f"{name:<{cell - room - 1}.{cell - room - 1}} {number:>{room},}" for name, number in rows.items()]
    height = -(-len(cells) // columns)
    lines = ["  ".join(["", *cells[row::height]]) for row in range(height)]
    head = f"{title}: {sum(rows.values()):,}" if total else f"{title}:"
    return [head, *lines, ""]


def _ages(ages: Sequence[Sequence[int]]) -> list[str]:
    """The histogram. Ages that nobody may see have little room: they are to be zero."""
    rows: list[list[str]] = [[str(age) for age in range(OLDEST)] + [f"{OLDEST}+"]]
    rows += [[f"{number:,}" for number in each] for each in ages]
    room = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    names = "age of the resource", "  as a section began", "  as it ended"
    lines = [
        f"{name:<22}" + "  ".join(f"{each:>{space}}" for each, space in zip(row, room, strict=True))
        for name, row in zip(names, rows, strict=True)
    ]
    return [*lines, "  0: published; 1: its removal has begun; 2 and more: a reader was overlooked", ""]


def catalogue(controls: Sequence[Control], width: int) -> list[str]:
    """The faults of this build, as lines."""
    import textwrap

    lines: list[str] = []
    for each in controls:
        text = each.what + (f" [not on this build: it {each.hidden}]" if each.hidden else "")
        first, *rest = textwrap.wrap(text, width - 36)
        lines.append(f"{each.name:<22} {each.sort:<12} {first}")
        lines += [" " * 36 + line for line in rest]
    return lines
