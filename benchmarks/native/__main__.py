"""Loads the program, has it measured, and shows and writes the rows. See the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.native.program import install, module
from benchmarks.rows import show

if TYPE_CHECKING:
    from benchmarks.rows import Row

__all__ = ["main"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the mechanism in C, beside liburcu.")
    parser.add_argument("--quick", action="store_true", help="show that it runs: the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    options = parser.parse_args()
    if not options.quick:
        install()
    try:
        module()
    except OSError as error:
        raise SystemExit(f"nothing is measured in C here: {error}") from error
    # Not before: they import `ref_proxy`, whose C twin is the program.
    from benchmarks.machine import load, machine
    from benchmarks.native.measured import rows

    where: dict[str, Any] = machine()
    print(f"{where['python']}, {where['cpu']}, commit {where['commit']}, load {where['load']}")
    found: list[Row] = []
    for each in rows(options.quick):
        if not found or found[-1].group != each.group:
            print(f"\n{each.group}")
        found.append(each)
        print(show(each) + (f"  {each.note}" if each.note else ""), flush=True)
    where["load at the end"] = load()
    if options.json is not None:
        document = {
            "machine": where,
            "quick": options.quick,
            "rows": [{**each._asdict(), "verdict": each.verdict} for each in found],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
