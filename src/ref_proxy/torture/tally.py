"""What came of a storm: figures only, and what is wrong with them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .specimen import OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .actor import Actor

__all__ = ["ALLOWED", "Tally"]

ALLOWED = 1  # the greatest age that a section may see


@dataclass
class Tally:
    """All that was counted. `done` has, for each group of actors, how often each kind of thing was done."""

    seconds: float = 0.0
    done: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    ages: list[list[int]] = field(default_factory=lambda: [[0] * (OLDEST + 1), [0] * (OLDEST + 1)])
    faults: dict[str, int] = field(default_factory=dict[str, int])
    memory: tuple[int, int] = (0, 0)  # bytes, before and after
    notes: list[str] = field(default_factory=list[str])  # what was left out here, and why

    def add(self, actors: Iterable[Actor]) -> None:
        """Add what these have counted. They may be counting still."""
        for actor in actors:
            _add(self.done.setdefault(actor.group, {}), actor.done)
            _add(self.counts, actor.counts)
            for mine, theirs in zip(self.ages, actor.ages, strict=True):
                mine[:] = map(sum, zip(mine, theirs, strict=True))

    def total(self, group: str) -> int:
        return sum(self.done.get(group, {}).values())

    def failures(self) -> list[str]:
        """What must not be: one phrase each. None of them: success."""
        found = [what if number == 1 else f"{what} ({number:,} times)" for what, number in self.faults.items()]
        overlooked = sum(sum(ages[ALLOWED + 1 :]) for ages in self.ages)
        if overlooked:
            found.insert(0, f"{overlooked:,} looks found a resource of age {ALLOWED + 1} or more: readers were overlooked")
        if not found:
            idle = [f"{kind} ({group})" for group, kinds in self.done.items() for kind, number in kinds.items() if not number]
            if idle or not self.done:
                found.append(f"nothing was proved of: {', '.join(idle) or 'anything'}")
        return found

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _add(to: dict[str, int], what: dict[str, int]) -> None:
    for key, number in list(what.items()):
        to[key] = to.get(key, 0) + number
