"""What came of a storm across processes: figures only, and a judgement."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["END", "FENCED", "KILLED", "PLAIN", "Tally"]

# What a replacement meets.
PLAIN, KILLED, FENCED, END = "all at work", "a worker was killed", "a worker was stopped", "the end: revoke()"


@dataclass
class Tally:
    protected: bool
    waits: dict[str, list[float]] = field(default_factory=dict)  # seconds that the owner waited, by what it met
    hoped: dict[float, list[bool]] = field(default_factory=dict)  # without: by the seconds slept, whether that was too short
    workers: int = 0
    killed: int = 0
    stopped: int = 0
    forked: int = 0
    granted: int = 0
    refused: int = 0
    read: int = 0
    garbage: int = 0
    late: int = 0
    missing: int = 0
    let_in: int = 0
    spoiled_inside: int = 0
    unnamed: int = 0
    timeouts: int = 0
    astray: int = 0
    left_behind: int = 0
    cut_short: str = ""  # what went wrong, where the storm ended early

    def waited(self, met: str, seconds: float) -> None:
        self.waits.setdefault(met, []).append(seconds)

    @property
    def replacements(self) -> int:
        return sum(len(waits) for met, waits in self.waits.items() if met != END)

    @property
    def figures(self) -> str:
        return f"{self.replacements:,} replacements  {self.granted:,} accesses  {self.garbage:,} pages of garbage"

    def broken(self) -> list[str]:
        """The promises that were not kept, one phrase each."""
        found = [
            (self.garbage, "pages read that were garbage"),
            (self.late, "accesses granted after the removal"),
            (self.spoiled_inside, "segments released while somebody was inside"),
            (self.missing, "segments that were gone when a worker came for them"),
            (self.unnamed, "stopped workers that no outcome named"),
            (self.let_in, "forked children that were let in"),
            (self.timeouts, "removals that timed out"),
            (self.astray, "workers that never came back"),
            (self.left_behind, "segments or sockets left behind"),
        ]
        phrases = [f"{number} {what}" for number, what in found if number]
        mishaps = self.killed, self.stopped, self.forked
        if not (self.granted and all(mishaps)):
            phrases.append(
                f"nothing was proved: {self.granted} accesses, {self.killed} workers killed, {self.stopped} stopped, "
                f"{self.forked} forked"
            )
        if self.cut_short:
            phrases.append(self.cut_short)
        return phrases
