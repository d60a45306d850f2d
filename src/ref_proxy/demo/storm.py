"""One storm: six consumers, a bystander, a manager, for some seconds; then everybody is called home, and counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from ..provider import Provider
from .bystander import Bystander
from .consumer import ROSTER
from .hub import Hub
from .manager import Manager
from .remover import Protected, Unprotected
from .source import Device, Instrument, NoDevice
from .tally import Counts, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from .album import Album
    from .consumer import Consumer
    from .remover import Make, Remover
    from .source import Source

    Watch = Callable[[Tally], bool | None]

__all__ = ["Config", "run"]

GLANCE = 0.1  # seconds between two looks at the figures
# Seconds that all the consumers together get to come back at the end: nobody uses them up who is protected.
HOMEWARD, HOMEWARD_UNPROTECTED = 4.0, 1.5
LAST_REMOVAL = 20.0  # seconds: longer than all that the manager may be waiting for


@dataclass(frozen=True)
class Config:
    seconds: float
    seed: int
    protected: bool = True
    device: str | None = None
    baud: int = 115200


def run(config: Config, watch: Watch, make: Make = Provider) -> tuple[Tally, Album | None]:
    """Run it, and tell `watch` the figures so far every now and then; True from it is enough. `make`: what makes the providers.

    Raises: `NoDevice` when it could not begin. Whatever ends it early later on is in the tally.
    """
    tally, hub = Tally(), Hub()
    bystander = Bystander(Random(f"{config.seed} bystander"))
    random = Random(f"{config.seed} manager")
    source: Source
    path = config.device
    source = Instrument(config.seed, random) if path is None else Device(path, config.baud, random, hub)
    album: Album | None = None
    remover: Remover
    if config.protected:
        remover = protected = Protected(tally, bystander, make)
        album = protected.album
    else:
        remover = Unprotected(tally, bystander, random)
    manager = Manager(hub, source, remover)
    consumers = [place.kind(place.name, hub) for place in ROSTER]
    try:
        for thread in (bystander, *consumers, manager):
            thread.start()
        hub.wait_begun()  # the instrument takes its time to start
        deadline = monotonic() + config.seconds
        while manager.is_alive() and (left := deadline - monotonic()) > 0:
            manager.join(min(left, GLANCE))
            if watch(_total(tally, consumers, bystander)):
                break
        dead = [thread.name for thread in (bystander, *consumers) if not thread.is_alive()]
        if dead and not hub.stopped:  # asked in this order: who ends because the storm does has not died
            tally.cut_short = f"died in the storm: {', '.join(dead)}"
    finally:
        hub.stop()
        manager.join(LAST_REMOVAL)
        _call_home(tally, consumers, HOMEWARD if config.protected else HOMEWARD_UNPROTECTED)
        bystander.stop()  # after counting who is asleep: its closes would wake some of them
        bystander.join(HOMEWARD_UNPROTECTED)
        source.end()
    if isinstance(manager.error, NoDevice) and not tally.unplugs:
        raise manager.error
    if isinstance(manager.error, NoDevice):
        tally.note = str(manager.error)
    elif manager.is_alive() or manager.error is not None:
        tally.cut_short = f"it ended early: {manager.error or 'the manager never came back'}"
    return _total(tally, consumers, bystander), album


def _call_home(tally: Tally, consumers: list[Consumer], patience: float) -> None:
    deadline = monotonic() + patience
    for consumer in consumers:
        consumer.join(max(0.0, deadline - monotonic()))
    tally.asleep = sum(consumer.is_alive() for consumer in consumers)


def _total(tally: Tally, consumers: list[Consumer], bystander: Bystander) -> Tally:
    counts = Counts()
    for consumer in consumers:
        counts.add(consumer.counts)
    # Copies, since the manager goes on writing.
    return replace(tally, counts=counts, robbed=bystander.robbed, removals=dict(tally.removals), steps=list(tally.steps))
