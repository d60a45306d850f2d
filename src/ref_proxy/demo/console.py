"""What is shown, and how: progress while it runs, tables at the end; plain text where there is no terminal."""

from __future__ import annotations

import os
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Protocol

from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

__all__ = ["add_figures", "add_times", "make_console", "make_table", "progress"]

WIDTH = 100  # of a log file, which has none of its own


class Figures(Protocol):
    @property
    def figures(self) -> str:
        """The most telling ones, in a phrase."""
        ...


def make_console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console


@contextmanager
def progress(console: Console, what: str, seconds: float) -> Generator[Callable[[Figures], None]]:
    """A bar that moves with time, with the figures beside it; without a terminal one line at the beginning."""
    if not console.is_terminal:
        console.print(f"{what}: {seconds:g} s")
    columns = TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[figures]}")
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(f"{what:<17}", total=seconds, figures="")

        def watch(tally: Figures) -> None:
            task = bars.tasks[bar]
            bars.update(bar, completed=min(task.elapsed or 0.0, seconds), figures=tally.figures)

        yield watch
        bars.update(bar, completed=seconds)


def make_table(what: str, *names: str) -> Table:
    """One whose first column says what, and whose others are numbers."""
    table = Table(box=HORIZONTALS, show_edge=False, pad_edge=False)
    table.add_column(what, min_width=44)
    for name in names:
        table.add_column(name, justify="right")
    return table


def add_figures(table: Table, what: str, figures: Iterable[int], *, faults: bool = False) -> None:
    """A row of counts. `faults`: green where there is none, red where there are."""
    cells = []
    for number in figures:
        colour = ("red" if number else "green") if faults else "default"
        cells.append(f"[{colour}]{number:,}[/{colour}]")
    table.add_row(what, *cells)


def add_times(table: Table, what: str, seconds: Sequence[float], *more: str) -> None:
    """A row of `more`, and of the median, the 90th percentile and the greatest, in milliseconds."""
    ordered = sorted(each * 1000 for each in seconds)
    figures = (median(ordered), ordered[len(ordered) * 9 // 10], ordered[-1]) if ordered else ()
    table.add_row(what, *more, *(f"{each:.3f}" for each in figures))
