"""What came of a storm: figures only, that can be added up, sent to another process, and judged."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .record import Haul

__all__ = ["Counts", "Steps", "Tally", "bump"]


def bump(counts: dict[str, int], name: str, by: int = 1) -> None:
    """Count `name`. In a plain dict, since `asdict()` spoils a Counter before Python 3.12."""
    counts[name] = counts.get(name, 0) + by


@dataclass
class Counts:
    """One consumer's. Each counts for itself, so that counting does not order what it counts."""

    granted: int = 0
    refused: int = 0
    interrupted: int = 0
    cancelled: int = 0  # in an event loop, and out as `Revoked`
    hung_up: int = 0
    records: int = 0
    wrong: int = 0
    lost: int = 0
    foreign: int = 0
    granted_late: int = 0
    after_close: int = 0
    overstayed: int = 0
    longest_overstay: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)  # by the exception's name

    def add_haul(self, haul: Haul) -> None:
        self.records += haul.records
        self.wrong += haul.wrong
        self.lost += haul.lost
        self.foreign += haul.foreign

    def add(self, other: Counts) -> None:
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if each.name == "errors":
                for name, number in list(theirs.items()):
                    bump(mine, name, number)
            else:
                setattr(self, each.name, max(mine, theirs) if each.name == "longest_overstay" else mine + theirs)


class Steps(NamedTuple):
    """One removal by `remove()`: how long each of its steps took, in seconds, and how many were inside when it began."""

    kind: str
    inside: int
    deny: float
    interrupt: float
    drain: float
    release: float
    actions: float


@dataclass
class Tally:
    """All of a storm's."""

    counts: Counts = field(default_factory=Counts)
    granted: dict[str, int] = field(default_factory=dict)  # by the line's name
    removals: dict[str, int] = field(default_factory=dict)  # by their kind
    steps: list[Steps] = field(default_factory=list)
    released_inside: int = 0
    released_again: int = 0
    never_released: int = 0
    actions: int = 0
    actions_early: int = 0
    actions_amiss: int = 0
    timeouts: int = 0
    robbed: int = 0  # what the bystander wrote for itself, and somebody else read
    asleep: int = 0  # consumers that did not come back at the end
    cut_short: str = ""  # what went wrong, where the storm ended early
    note: str = ""  # why it ended early, where nothing went wrong

    @property
    def unplugs(self) -> int:
        return sum(self.removals.values())

    @property
    def figures(self) -> str:
        return f"{self.unplugs:,} unplugs  {self.counts.records:,} records  {self.counts.refused:,} refused"

    def broken(self, *, silent: bool = False) -> list[str]:
        """The promises that were not kept, one phrase each. `silent`: it may be that the device had nothing to say."""
        counts = self.counts
        found = [
            (counts.wrong, "records with a wrong checksum"),
            (counts.lost, "places where records were lost"),
            (counts.after_close, "uses after close"),
            (counts.foreign, "reads of foreign data"),
            (counts.granted_late, "accesses granted after the denial"),
            (self.released_inside, "releases while somebody was inside"),
            (self.released_again, "lines released more than once"),
            (self.never_released, "lines not released when remove() returned"),
            (self.actions_early, "actions run before all lines were released"),
            (self.actions_amiss, "unplugs whose actions did not run once each, the last one first"),
            (self.timeouts, "removals that timed out"),
            (self.robbed, "descriptors of the bystander that were read by somebody else"),
            (self.asleep, "consumers that never came back"),
            *((number, f"uses that failed with {name}") for name, number in sorted(counts.errors.items())),
        ]
        phrases = [f"{number} {what}" for number, what in found if number]
        if not self.unplugs or not (counts.records or silent):
            phrases.append(f"nothing was proved: {self.unplugs} unplugs, {counts.records} records")
        if self.cut_short:
            phrases.append(self.cut_short)
        return phrases

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tally:
        tally = cls(**data)
        tally.counts = Counts(**data["counts"])
        tally.steps = [Steps(*each) for each in data["steps"]]
        return tally
