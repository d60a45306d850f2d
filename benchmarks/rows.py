"""What a figure is: a median with its quartiles, the limit that it is held to, and how it is written."""

from __future__ import annotations

from statistics import quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST = 0.001  # where a clock saw no time go by, which happens to short turns alone

__all__ = ["LEAST", "Row", "figure", "over", "ratios", "row", "show", "unmeasured"]


class Row(NamedTuple):
    """One figure. In JSON it has the same fields, and its `verdict`; those with a default may be left out there."""

    group: str
    what: str
    unit: str  # "ratio", "count", "bytes", or a unit that stands behind the name
    median: float | None  # None: not measured, and `note` says why
    low: float | None
    high: float | None
    samples: int
    limit: float | None = None
    at_least: bool = False  # the limit is one from below
    note: str = ""
    curve: str = ""  # where it is a point of a curve: which one, and where on it
    x: float = 0

    @property
    def verdict(self) -> str:
        if self.median is None:
            return "not measured"
        if self.limit is None:
            return ""
        return "within" if (self.median >= self.limit if self.at_least else self.median <= self.limit) else "MISSED"


def row(group: str, what: str, unit: str, samples: Sequence[float], limit: float | None = None, **more: Any) -> Row:
    low, middle, high = quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [*samples] * 3
    return Row(group, what, unit, middle, low, high, len(samples), limit, **more)


def unmeasured(group: str, what: str, unit: str, why: str, limit: float | None = None, at_least: bool = False) -> Row:
    return Row(group, what, unit, None, None, None, 0, limit, at_least, why)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Turn by turn: what slows one turn down slows both sides of its ratio."""
    return [a / (b or LEAST) for a, b in zip(above, below, strict=True)]


def over(whole: Sequence[float], part: Sequence[float]) -> list[float]:
    """The differences, turn by turn."""
    return [a - b for a, b in zip(whole, part, strict=True)]


def figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "ratio":
        return f"{value:.3f}" if value < 10 else f"{value:.1f}"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:,.0f}" if unit == "bytes" or value >= 1000 else f"{value:.4g}"


def show(row: Row) -> str:
    """A line for the terminal."""
    spread = "" if row.samples < 2 else f"{figure(row.low, row.unit)} .. {figure(row.high, row.unit)}"
    bound = "" if row.limit is None else f"{'>=' if row.at_least else '<='} {row.limit:g}"
    unit = "" if row.unit == "ratio" else row.unit
    why = f"  {row.note}" if row.median is None else ""
    return f"{row.what:<76} {figure(row.median, row.unit):>9} {unit:<5} {spread:>22}  {bound:>8}  {row.verdict}{why}".rstrip()
