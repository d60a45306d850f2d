"""One storm: all the consumers, a bystander, a manager, for some seconds; then everybody is called home, and counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from ..device import Device
from .bystander import Bystander
from .consumer import Reader
from .coroutines import Coroutine, run_all
from .hub import Hub
from .manager import Manager
from .plug import LINES, THREADS
from .protected import Protected
from .remover import Unprotected
from .roster import having
from .source import Hardware, Instrument, NoDevice
from .tally import Counts, Tally, bump

if TYPE_CHECKING:
    from collections.abc import Callable

    from .album import Album
    from .protected import Make
    from .remover import Remover
    from .roster import Place
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

    @property
    def roster(self) -> list[Place]:
        """Those who have a line: of real hardware there is but the first one."""
        return having(LINES if self.device is None else [THREADS])


def run(config: Config, watch: Watch, make: Make = Device) -> tuple[Tally, Album | None]:
    """Run it, and tell `watch` the figures so far every now and then; True from it is enough. `make`: what makes the devices.

    Raises: `NoDevice` when it could not begin. Whatever ends it early later on is in the tally.
    """
    tally, hub = Tally(), Hub()
    bystander = Bystander(Random(f"{config.seed} bystander"))
    random = Random(f"{config.seed} manager")
    source: Source
    path = config.device
    source = Instrument(config.seed, random) if path is None else Hardware(path, config.baud, random, hub)
    album: Album | None = None
    remover: Remover
    if config.protected:
        remover = protected = Protected(tally, bystander, make)
        album = protected.album
    else:
        remover = Unprotected(tally, bystander, random)
    manager = Manager(hub, source, remover)
    consumers: list[Reader | Coroutine] = [place.kind(place.name, place.line, hub) for place in config.roster]
    try:
        for thread in (bystander, *_threads(consumers), manager):
            thread.start()
        hub.wait_begun()  # the instrument takes its time to start
        deadline = monotonic() + config.seconds
        while manager.is_alive() and (left := deadline - monotonic()) > 0:
            manager.join(min(left, GLANCE))
            if watch(_total(tally, consumers, bystander)):
                break
        dead = [consumer.name for consumer in consumers if consumer.home.is_set()]
        if not bystander.is_alive():
            dead.append(bystander.name)
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


def _threads(consumers: list[Reader | Coroutine]) -> list[Thread]:
    """One for each, but one for all that share an event loop."""
    coroutines = [each for each in consumers if isinstance(each, Coroutine)]
    threads = [Thread(target=each.run, name=each.name, daemon=True) for each in consumers if isinstance(each, Reader)]
    return [*threads, Thread(target=run_all, args=[coroutines], name="event loop", daemon=True)]


def _call_home(tally: Tally, consumers: list[Reader | Coroutine], patience: float) -> None:
    deadline = monotonic() + patience
    for consumer in consumers:
        consumer.home.wait(max(0.0, deadline - monotonic()))
    tally.asleep = sum(not consumer.home.is_set() for consumer in consumers)


def _total(tally: Tally, consumers: list[Reader | Coroutine], bystander: Bystander) -> Tally:
    counts, granted = Counts(), dict[str, int]()
    for consumer in consumers:
        counts.add(consumer.counts)
        bump(granted, consumer.line, consumer.counts.granted)
    # Copies, since the manager goes on writing.
    removals, steps = dict(tally.removals), list(tally.steps)
    return replace(tally, counts=counts, granted=granted, robbed=bystander.robbed, removals=removals, steps=steps)
