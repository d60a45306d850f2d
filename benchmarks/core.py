"""Measures what this project promises about its cost, and says of each measure whether it is kept.

    python -m benchmarks.core [--quick] [--json FILE] [GROUP...]

Not a test: the exit status is 0 whatever the figures are, but what is missed is called MISSED. `--quick` shows that it runs;
its figures mean nothing. With words behind it only those groups are measured: `access threads`. `make bench` runs it with every
interpreter, with the peers installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import access, calls, coroutines, crowd, devices, footprint, millions, remote, removal, replacing, threads, twin
from benchmarks.machine import load, machine
from benchmarks.measure import FREE_THREADED
from benchmarks.native import native
from benchmarks.rows import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rows import Row

__all__ = ["GROUPS", "main"]


def each_of(*parts: Iterator[Row]) -> Iterator[Row]:
    for part in parts:
        yield from part


# In the order of the tables; each with how much of it is done: in earnest, and to show that it runs.
GROUPS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "access": lambda quick: access.access(*(1, 5, 1000) if quick else (15, 200, 2000)),
    "peers": lambda quick: access.against_peers(*(5, 100) if quick else (200, 1000)),
    "asyncio": lambda quick: coroutines.coroutines(*(5, 100) if quick else (200, 2000)),
    "calls": lambda quick: calls.calls(*(1, 5, 1000) if quick else (15, 100, 2000)),
    "threads": lambda quick: each_of(
        threads.proxies(*(1, 3, 1000) if quick else RACES),
        threads.peers(*(3, 100) if quick else (20, 5000)),
        threads.shared_calls(*(1, 3, 1000) if quick else RACES),
    ),
    "removal": lambda quick: each_of(
        removal.idle(*(20, {10: 3, 1000: 3}) if quick else (5000, {10: 201, 1000: 101, 100_000: 31, 1_000_000: 11})),
        removal.of_a_pool(2 if quick else 30),
        removal.by_threads(*(2, (1, 2)) if quick else (31, (1, 2, 10, 100, 200))),
        removal.many(*({10: 2, 100: 2, 1000: 2}, (100, 1000)) if quick else (SECTIONS, (1000, 10_000))),
        removal.latency(3 if quick else 300),
    ),
    "replacing": lambda quick: replacing.replacing(*(3, 5) if quick else (1000, 60)),
    "devices": lambda quick: devices.devices({10: 2, 100: 2} if quick else {100: 41, 1000: 11, 10_000: 5}),
    "remote": lambda quick: remote.remote(
        *(1, 5, 1000, {0: 3, 1: 3, 8: 3, 20: 2}, 2) if quick else (10, 200, 2000, PROCESSES, 60)
    ),
    "crowd": lambda quick: crowd.crowd(*(100, 10, 20, 0.3, 0.1) if quick else (10_000, 200, 100, 5, 1)),
    "memory": lambda quick: each_of(footprint.memory(), millions.millions(10_000 if quick else 1_000_000)),
    "making": lambda quick: footprint.making(*(3, 200) if quick else (500, 2000)),
    "import": lambda quick: footprint.importing(2 if quick else 100),
    "native": native,
    "twin": lambda quick: twin.twin(*(5, 100) if quick else (400, 300)),
}
RACES = (15, 8, 20_000) if FREE_THREADED else (15, 4, 100_000)  # with the GIL long enough for it to be handed on several times
SECTIONS = {10: 101, 1000: 41, 10_000: 41, 100_000: 11, 1_000_000: 3}  # open ones, and how often: a million take 110 MB
PROCESSES = {0: 200, 1: 200, 8: 200, 50: 41, 200: 15}  # that are attached, and how often


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what ref_proxy costs.")
    parser.add_argument("groups", metavar="GROUP", nargs="*", help=f"measure these alone, of: {' '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="show that it runs: the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"there is no {', '.join(sorted(unknown))}: the groups are {' '.join(GROUPS)}")
    where = machine()
    for name, value in where.items():
        print(f"{name}: {value}")
    rows: list[Row] = []
    for name in options.groups or GROUPS:
        begun = time.monotonic()
        for row in GROUPS[name](options.quick):
            if not rows or rows[-1].group != row.group:
                print(f"\n{row.group}\n{'':<76} {'median':>9} {'':<5} {'quartiles':>22}  {'limit':>8}")
            rows.append(row)
            print(show(row), flush=True)
        print(f"({name}: {time.monotonic() - begun:.0f} s)")
    where["load at the end"] = load()
    missed = [row for row in rows if row.verdict == "MISSED"]
    print(f"\n{len(missed)} MISSED" + "".join(f"\n  {row.group}: {row.what}" for row in missed))
    if options.json is not None:
        document = {"machine": where, "quick": options.quick, "rows": [{**row._asdict(), "verdict": row.verdict} for row in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
