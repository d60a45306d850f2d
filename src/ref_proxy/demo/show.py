"""The figures for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import HORIZONTALS
from rich.table import Table

from .console import add_figures, add_times, make_table
from .plug import ASYNCIO, OLD, THREADS
from .source import ADMINISTRATOR, GONE, HUNG_UP_IDLE, HUNG_UP_MIDWAY
from .tally import Steps
from .visit import OVERSTAY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .tally import Tally

    Row = tuple[str, Callable[[Tally], int]]

__all__ = ["removals_table", "results_table", "steps_table"]

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


def results_table(with_it: Tally, without: Tally | None) -> Table:
    tallies = [with_it] if without is None else [with_it, without]
    table = make_table("counted", *("with ref_proxy", "without")[: len(tallies)])
    for kind in KINDS:
        if any(kind in tally.removals for tally in tallies):
            add_figures(table, f"unplugs: {kind}", [tally.removals.get(kind, 0) for tally in tallies])
    for what, figure in WORK:
        add_figures(table, what, [figure(tally) for tally in tallies])
    table.add_section()
    for what, figure in FAULTS:
        add_figures(table, what, [figure(tally) for tally in tallies], faults=True)
    for name in sorted({name for tally in tallies for name in tally.counts.errors}):
        add_figures(table, f"uses that raised {name}", [tally.counts.errors.get(name, 0) for tally in tallies], faults=True)
    return table


def steps_table(steps: Sequence[Steps]) -> Table:
    """How long the steps of a removal took, in milliseconds."""
    table = make_table(f"step, ms, over {len(steps):,} unplugs", "median", "p90", "max")
    for name in ("deny", "interrupt", "drain", "release", "actions"):
        add_times(table, name, [getattr(each, name) for each in steps])
    add_times(table, "altogether", [sum(each[2:]) for each in steps])
    return table


def removals_table(steps: Sequence[Steps]) -> Table:
    """Every single one."""
    table = Table(box=HORIZONTALS, show_edge=False, pad_edge=False, padding=0)
    for name in ("unplug", "kind", "inside", "deny", "interrupt", "drain", "release", "actions"):
        table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=name != "kind")
    for number, each in enumerate(steps, 1):
        table.add_row(str(number), each.kind, str(each.inside), *(f"{step * 1000:.3f}" for step in each[2:]))
    return table
