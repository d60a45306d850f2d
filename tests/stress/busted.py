"""The negative controls: each that can show on this build fails in ten seconds: `python -m tests.stress.busted [NAME ...]`."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from ref_proxy.torture.busted import controls

SOURCES = str(Path(__file__).parents[2] / "src")
TOGETHER = 2  # at most: each of them wants more than one processor
LIMIT = 10.0  # seconds; one that takes longer is called late, for the machine may be busy with something else
PATIENCE = 45.0


class Outcome(NamedTuple):
    name: str
    status: int
    seconds: float
    said: str

    @property
    def failed_as_it_should(self) -> bool:
        hung = "Timeout (" in self.said  # the interpreter itself, so that faulthandler ended it
        return self.status == 1 and ("FAILURE: " in self.said or hung)


def shown() -> list[str]:
    """The faults that can show on this build."""
    return [control.name for control in controls() if control.hidden is None]


def attempt(name: str) -> Outcome:
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    began = monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ref_proxy.cli", "torture", "--quiet", "--busted", name],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return Outcome(name, done.returncode, monotonic() - began, done.stdout)


def main(names: list[str]) -> int:
    failed, names = 0, names or shown()
    with ThreadPoolExecutor(TOGETHER) as pool:
        for outcome in pool.map(attempt, names):
            reasons = [line for line in outcome.said.splitlines() if line.startswith("FAILURE: ")]
            verdict = "MISSED" if not outcome.failed_as_it_should else "late" if outcome.seconds > LIMIT else "caught"
            failed += not outcome.failed_as_it_should
            what = reasons[0] if reasons else f"status {outcome.status}: {outcome.said[-400:]}"
            print(f"{verdict:<7} {outcome.seconds:5.1f} s  {outcome.name:<22} {what}", flush=True)
    print(f"{len(names) - failed} of {len(names)} broken mechanisms were noticed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
