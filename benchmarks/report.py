"""Writes the tables of `docs/performance.md`, and its plots, from what `benchmarks.core --json` wrote.

    python -m benchmarks.report docs/performance.md docs/performance/*.json

Everything between the two marks is replaced; the prose around them is written by hand, and so are the reasons for what is
missed, in `missed.toml` beside the JSON files. The plots are drawn there too, where matplotlib is installed.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import plots
from benchmarks.rows import figure
from benchmarks.runs import described, gathered, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.rows import Row
    from benchmarks.runs import Run

    Key = tuple[str, str]
    Reasons = Sequence[dict[str, str]]

__all__ = ["END", "START", "main", "reasons", "rewritten", "why"]

START = "<!-- figures: written by benchmarks/report.py -->"
END = "<!-- end of figures -->"


def bound(row: Row) -> str:
    return f"{'at least' if row.at_least else 'at most'} {row.limit:.4g}"


def bounds(runs: Sequence[Run], key: Key) -> str:
    """The limit, and, where it is another one, that of the free-threaded interpreters."""
    limits: dict[str, str] = {}
    for run in runs:
        row = run.rows.get(key)
        if row is not None and row.limit is not None:
            limits.setdefault(bound(row), bound(row) + ("" if run.gil else " (free-threaded)"))
    return "; ".join(limits.values())


def cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.median is None:
        return row.note.replace("|", " ")
    text = figure(row.median, row.unit)
    if row.samples > 1:
        text += f" ({figure(row.low, row.unit)} to {figure(row.high, row.unit)})"
    return f"{text} **MISSED**" if row.verdict == "MISSED" else text


def titled(key: Key, rows: Sequence[Row | None]) -> str:
    unit = next(row.unit for row in rows if row is not None)
    return key[1] if unit == "ratio" else f"{key[1]}, {unit}"


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def table(runs: Sequence[Run], keys: Sequence[Key], limits: bool) -> Iterator[str]:
    heads = ["", *(["limit"] if limits else []), *(run.title for run in runs)]
    yield line(*heads)
    yield f"|{' --- |' * len(heads)}"
    group = ""
    for key in keys:
        rows = [run.rows.get(key) for run in runs]
        if key[0] != group:
            group = key[0]
            yield f"| **{group}** |{' |' * (len(heads) - 1)}"
        yield line(titled(key, rows), *([bounds(runs, key)] if limits else []), *(cell(row) for row in rows))


def tables(runs: Sequence[Run], level: str) -> Iterator[str]:
    """What is held to a limit, and then the rest; the groups in the order in which they were measured."""
    keys = list(dict.fromkeys(key for run in runs for key in run.rows))
    order = list(dict.fromkeys(group for group, _ in keys))
    keys.sort(key=lambda key: order.index(key[0]))
    promised = [key for key in keys if bounds(runs, key)]
    rest = [key for key in keys if key not in promised]
    if promised:
        yield f"\n{level} The measures\n"
        yield from table(runs, promised, True)
    if rest:
        yield f"\n{level} What stands behind them\n"
        yield from table(runs, rest, False)


def why(run: Run, key: Key, reasons: Reasons) -> str:
    """The reason for a figure that is missed; that of this very column before one that is given for all."""
    fitting = [
        each
        for each in reasons
        if each["what"] == key[1] and each.get("group", key[0]) == key[0] and run.title.startswith(each.get("python", ""))
    ]
    return max(fitting, key=lambda each: len(each.get("python", "")))["why"] if fitting else ""


def missed(runs: Sequence[Run], reasons: Reasons) -> Iterator[str]:
    found = [(run, key, row) for run in runs for key, row in run.rows.items() if row.verdict == "MISSED"]
    if not found:
        yield "\nNo measure is missed."
        return
    yield "\n### What is missed, and why\n"
    yield line("", "where", "limit", "measured", "why")
    yield f"|{' --- |' * 5}"
    for run, key, row in found:
        measured = cell(row).removesuffix(" **MISSED**")
        reason = why(run, key, reasons) or "**not explained yet**"
        yield line(f"{key[0]}: {titled(key, [row])}", run.title, bound(row), measured, reason)


def figures(runs: Sequence[Run], reasons: Reasons, folder: str) -> Iterator[str]:
    for run in runs:
        for machine in run.machines:
            yield f"- **{run.title}**: " + ";\n  ".join(described(machine))
    for plot in plots.PLOTS:
        if plot.data(runs):
            yield f"\n![{' '.join(plot.title(runs).split())}]({folder}/{plot.name}.svg)"
    yield from missed(runs, reasons)
    yield from tables([run for run in runs if not run.standing_alone], "###")
    for run in runs:
        if run.standing_alone:
            yield f"\n### {run.title}"
            yield from tables([run], "####")


def rewritten(text: str, documents: Sequence[dict[str, Any]], reasons: Reasons, folder: str = "performance") -> str:
    """The document with fresh tables."""
    before, _, rest = text.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"the document has no {START} ... {END}")
    return "\n".join([f"{before}{START}\n", *figures(gathered(documents), reasons, folder), f"\n{END}{after}"])


def reasons(folder: Path) -> Reasons:
    """Those that are written by hand in `missed.toml`, whose head says how."""
    try:
        with (folder / "missed.toml").open("rb") as file:
            found: Reasons = tomllib.load(file).get("missed", [])
            return found
    except FileNotFoundError:
        return ()


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    target, *sources = map(Path, sys.argv[1:])
    documents, folder = read(sources), sources[0].parent
    text = target.read_text(encoding="utf-8")
    target.write_text(rewritten(text, documents, reasons(folder), folder.name), encoding="utf-8")
    plots.draw(gathered(documents), folder)


if __name__ == "__main__":
    main()
