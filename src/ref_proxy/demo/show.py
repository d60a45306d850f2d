"""The figures for people: progress while it runs, a table at the end; plain text where there is no terminal."""

from __future__ import annotations

import os
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from .plug import ASYNCIO, OLD, THREADS
from .source import ADMINISTRATOR, GONE, HUNG_UP_IDLE, HUNG_UP_MIDWAY
from .tally import Steps
from .visit import OVERSTAY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from .storm import Watch
    from .tally import Tally

    Row = tuple[str, Callable[[Tally], int]]

__all__ = ["make_console", "progress", "removals_table", "results_table", "steps_table"]

WIDTH = 100  # of a log file, which has none of its own
KINDS = (HUNG_UP_IDLE, HUNG_UP_MIDWAY, GONE, ADMINISTRATOR)
WORK: tuple[Row, ...] = (
    ("accesses granted to threads", lambda tally: tally.granted.get(THREADS, 0)),
    ("accesses granted to asyncio tasks", lambda tally: tally.granted.get(ASYNCIO, 0)),
    ("accesses granted to old code", lambda tally: tally.granted.get(OLD, 0)),
    ("accesses refused", lambda tally: tally.counts.refused),
    ("accesses interrupted", lambda tally: tally.counts.interrupted),
    ("accesses cancelled, and out as Revoked", lambda tally: tally.counts.cancelled),
    ("accesses ended by the hang-up", lambda tally: tally.counts.hung_up),
    ("records read", lambda tally: tally.counts.records),
    ("actions run", lambda tally: tally.actions),
)
FAULTS: tuple[Row, ...] = (
    ("records with a wrong checksum", lambda tally: tally.counts.wrong),
    ("places where records were lost", lambda tally: tally.counts.lost),
    ("uses after close", lambda tally: tally.counts.after_close),
    ("reads of foreign data", lambda tally: tally.counts.foreign),
    ("accesses granted after removal had begun", lambda tally: tally.counts.granted_late),
    ("lines closed while somebody was inside", lambda tally: tally.released_inside),
    ("lines closed twice, or not at all", lambda tally: tally.released_again + tally.never_released),
    ("actions run while a line was in use, or open", lambda tally: tally.actions_early),
    ("unplugs whose actions ran twice, or not all", lambda tally: tally.actions_amiss),
    ("removals that timed out", lambda tally: tally.timeouts),
    ("bystander's data read by somebody else", lambda tally: tally.robbed),
    (f"reads asleep {OVERSTAY * 1000:.0f} ms after the close", lambda tally: tally.counts.overstayed),
    ("consumers that never came back", lambda tally: tally.asleep),
)


def make_console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console


@contextmanager
def progress(console: Console, what: str, seconds: float) -> Generator[Watch]:
    """A bar that moves with time, with the figures beside it; without a terminal one line at the beginning."""
    if not console.is_terminal:
        console.print(f"{what}: {seconds:g} s")
    columns = TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[figures]}")
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(f"{what:<17}", total=seconds, figures="")

        def watch(tally: Tally) -> None:
            task = bars.tasks[bar]
            figures = f"{tally.unplugs:,} unplugs  {tally.counts.records:,} records  {tally.counts.refused:,} refused"
            bars.update(bar, completed=min(task.elapsed or 0.0, seconds), figures=figures)

        yield watch
        bars.update(bar, completed=seconds)


def results_table(with_it: Tally, without: Tally | None) -> Table:
    tallies = [with_it] if without is None else [with_it, without]
    table = Table(box=HORIZONTALS, show_edge=False, pad_edge=False)
    table.add_column("counted", min_width=44)
    for name in ("with ref_proxy", "without")[: len(tallies)]:
        table.add_column(name, justify="right")
    for kind in KINDS:
        if any(kind in tally.removals for tally in tallies):
            _add(table, f"unplugs: {kind}", [tally.removals.get(kind, 0) for tally in tallies])
    for what, figure in WORK:
        _add(table, what, [figure(tally) for tally in tallies])
    table.add_section()
    for what, figure in FAULTS:
        _add(table, what, [figure(tally) for tally in tallies], faults=True)
    for name in sorted({name for tally in tallies for name in tally.counts.errors}):
        _add(table, f"uses that raised {name}", [tally.counts.errors.get(name, 0) for tally in tallies], faults=True)
    return table


def _add(table: Table, what: str, figures: Iterable[int], *, faults: bool = False) -> None:
    cells = []
    for number in figures:
        colour = ("red" if number else "green") if faults else "default"
        cells.append(f"[{colour}]{number:,}[/{colour}]")
    table.add_row(what, *cells)


def steps_table(steps: Sequence[Steps]) -> Table:
    """How long the steps of a removal took, in milliseconds."""
    table = Table(box=HORIZONTALS, show_edge=False, pad_edge=False)
    table.add_column(f"step, ms, over {len(steps):,} unplugs", min_width=44)
    for name in ("median", "p90", "max"):
        table.add_column(name, justify="right")
    rows = [
        (name, [getattr(each, name) * 1000 for each in steps]) for name in ("deny", "interrupt", "drain", "release", "actions")
    ]
    rows.append(("altogether", [sum(each[2:]) * 1000 for each in steps]))
    for name, times in rows:
        ordered = sorted(times)
        figures = (median(ordered), ordered[len(ordered) * 9 // 10], ordered[-1]) if ordered else ()
        table.add_row(name, *(f"{each:.3f}" for each in figures))
    return table


def removals_table(steps: Sequence[Steps]) -> Table:
    """Every single one."""
    table = Table(box=HORIZONTALS, show_edge=False, pad_edge=False, padding=0)
    for name in ("unplug", "kind", "inside", "deny", "interrupt", "drain", "release", "actions"):
        table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=name != "kind")
    for number, each in enumerate(steps, 1):
        table.add_row(str(number), each.kind, str(each.inside), *(f"{step * 1000:.3f}" for step in each[2:]))
    return table
