"""The checker's book on one line: who is inside, whether it was closed, how often. It takes nothing from ref_proxy on trust."""

from __future__ import annotations

from collections import deque
from enum import Enum
from threading import Lock
from time import perf_counter
from typing import NamedTuple

__all__ = ["Ledger", "Outcome", "Span"]


class Outcome(Enum):
    """How an access ended."""

    READ = "read"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    HUNG_UP = "hung up"
    FAILED = "failed"


class Span(NamedTuple):
    """One access, for the timeline; times as of `perf_counter()`."""

    who: str
    start: float
    end: float
    outcome: Outcome


class Ledger:
    """Written by everyone who touches the line; its lock is held for a few assignments only."""

    __slots__ = ("_closed_at", "_lock", "denied", "hung_up", "inside", "releases", "spans")

    def __init__(self) -> None:
        self._lock = Lock()
        self._closed_at: float | None = None
        self.denied = False  # set once the removal has got past its denial: no access that begins later may be granted
        self.hung_up = False  # set before the other end hangs up: reads may fail from then on
        self.inside = 0
        self.releases = 0
        self.spans: deque[Span] = deque(maxlen=96)

    @property
    def closed(self) -> bool:
        return self._closed_at is not None

    def enter(self) -> None:
        """To be called with the line in hand, before it is used."""
        with self._lock:
            self.inside += 1

    def leave(self, since: float) -> float | None:
        """To be called when it is not used any more. Not None: it was closed by then, and used for so long after that."""
        with self._lock:
            self.inside -= 1
            return None if self._closed_at is None else perf_counter() - max(self._closed_at, since)

    def release(self) -> int:
        """To be called right before the line is closed. Returns how many are still inside."""
        with self._lock:
            self._closed_at = perf_counter()
            self.releases += 1
            return self.inside
