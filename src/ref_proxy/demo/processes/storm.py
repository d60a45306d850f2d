"""One storm: the workers, their owner, mishaps, for some seconds; then everybody is called home, and counted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING

from ... import remote
from . import board as columns
from .board import Board
from .crew import Crew
from .mishaps import Mishaps
from .owners import Protected, Stuck, Unprotected
from .shelf import Shelf
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .owners import Announce, Owner

    Watch: TypeAlias = Callable[[Tally], bool | None]

__all__ = ["Config", "run"]

DWELL = 0.002, 0.02  # seconds between two replacements
LOOK = 0.01  # seconds between two looks at workers that are starting
BEGINNING, HOMEWARD = 30.0, 10.0  # seconds that all the workers together may take to start, and to end


@dataclass(frozen=True)
class Config:
    """`worker`: the module that a worker runs, so that a faulty one can be tried."""

    processes: int
    seconds: float
    seed: int
    protected: bool = True
    worker: str = "ref_proxy.demo.processes.worker"

    @property
    def family(self) -> str:
        """What the names of its segments begin with."""
        return f"ref_proxy-{os.getpid()}"


def run(config: Config, watch: Watch, announce: Announce = remote.announce) -> Tally:
    """Run it, and tell `watch` the figures so far every now and then; True from it is enough. `announce`: who announces it."""
    tally = Tally(config.protected)
    with TemporaryDirectory(prefix="ref_proxy-") as folder:
        socket = Path(folder, "segment")
        address = f"unix:{socket}" if config.protected else ""
        board = Board(Path(folder, "board"), rows=config.processes + 1)  # and a forked child
        crew = Crew(board, config, address)
        shelf = Shelf(config.family, board, crew, tally, Random(f"{config.seed} segments"))
        random = Random(f"{config.seed} owner")
        owner: Owner = Protected(shelf, address, announce) if config.protected else Unprotected(shelf, crew, random)
        try:
            _storm(config, owner, crew, tally, watch, random)
            owner.revoke()
            tally.astray += crew.wait_home(HOMEWARD)
        except Stuck as error:
            tally.cut_short = f"it ended early: {error}"
        finally:
            crew.end()
            owner.end()
            tally.left_behind = shelf.sweep() + socket.exists()
        _count(tally, crew)
    return tally


def _storm(config: Config, owner: Owner, crew: Crew, tally: Tally, watch: Watch, random: Random) -> None:
    for _ in range(config.processes):
        crew.hire()
    deadline = monotonic() + BEGINNING
    while not all(hand.at_work for hand in crew.hands):
        if crew.dead or monotonic() > deadline:
            raise Stuck("; ".join(crew.dead) or f"not all workers began within {BEGINNING:.0f} s")
        sleep(LOOK)
    mishaps = Mishaps(crew, tally, random)
    story = mishaps.story()
    deadline = monotonic() + config.seconds
    while (mishaps.busy or not mishaps.rounds or monotonic() < deadline) and not tally.astray:
        sleep(random.uniform(*DWELL))
        owner.replace(*next(story))
        if crew.dead:
            raise Stuck("; ".join(crew.dead))
        if watch(_count(tally, crew)) and mishaps.rounds and not mishaps.busy:
            break


def _count(tally: Tally, crew: Crew) -> Tally:
    """Add up what the workers have written down."""
    tally.workers = crew.hired
    for name in ("granted", "refused", "read", "garbage", "late", "missing", "let_in"):
        setattr(tally, name, crew.board.total(getattr(columns, name.upper())))
    return tally
