"""Keeps the removals that are worth a picture: those that found the most consumers inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .ledger import Span

__all__ = ["Album", "Marks", "Picture"]

KEPT = 200


class Marks(NamedTuple):
    """When a removal took its steps, as of `perf_counter()`; each step ends where the next one begins."""

    called: float
    denied: float
    interrupted: float
    drained: float
    released: float
    undone: float


class Picture(NamedTuple):
    kind: str
    inside: int
    marks: Marks
    spans: Mapping[str, Collection[Span]]  # by the line, and still being written to when the picture is taken


class Album:
    def __init__(self) -> None:
        self._pictures: list[Picture] = []

    def add(self, picture: Picture) -> None:
        most = max((each.inside for each in self._pictures), default=0)
        if picture.inside > most:
            self._pictures = [picture]
        elif picture.inside == most and len(self._pictures) < KEPT:
            self._pictures.append(picture)

    def typical(self) -> Picture | None:
        """The one whose removal took the median time: neither the best nor the worst."""
        ordered = sorted(self._pictures, key=lambda each: each.marks.undone - each.marks.called)
        return ordered[len(ordered) // 2] if ordered else None
