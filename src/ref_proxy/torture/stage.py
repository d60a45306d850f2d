"""What all the actors share: the lanes on which providers follow one another, and the list of what went wrong."""

from __future__ import annotations

import os
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..srcu import Domain
from .specimen import Pipe, Specimen

if TYPE_CHECKING:
    from .._backend import Section
    from .actor import Actor
    from .life import Life

    Handed = tuple[Section[Specimen], Specimen | None, object]

__all__ = ["Board", "Lane", "Stage"]


class Lane:
    """Where one provider follows another: readers of all kinds come by and use the present one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life: Life | None = None


class Board:
    """A structure of somebody's own: published by a plain assignment, and protected by a domain."""

    def __init__(self, stage: Stage) -> None:
        self.domain = Domain("board")
        self.specimen = stage.make()


class Stage:
    """All that is shared. What several threads write at once is written by single steps."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.over = False  # all go home
        self.closing = False  # those too whom the others needed for that
        self.process = os.getpid()
        self.strike_lost = False  # what a handler raised was raised in a finaliser, where nobody hears of it
        self.children: set[int] = set()
        self.actors: list[Actor] = []
        self.lanes: list[Lane] = []
        self.busy = Lane("busy")  # with readers and replacements that do not dwell
        self.faults: dict[str, int] = {}
        self.handed: SimpleQueue[Handed | None] = SimpleQueue()  # sections that another thread is to end
        self._numbers = count()
        self._pipe = Pipe()
        self._alive: dict[Specimen, None] = {}
        self.board = Board(self)

    def fault(self, what: str) -> None:
        """Something that must not be. The storm goes on, and has failed."""
        self.faults[what] = self.faults.get(what, 0) + 1

    def lane(self, name: str) -> Lane:
        lane = Lane(name)
        self.lanes.append(lane)
        return lane

    def make(self) -> Specimen:
        """A specimen that is going to be published, and so has to come to its end."""
        specimen = Specimen(next(self._numbers))
        self._alive[specimen] = None
        return specimen

    def take_back(self, specimen: Specimen) -> None:
        """It was not published after all."""
        self._alive.pop(specimen, None)

    def end(self, specimen: Specimen) -> None:
        """Nobody uses it any more, or so the library says."""
        for wrong in self._pipe.end(specimen):
            self.fault(wrong)
        self._alive.pop(specimen, None)

    @property
    def unreleased(self) -> int:
        return len(self._alive)
