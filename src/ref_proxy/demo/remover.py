"""How a line is handed out and removed: by a Provider, or the way it is done without one."""

from __future__ import annotations

from contextlib import nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from ..errors import RevokeTimeout
from ..provider import Provider
from .album import Album, Marks, Picture
from .consumer import ROSTER
from .tally import Steps, bump

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from .bystander import Bystander
    from .hub import Access
    from .ledger import Ledger
    from .line import Line
    from .tally import Tally

    Make = Callable[..., Provider[Line]]

__all__ = ["Protected", "Remover", "Stuck", "Unprotected"]

PATIENCE = 5.0  # seconds for one revoke(): it takes well under a millisecond


class Stuck(Exception):
    """A removal that did not come to its end."""


class Remover(Protocol):
    def offer(self, line: Line, ledger: Ledger) -> Mapping[str, Access]:
        """For each consumer a way to reach this line."""
        ...

    def remove(self, kind: str) -> None:
        """Close the line that was offered last."""


class Protected:
    """With ref_proxy. The hooks do what they would do anyway, and tell when."""

    def __init__(self, tally: Tally, bystander: Bystander, make: Make = Provider) -> None:
        self.album = Album()
        self._tally = tally
        self._bystander = bystander
        self._make = make
        self._provider: Provider[Line]
        self._ledger: Ledger
        self._inside = 0
        self._times: list[float] = []

    def offer(self, line: Line, ledger: Ledger) -> Mapping[str, Access]:
        self._ledger = ledger
        self._provider = self._make(line, interrupt=self._interrupt, release=self._release, name="line")
        shared = self._provider.proxy("shared")
        return {each.name: (shared if each.shared else self._provider.proxy(each.name)).access for each in ROSTER}

    def remove(self, kind: str) -> None:
        self._times = [perf_counter()]
        self._revoke()
        bump(self._tally.removals, kind)
        self._tally.never_released += not self._ledger.releases
        if len(self._times) == 5:
            called, denied, interrupted, drained, released = self._times
            steps = Steps(kind, self._inside, denied - called, interrupted - denied, drained - interrupted, released - drained)
            self._tally.steps.append(steps)
            self.album.add(Picture(kind, self._inside, Marks(*self._times), self._ledger.spans))

    def _revoke(self) -> None:
        try:
            self._provider.revoke(timeout=PATIENCE)
        except RevokeTimeout:
            self._tally.timeouts += 1
            try:
                self._provider.revoke(timeout=PATIENCE)
            except RevokeTimeout as again:
                raise Stuck(str(again)) from None

    def _interrupt(self, line: Line) -> None:
        self._times.append(perf_counter())
        self._inside = self._ledger.inside
        self._ledger.denied = True  # an access that begins from here on must be refused
        line.interrupt()
        self._times.append(perf_counter())

    def _release(self, line: Line) -> None:
        self._times.append(perf_counter())
        _close(line, self._ledger, self._tally, self._bystander)
        self._times.append(perf_counter())


class Unprotected:
    """Without. Half of the time the readers are told first, by `cancel_read()`, as careful people do; half of the time not."""

    def __init__(self, tally: Tally, bystander: Bystander, random: Random) -> None:
        self._tally = tally
        self._bystander = bystander
        self._random = random
        self._line: Line
        self._ledger: Ledger

    def offer(self, line: Line, ledger: Ledger) -> Mapping[str, Access]:
        self._line, self._ledger = line, ledger
        return {each.name: lambda: nullcontext(line) for each in ROSTER}

    def remove(self, kind: str) -> None:
        self._ledger.denied = True
        if self._random.random() < 0.5:
            self._line.interrupt()
        _close(self._line, self._ledger, self._tally, self._bystander)
        bump(self._tally.removals, kind)


def _close(line: Line, ledger: Ledger, tally: Tally, bystander: Bystander) -> None:
    tally.released_again += ledger.releases > 0
    tally.released_inside += ledger.release() > 0
    line.close()
    bystander.closed()
