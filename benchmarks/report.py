"""Writes the tables of `docs/performance.md` from what `benchmarks.core --json` wrote.

    python -m benchmarks.report docs/performance.md docs/performance/*.json

Everything between the two marks is replaced; the prose around them is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.core import figure
from benchmarks.measure import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["END", "START", "main", "rewritten"]

START = "<!-- figures: written by benchmarks/report.py -->"
END = "<!-- end of figures -->"


class Run:
    """One JSON file."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.machine: dict[str, Any] = document["machine"]
        self.rows: dict[tuple[str, str], Row] = {}
        for entry in document["rows"]:
            row = Row(**{name: entry[name] for name in Row._fields})
            self.rows[row.group, row.what] = row

    @property
    def title(self) -> str:
        return f"{self.machine['python']}"


def bound(runs: Sequence[Run], key: tuple[str, str]) -> str:
    """The limit, and, where it is another one, that of the free-threaded interpreters."""
    limits: dict[float, str] = {}
    for run in runs:
        row = run.rows.get(key)
        if row is not None and row.limit is not None:
            free = run.machine["python"].partition(" ")[2]
            limits.setdefault(row.limit, f"{'at least' if row.at_least else 'at most'} {row.limit:g}{free and f' ({free})'}")
    return "; ".join(limits.values())


def cell(row: Row | None) -> str:
    if row is None:
        return ""
    text = figure(row.median, row.unit)
    if row.samples > 1:
        text += f" ({figure(row.low, row.unit)} to {figure(row.high, row.unit)})"
    return f"{text} **MISSED**" if row.verdict == "MISSED" else text


def table(runs: Sequence[Run], keys: Sequence[tuple[str, str]], limits: bool) -> Iterator[str]:
    heads = ["", *(["limit"] if limits else []), *(run.title for run in runs)]
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    group = ""
    for key in keys:
        rows = [run.rows.get(key) for run in runs]
        unit = next(row.unit for row in rows if row is not None)
        if key[0] != group:
            group = key[0]
            yield f"| **{group}** |{' |' * (len(heads) - 1)}"
        what = key[1] if unit == "ratio" else f"{key[1]}, {unit}"
        yield f"| {' | '.join([what, *([bound(runs, key)] if limits else []), *(cell(row) for row in rows)])} |"


def tables(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        where = run.machine
        state = "no commit" if where["commit"] is None else f"commit {where['commit'][:12]}"
        dirty = " and what was changed since in the working tree" if where["dirty"] else ""
        yield f"- **{run.title}**: `{where['build']}`; twin `{where['backend']}`; {state}{dirty}; {where['when']};"
        yield f"  {where['cpu']}, {where['cores']} cores, {where['kernel']};"
        yield f"  load {where['load']} at the start and {where['load at the end']} at the end"
    keys = list(dict.fromkeys(key for run in runs for key in run.rows))
    order = list(dict.fromkeys(group for group, _ in keys))
    keys.sort(key=lambda key: order.index(key[0]))
    promised = [key for key in keys if bound(runs, key)]
    yield "\n### The measures\n"
    yield from table(runs, promised, True)
    yield "\n### What stands behind them\n"
    yield from table(runs, [key for key in keys if key not in promised], False)


def rewritten(text: str, documents: Sequence[dict[str, Any]]) -> str:
    """The document with fresh tables."""
    before, _, rest = text.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"the document has no {START} ... {END}")
    return "\n".join([f"{before}{START}\n", *tables([Run(document) for document in documents]), f"\n{END}{after}"])


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    target, *sources = map(Path, sys.argv[1:])
    documents = [json.loads(source.read_text(encoding="utf-8")) for source in sources]
    target.write_text(rewritten(target.read_text(encoding="utf-8"), documents), encoding="utf-8")


if __name__ == "__main__":
    main()
