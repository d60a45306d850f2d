"""Who takes part in a storm."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from .boards import BoardKeeper
from .coroutines import EventLoop
from .devices import DeviceKeeper
from .forks import Forker, without_forks
from .keepers import BusyKeeper, Keeper
from .kits import kits
from .readers import Ender, Reader
from .rivals import Rival, Spectator
from .signals import Interrupted
from .strays import Stray
from .weather import Weather

if TYPE_CHECKING:
    from collections.abc import Callable

    from .actor import Actor
    from .stage import Stage

__all__ = ["Roster"]


class Roster:
    """All of them. `jobs` are what threads run, by their names; `main` is for the main thread."""

    def __init__(self, stage: Stage, readers: int) -> None:
        threads: list[Actor] = [Keeper(f"keeper {i}", stage) for i in (1, 2)]
        threads += [BusyKeeper("busy keeper", stage), DeviceKeeper("device keeper", stage)]
        threads.append(BoardKeeper("board keeper", stage))
        threads += [Reader(f"reader {i}", stage) for i in range(1, readers + 1)]
        threads += [Ender("ender", stage), Stray("stray", stage), Rival("rival", stage), Spectator("spectator", stage)]
        threads.append(Weather("weather", stage))
        if without_forks() is None:
            threads.append(Forker("forker", stage))
        loops = [EventLoop(kit, stage) for kit in kits()]
        self.jobs: dict[str, Callable[[], None]] = {actor.name: actor.run for actor in threads}
        self.jobs.update({loop.kit.name: loop.run for loop in loops})
        self.lasting = {actor.name for actor in threads if actor.lasting}
        self.actors = [*threads, *(actor for loop in loops for actor in loop.actors)]
        self.main: Interrupted | None = None
        if hasattr(signal, "setitimer"):
            self.main = Interrupted("main thread", stage)
            self.actors.append(self.main)
