"""The command: the storm with ref_proxy, the same without, what came of both, and whether the promises were kept."""

from __future__ import annotations

import platform
from random import SystemRandom
from typing import TYPE_CHECKING

from ... import remote
from ..._backend import BACKEND
from ..console import make_console, progress
from . import show, storm

if TYPE_CHECKING:
    from rich.console import Console

    from .owners import Announce
    from .tally import Tally

__all__ = ["run"]

KEPT, BROKEN = 0, 1
WORKER = storm.Config.worker


def run(
    *,
    processes: int,
    seconds: float,
    seed: int | None = None,
    contrast: bool = True,
    announce: Announce = remote.announce,
    worker: str = WORKER,
) -> int:
    """Run the whole demo; returns the exit status. `announce`, `worker`: so that faulty ones can be tried.

    Raises: `ModuleNotFoundError` for an extra that is missing, before anything is done.
    """
    console = make_console()
    seed = SystemRandom().getrandbits(32) if seed is None else seed
    console.print(
        f"ref-proxy demo: {processes} processes on one segment of shared memory, seed {seed}, "
        f"{platform.python_implementation()} {platform.python_version()}, backend {BACKEND}"
    )
    with progress(console, "with ref_proxy", seconds) as watch:
        tally = storm.run(storm.Config(processes, seconds, seed, worker=worker), watch, announce)
    without = None
    if contrast:
        with progress(console, "without ref_proxy", seconds) as watch:
            without = storm.run(storm.Config(processes, seconds, seed, protected=False, worker=worker), watch)
    return _report(console, tally, without)


def _report(console: Console, tally: Tally, without: Tally | None) -> int:
    console.print()
    console.print(show.results_table(tally, without))
    console.print()
    console.print(show.waits_table(tally))
    console.print()
    if without is not None:
        console.print(show.hopes_table(without))
        console.print()
    if without is not None and without.cut_short:
        console.print(f"without ref_proxy: {without.cut_short}")
    broken = tally.broken()
    for phrase in broken:
        console.print(f"[red]BROKEN[/red] with ref_proxy: {phrase}")
    if not broken:
        console.print(f"[green]KEPT[/green]: every promise, in {tally.replacements:,} removals and {tally.granted:,} accesses")
    return BROKEN if broken else KEPT
