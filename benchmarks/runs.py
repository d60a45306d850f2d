"""What was measured where: the JSON files of `docs/performance`, put together into the columns of the tables.

A file is `{"machine": {...}, "rows": [...]}`, with rows as `benchmarks.rows.Row` has them. Whoever measures something else writes
a file of that form, and lays it beside the others: its rows stand in the column of the same interpreter and machine, or, where
`"title"` says what was measured ("C alone"), in tables of their own. Of a machine the tables show what there is: `cpu`, `cores`,
`kernel`, `python`, `build`, `backend`, `commit`, `dirty`, `when`, `load`, `load at the end`, and `peers`, with their versions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Run", "described", "gathered", "read"]


class Run:
    """A column: one interpreter on one machine, or one thing with a title of its own."""

    def __init__(self, title: str, standing_alone: bool) -> None:
        self.title = title
        self.standing_alone = standing_alone
        self.machines: list[dict[str, Any]] = []
        self.rows: dict[tuple[str, str], Row] = {}

    def add(self, document: dict[str, Any]) -> None:
        self.machines.append(document["machine"])
        for entry in document["rows"]:
            row = Row(**{name: entry[name] for name in Row._fields if name in entry})
            self.rows[row.group, row.what] = row

    @property
    def gil(self) -> bool:
        return not self.machines[0].get("python", "").endswith("free-threaded")

    def curve(self, name: str) -> list[Row]:
        """Its points, from left to right."""
        points = [row for row in self.rows.values() if row.curve == name and row.median is not None]
        return sorted(points, key=lambda row: row.x)


def read(sources: Sequence[Path]) -> list[dict[str, Any]]:
    return [json.loads(source.read_text(encoding="utf-8")) for source in sources]


def gathered(documents: Sequence[dict[str, Any]]) -> list[Run]:
    """In the order of the documents."""
    runs: dict[object, Run] = {}
    several = len({_where(document) for document in documents if "title" not in document}) > 1
    for document in documents:
        machine = document["machine"]
        title = document.get("title")
        key = title or (machine["python"], *_where(document))
        if key not in runs:
            called = f"{machine['python']}, {machine['cpu']}, {machine['cores']} cores" if several else machine.get("python")
            runs[key] = Run(title or called, title is not None)
        runs[key].add(document)
    return list(runs.values())


def _where(document: dict[str, Any]) -> tuple[object, ...]:
    return tuple(document["machine"].get(name) for name in ("cpu", "cores"))


def described(machine: dict[str, Any]) -> Iterator[str]:
    """What is known of it."""
    if "build" in machine:
        yield f"`{machine['build']}`"
    if "backend" in machine:
        yield f"twin `{machine['backend']}`"
    commit = machine.get("commit")
    changed = " and what was changed since in the working tree" if machine.get("dirty") else ""
    yield "no commit" if commit is None else f"commit {commit[:12]}{changed}"
    where = {"cpu": "{}", "cores": "{} cores", "kernel": "{}"}
    yield ", ".join(form.format(machine[name]) for name, form in where.items() if name in machine)
    if machine.get("load") is not None:
        yield f"load {machine['load']} at the start and {machine.get('load at the end', 'unknown')} at the end"
    peers = {name: version for name, version in machine.get("peers", {}).items() if version}
    if peers:
        yield "with " + ", ".join(f"{name} {version}" for name, version in peers.items())
    if "when" in machine:
        yield str(machine["when"])
