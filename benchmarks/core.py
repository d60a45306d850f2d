"""Measures what this project promises about its cost, and says of each measure whether it is kept.

    python -m benchmarks.core [--quick] [--json FILE]

Not a test: the exit status is 0 whatever the figures are, but what is missed is called MISSED. `--quick` shows that it runs;
its figures mean nothing. `ref_proxy` must be importable, with its C twin, and a C compiler at hand for the limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import access, calls, footprint, removal
from benchmarks.measure import Row, load, machine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main", "measures"]


def measures(quick: bool) -> Iterator[Row]:
    """All rows, in the order of the table."""
    yield from access.access(*(1, 5, 1000) if quick else (15, 40, 20_000))
    yield from calls.calls(*(5, 1000) if quick else (200, 20_000))
    yield from access.scaling(*(3, 1000) if quick else (60, 100_000))
    yield from removal.idle(*(20, 1000, 3) if quick else (5000, 200_000, 61))
    yield from removal.many(*(2, (10, 100, 1000)) if quick else (41, (1000, 10_000, 100_000)))
    yield from removal.latency(3 if quick else 300)
    yield from footprint.memory()
    yield from footprint.making(*(3, 200) if quick else (200, 10_000))
    yield from footprint.importing(2 if quick else 100)
    yield from access.twin(*(5, 100) if quick else (300, 2000))


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if unit == "ratio" else f"{value:.0f}" if unit in {"bytes", "count"} else f"{value:.4g}"


def show(row: Row) -> str:
    spread = "" if row.samples < 2 else f"{figure(row.low, row.unit)} .. {figure(row.high, row.unit)}"
    bound = "" if row.limit is None else f"{'>=' if row.at_least else '<='} {row.limit:g}"
    unit = "" if row.unit == "ratio" else row.unit
    return f"{row.what:<76} {figure(row.median, row.unit):>9} {unit:<5} {spread:>22}  {bound:>8}  {row.verdict}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what ref_proxy costs.")
    parser.add_argument("--quick", action="store_true", help="show that it runs: the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    options = parser.parse_args()
    where = machine()
    for name, value in where.items():
        print(f"{name}: {value}")
    rows: list[Row] = []
    for row in measures(options.quick):
        if not rows or rows[-1].group != row.group:
            print(f"\n{row.group}\n{'':<76} {'median':>9} {'':<5} {'quartiles':>22}  {'limit':>8}")
        rows.append(row)
        print(show(row), flush=True)
    where["load at the end"] = load()
    missed = [row.what for row in rows if row.verdict == "MISSED"]
    print(f"\n{len(missed)} MISSED" + "".join(f"\n  {what}" for what in missed))
    if options.json is not None:
        document = {"machine": where, "quick": options.quick, "rows": [{**row._asdict(), "verdict": row.verdict} for row in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
