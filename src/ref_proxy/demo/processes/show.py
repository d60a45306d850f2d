"""The figures for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..console import add_figures, add_times, make_table
from .owners import FENCE
from .tally import END, FENCED, KILLED, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from .tally import Tally

    Row = tuple[str, Callable[[Tally], int]]

__all__ = ["hopes_table", "results_table", "waits_table"]

WORK: tuple[Row, ...] = (
    ("segments replaced", lambda tally: tally.replacements),
    ("workers started", lambda tally: tally.workers),
    ("workers killed (SIGKILL)", lambda tally: tally.killed),
    ("workers stopped, and continued (SIGSTOP)", lambda tally: tally.stopped),
    ("workers that forked", lambda tally: tally.forked),
    ("accesses granted", lambda tally: tally.granted),
    ("accesses refused", lambda tally: tally.refused),
    ("pages read", lambda tally: tally.read),
)
FAULTS: tuple[Row, ...] = (
    ("pages read that were garbage", lambda tally: tally.garbage),
    ("accesses granted after the removal", lambda tally: tally.late),
    ("overwritten while somebody was inside", lambda tally: tally.spoiled_inside),
    ("segments gone when a worker came for them", lambda tally: tally.missing),
    ("stopped workers the owner knew nothing of", lambda tally: tally.unnamed),
    ("forked children let in to what is not theirs", lambda tally: tally.let_in),
    ("removals that timed out", lambda tally: tally.timeouts),
    ("workers that never came back", lambda tally: tally.astray),
    ("segments and sockets left behind", lambda tally: tally.left_behind),
)


def results_table(with_it: Tally, without: Tally | None) -> Table:
    tallies = [with_it] if without is None else [with_it, without]
    table = make_table("counted", *("with ref_proxy", "without")[: len(tallies)])
    for what, figure in WORK:
        add_figures(table, what, map(figure, tallies))
    table.add_section()
    for what, figure in FAULTS:
        add_figures(table, what, map(figure, tallies), faults=True)
    return table


def waits_table(tally: Tally) -> Table:
    """How long the owner waited until it knew that nobody uses the old segment any more."""
    table = make_table("with ref_proxy the owner waits, ms, when", "times", "median", "p90", "max")
    for met in (PLAIN, KILLED, FENCED, END):
        waits = tally.waits.get(met, [])
        add_times(table, f"{met}, cut off after {FENCE * 1000:.0f}" if met == FENCED else met, waits, f"{len(waits):,}")
    return table


def hopes_table(without: Tally) -> Table:
    """What comes of sleeping for a while, and hoping that nobody uses the old segment any more."""
    table = make_table("without ref_proxy the owner sleeps, ms", "times", "too short", "share")
    for slept, wrong in sorted(without.hoped.items()):
        share = f"{sum(wrong) / len(wrong):.0%}"
        colour = "red" if any(wrong) else "green"
        table.add_row(f"{slept * 1000:g}", f"{len(wrong):,}", *(f"[{colour}]{each}[/{colour}]" for each in (sum(wrong), share)))
    return table
