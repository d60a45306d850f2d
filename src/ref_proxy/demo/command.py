"""The command: the storm with ref_proxy, the same without, what came of both, and whether the promises were kept."""

from __future__ import annotations

import platform
import sys
from importlib import import_module
from random import SystemRandom
from typing import TYPE_CHECKING

from .._backend import BACKEND
from ..device import Device
from . import apart, show, storm
from .console import make_console, progress
from .source import NoDevice

if TYPE_CHECKING:
    from rich.console import Console

    from .album import Album
    from .protected import Make
    from .tally import Tally

__all__ = ["BROKEN", "KEPT", "UNUSABLE", "run"]

KEPT, BROKEN, UNUSABLE = 0, 1, 2


def run(
    *,
    seconds: float,
    seed: int | None = None,
    contrast: bool = True,
    verbose: bool = False,
    plot: str | None = None,
    device: str | None = None,
    baud: int = 115200,
    make: Make = Device,
) -> int:
    """Run the whole demo; returns the exit status. `make`: what makes the devices, so that a faulty one can be tried.

    Raises: `ModuleNotFoundError` for an extra that is missing, before anything is done.
    """
    if plot is not None:
        import_module("matplotlib")  # now, rather than after the storm
    console = make_console()
    seed = SystemRandom().getrandbits(32) if seed is None else seed
    config = storm.Config(seconds, seed, device=device, baud=baud)
    console.print(
        f"ref-proxy demo: {len(config.roster)} consumers of {device or 'an instrument'}, seed {seed}, "
        f"{platform.python_implementation()} {platform.python_version()}, backend {BACKEND}"
    )
    try:
        with progress(console, "with ref_proxy", seconds) as watch:
            tally, album = storm.run(config, watch, make)
    except NoDevice as error:
        print(f"ref-proxy demo: {error}", file=sys.stderr)
        return UNUSABLE
    without = None
    if contrast:
        with progress(console, "without ref_proxy", seconds) as watch:
            without = apart.run_apart(storm.Config(seconds, seed, protected=False, device=device, baud=baud), watch)
    return _report(console, tally, without, album, verbose=verbose, plot=plot, silent=device is not None)


def _report(
    console: Console, tally: Tally, without: Tally | None, album: Album | None, *, verbose: bool, plot: str | None, silent: bool
) -> int:
    if verbose:
        console.print("\nEvery unplug, steps in ms\n")
        console.print(show.removals_table(tally.steps))
    console.print()
    console.print(show.results_table(tally, without))
    console.print()
    console.print(show.steps_table(tally.steps))
    console.print()
    for what, each in (("with", tally), ("without", without)):
        if each is not None and each.note:
            console.print(f"{what} ref_proxy: {each.note}")
    if without is not None and without.cut_short:
        console.print(f"without ref_proxy: {without.cut_short}")
    drawn = plot is None or _plot(console, album, plot)
    broken = tally.broken(silent=silent)
    for phrase in broken:
        console.print(f"[red]BROKEN[/red] with ref_proxy: {phrase}")
    if not broken:
        console.print(f"[green]KEPT[/green]: every promise, in {tally.unplugs:,} unplugs and {tally.counts.granted:,} accesses")
    return BROKEN if broken else KEPT if drawn else UNUSABLE


def _plot(console: Console, album: Album | None, path: str) -> bool:
    from .plot import draw

    picture = album.typical() if album is not None else None
    if picture is None:
        console.print(f"no unplug to draw: {path} was not written")
        return False
    try:
        draw(picture, path)
    except (OSError, ValueError) as error:
        print(f"ref-proxy demo: {path} was not written: {error}", file=sys.stderr)
        return False
    console.print(f"the timeline of one unplug is in {path}")
    return True
