"""Where the owner's segments come from and go to, with the checker's book on that. It takes nothing from ref_proxy on trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .board import RETIRED
from .segment import Segment, sweep

if TYPE_CHECKING:
    from random import Random

    from .board import Board
    from .crew import Crew
    from .tally import Tally

__all__ = ["Shelf"]


class Shelf:
    def __init__(self, family: str, board: Board, crew: Crew, tally: Tally, random: Random) -> None:
        self.board = board
        self.tally = tally
        self._family = family
        self._crew = crew
        self._random = random
        self._made = 0

    def make(self) -> Segment:
        self._made += 1
        return Segment.make(self._family, self._made, self._random)

    def put_away(self, old: Segment, *, spoil: bool) -> bool:
        """Do away with one whose removal is over. `spoil`: nobody may be inside any more; returns whether that was wrong."""
        self.board.head[RETIRED] = old.generation
        wrong = spoil and self._crew.inside(old.generation) > 0
        self.tally.spoiled_inside += wrong
        if spoil:
            old.spoil()
        old.unlink()
        old.close()
        return wrong

    def sweep(self) -> int:
        """How many segments were left behind; they are unlinked now."""
        return sum(sweep(self._family, generation) for generation in range(1, self._made + 1))
