"""How lines are handed out and removed without ref_proxy, and what that has in common with how it is done with it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from .actions import Actions
from .hub import Offer
from .plug import OLD
from .roster import having
from .tally import bump

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from .bystander import Bystander
    from .plug import Plug, Port
    from .roster import Place
    from .tally import Tally

__all__ = ["Remover", "Unprotected", "close"]


class Remover(Protocol):
    def offer(self, plug: Plug) -> Mapping[str, Offer]:
        """For each consumer a way to reach its line."""
        ...

    def remove(self, kind: str) -> None:
        """Close the lines that were offered last, and run the actions."""


class Unprotected:
    """Half of the time those in threads are woken first, by `cancel_read()`, as careful people do; tasks are never told."""

    def __init__(self, tally: Tally, bystander: Bystander, random: Random) -> None:
        self._tally = tally
        self._bystander = bystander
        self._random = random
        self._plug: Plug

    def offer(self, plug: Plug) -> Mapping[str, Offer]:
        self._plug = plug
        return {place.name: self._offer(plug.ports[place.line], place) for place in having(plug.ports)}

    @staticmethod
    def _offer(port: Port, place: Place) -> Offer:
        line = port.line
        return Offer((lambda: line) if place.line == OLD else (lambda: nullcontext(line)), port.ledger)

    def remove(self, kind: str) -> None:
        ports = self._plug.ports.values()
        self._plug.deny()
        if self._random.random() < 0.5:
            for port in ports:
                port.line.interrupt()
        for port in ports:
            close(port, self._tally, self._bystander)
        actions = Actions(self._plug, self._tally)
        for name in reversed(actions.NAMES):
            actions.run(name)
        actions.settle()
        bump(self._tally.removals, kind)


def close(port: Port, tally: Tally, bystander: Bystander, *, others: int = 0) -> None:
    """Close one line, and note whether that was right. `others`: how many are inside on the lines that go with it."""
    tally.released_again += port.ledger.releases > 0
    tally.released_inside += port.ledger.release() + others > 0
    port.line.close()
    bystander.closed()
