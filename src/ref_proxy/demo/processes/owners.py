"""Who replaces the segment: with ref_proxy, which tells when nobody uses the old one any more, and as it is done today."""

from __future__ import annotations

import os
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Protocol

from ...errors import RevokeTimeout
from .board import DENIED, NEWEST
from .tally import END, FENCED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from random import Random
    from typing import Any, TypeAlias

    from .crew import Crew, Hand
    from .segment import Segment
    from .shelf import Shelf

    Announce: TypeAlias = Callable[..., Any]

__all__ = ["FENCE", "GRACES", "Owner", "Protected", "Stuck", "Unprotected"]

FENCE = 0.25  # seconds after which a worker that does not let go is cut off, where one has been stopped
PATIENCE = 20.0  # seconds for a removal: far more than one takes
GRACES = 0.001, 0.01, 0.1  # seconds after which everybody will have moved on: so it is hoped, without ref_proxy


class Stuck(Exception):
    """A removal that did not come to its end."""


class Owner(Protocol):
    def replace(self, met: str, hand: Hand | None) -> None:
        """Put another segment in the place of the current one, and do away with that. `met`, `hand`: what happens to whom."""
        ...

    def revoke(self) -> None:
        """Take the last one away, and send everybody home."""
        ...

    def end(self) -> None:
        """Let go of everything, whatever has happened. When all workers have ended."""
        ...


class Protected:
    """A segment that was drained is overwritten. One that was fenced is not: what was taken out of it cannot be taken back."""

    def __init__(self, shelf: Shelf, address: str, announce: Announce) -> None:
        self._shelf = shelf
        first = shelf.make()
        self._shared = announce(address, first, info=first.info, interrupt=self._denied, release=self._released)

    def replace(self, met: str, hand: Hand | None) -> None:
        new, begun = self._shelf.make(), perf_counter()
        fence_after = FENCE if met == FENCED else None
        with self._patience():
            old, outcome = self._shared.replace(new, info=new.info, timeout=PATIENCE, fence_after=fence_after)
        self._shelf.tally.waited(met, perf_counter() - begun)
        if met == FENCED and hand is not None:
            self._shelf.tally.unnamed += hand.pid not in {holder.pid for holder in outcome.holders}
        self._shelf.put_away(old, spoil=outcome.state == "drained")

    def revoke(self) -> None:
        begun = perf_counter()
        with self._patience():
            self._shared.revoke(timeout=PATIENCE)
        self._shelf.tally.waited(END, perf_counter() - begun)

    def end(self) -> None:
        self._shared.revoke(timeout=PATIENCE)

    def _denied(self, _: Segment) -> None:
        if hasattr(os, "memfd_create"):  # elsewhere the others hear of it by a message, which takes a moment
            self._shelf.board.head[DENIED] = 1

    def _released(self, last: Segment) -> None:
        self._shelf.put_away(last, spoil=True)

    @contextmanager
    def _patience(self) -> Generator[None]:
        try:
            yield
        except RevokeTimeout as error:
            self._shelf.tally.timeouts += 1
            raise Stuck(str(error)) from None


class Unprotected:
    """It tells everybody which one is the newest, sleeps for a while, and hopes that this was long enough."""

    def __init__(self, shelf: Shelf, crew: Crew, random: Random) -> None:
        self._shelf = shelf
        self._crew = crew
        self._random = random
        self._tell(shelf.make())

    def _tell(self, newest: Segment) -> None:
        self._newest = newest
        self._shelf.board.head[NEWEST] = newest.generation

    def replace(self, met: str, hand: Hand | None) -> None:
        old, grace = self._newest, self._random.choice(GRACES)
        self._tell(self._shelf.make())
        sleep(grace)
        self._shelf.tally.waited(met, grace)
        self._shelf.tally.unnamed += met == FENCED
        wrong = self._shelf.put_away(old, spoil=True)
        self._shelf.tally.hoped.setdefault(grace, []).append(wrong)

    def revoke(self) -> None:
        self._crew.call_home()
        sleep(max(GRACES))
        self._shelf.put_away(self._newest, spoil=True)

    def end(self) -> None:
        pass
