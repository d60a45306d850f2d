"""The command: a storm, or one over a broken mechanism, and what came of it."""

from __future__ import annotations

import json
import sys
from random import SystemRandom
from typing import TYPE_CHECKING

from . import busted, machine, show
from . import storm as storms

if TYPE_CHECKING:
    from typing import Any

    from .tally import Tally

__all__ = ["FAILURE", "SUCCESS", "UNUSABLE", "run", "storm"]

SUCCESS, FAILURE, UNUSABLE = 0, 1, 2
BUSTED_SECONDS, BUSTED_PATIENCE = 8.0, 4.0  # a fault has to show within ten seconds


def run(
    *,
    seconds: float = 20.0,
    seed: int | None = None,
    readers: int = 4,
    patience: float = storms.Config.patience,
    busted: str | None = None,
    json: str | None = None,
    quiet: bool = False,
) -> int:
    """Run the command, and return its exit status."""
    if seed is None:
        seed = SystemRandom().getrandbits(32)
    options: dict[str, Any] = {"seed": seed, "readers": readers, "path": json, "quiet": quiet}
    if busted is None:
        return storm(seconds=seconds, patience=patience, **options)
    if busted == "list":
        return _list()
    return _busted(busted, options)


def storm(
    *,
    seconds: float,
    seed: int,
    readers: int,
    path: str | None = None,
    quiet: bool = False,
    patience: float = storms.Config.patience,
    broken: str | None = None,
) -> int:
    """Run one storm in this process, and return the exit status. `broken`: the fault that is put in before."""
    facts = machine.facts()
    if not quiet:
        gil = "with the GIL" if facts["gil"] else "free-threaded"
        print(
            f"ref-proxy torture: {seconds:g} s, seed {seed}, {readers} readers, {facts['python']}, {gil}, twin {facts['twin']}\n"
        )
        sys.stdout.flush()
    if broken is not None:
        busted.break_it(broken)
    screen = show.make_screen(seconds, quiet=quiet)

    def tell(tally: Tally) -> list[str]:
        screen.stop()
        failures = tally.failures()
        lines = [] if quiet else [*show.report(tally, show.width()), ""]
        print("\n".join([*lines, *show.outcome(failures, tally)]), flush=True)
        if path is not None:
            told = {**facts, "seconds": seconds, "seed": seed, "readers": readers, "failures": failures, **tally.to_dict()}
            with open(path, "w", encoding="utf-8") as file:
                json.dump(told, file, indent=1)
                file.write("\n")
        return failures

    config = storms.Config(seconds, seed, readers, patience)
    try:
        tally = storms.run(config, screen.watch, tell)
    finally:
        screen.stop()
    return FAILURE if tell(tally) else SUCCESS


def _list() -> int:
    print("\n".join(show.catalogue(busted.controls(), show.width())))
    return SUCCESS


def _busted(name: str, options: dict[str, Any]) -> int:
    found = {control.name: control for control in busted.controls()}
    if name not in found:
        print(f"ref-proxy torture: no fault {name!r} for this twin; these there are: {', '.join(found)}", file=sys.stderr)
        return UNUSABLE
    control = found[name]
    if not options["quiet"]:
        print(f"busted: {control.what}", flush=True)
    try:
        status, death = busted.run_apart(control, {**options, "seconds": BUSTED_SECONDS, "patience": BUSTED_PATIENCE})
    except (busted.Unfit, LookupError) as error:
        print(f"ref-proxy torture: {error}", file=sys.stderr)
        return UNUSABLE
    if death:
        print(f"FAILURE: {death}")
    elif status == SUCCESS:
        print(f"ref-proxy torture: the fault {name!r} was not noticed: this storm proves nothing of it", file=sys.stderr)
    return status
