"""How lines are handed out and removed with ref_proxy: by a device that has them all, and knows what to undo after them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING

from ..device import Device
from ..errors import RevokeTimeout
from .actions import Actions
from .album import Album, Marks, Picture
from .hub import Offer
from .remover import close
from .roster import having
from .tally import Steps, bump

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .bystander import Bystander
    from .line import Line
    from .plug import Plug, Port
    from .ports import Bare
    from .tally import Tally

    Make = Callable[[str], Device]

__all__ = ["Protected", "Stuck"]

PATIENCE = 5.0  # seconds for one remove(): it takes well under a millisecond


class Stuck(Exception):
    """A removal that did not come to its end."""


class Protected:
    """The hooks and actions do what they would do anyway, and tell when."""

    def __init__(self, tally: Tally, bystander: Bystander, make: Make = Device) -> None:
        self.album = Album()
        self._tally = tally
        self._bystander = bystander
        self._make = make
        self._plug: Plug
        self._device: Device
        self._actions: Actions
        self._inside = 0
        self._times: dict[str, float] = {}

    def offer(self, plug: Plug) -> Mapping[str, Offer]:
        self._plug = plug
        self._device = self._make("instrument")
        self._actions = Actions(plug, self._tally)
        for name in self._actions.NAMES:
            self._device.add_action(self._act, name)
        self._times = {}
        providers = {
            name: self._device.provide(
                port.line, interrupt=self._interrupt, release=partial(self._release, port), name=f"line for {name}"
            )
            for name, port in plug.ports.items()
        }
        shared = {name: provider.proxy("shared") for name, provider in providers.items()}
        offers = {}
        for place in having(providers):
            proxy: Any = shared[place.line] if place.shared else providers[place.line].proxy(place.name)
            offers[place.name] = Offer(partial(place.by, proxy), plug.ports[place.line].ledger)
        return offers

    def remove(self, kind: str) -> None:
        called = perf_counter()
        self._remove()
        bump(self._tally.removals, kind)
        self._tally.never_released += sum(not port.ledger.releases for port in self._plug.ports.values())
        self._actions.settle()
        if len(self._times) == len(Marks._fields) - 1:
            marks = Marks(called, **self._times)
            durations = (end - start for start, end in pairwise(marks))
            self._tally.steps.append(Steps(kind, self._inside, *durations))
            spans = {name: port.ledger.spans for name, port in self._plug.ports.items()}
            self.album.add(Picture(kind, self._inside, marks, spans))

    def _remove(self) -> None:
        try:
            self._device.remove(timeout=PATIENCE)
        except RevokeTimeout:
            self._tally.timeouts += 1
            try:
                self._device.remove(timeout=PATIENCE)
            except RevokeTimeout as again:
                raise Stuck(str(again)) from None

    def _interrupt(self, line: Line | Bare) -> None:
        if "denied" not in self._times:  # by now they all are: an access that begins from here on must be refused
            self._times["denied"] = perf_counter()
            self._inside = self._plug.inside
            self._plug.deny()
        line.interrupt()
        self._times["interrupted"] = perf_counter()

    def _release(self, port: Port, _: Line | Bare) -> None:
        self._times.setdefault("drained", perf_counter())
        close(port, self._tally, self._bystander, others=self._plug.inside)
        self._times["released"] = perf_counter()

    def _act(self, name: str) -> None:
        self._actions.run(name)
        self._times["undone"] = perf_counter()
