"""What happens to the workers, one thing after the other: a story that goes on by one step before each replacement.

A step yields what the replacement will meet, and with whom.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from .board import ATTACHED, GRANTED, HOME, ORDER
from .tally import FENCED, KILLED, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from random import Random

    from .crew import Crew, Hand
    from .tally import Tally

    Story: TypeAlias = Generator[tuple[str, Hand | None]]

__all__ = ["Mishaps"]

PEACE = 2, 5  # replacements between two mishaps
AWAY = 3  # replacements that a stopped worker misses
PATIENCE = 15.0  # seconds until whoever does not come back is given up
NOTHING: tuple[str, None] = PLAIN, None


class Mishaps:
    def __init__(self, crew: Crew, tally: Tally, random: Random) -> None:
        self.rounds = 0
        self.busy = False  # in the middle of one
        self._crew = crew
        self._tally = tally
        self._random = random

    def story(self) -> Story:
        while True:
            for mishap in self._random.sample([self._killed, self._stopped, self._forked], 3):
                for _ in range(self._random.randint(*PEACE)):
                    yield NOTHING
                yield from self._until(lambda: all(hand.at_work for hand in self._crew.hands))
                self.busy = True
                yield from mishap(self._random.choice(self._crew.hands))
                self.busy = False
            self.rounds += 1

    def _killed(self, hand: Hand) -> Story:
        hand.kill()
        yield KILLED, hand
        self._crew.dismiss(hand)
        self._tally.killed += 1
        newcomer = self._crew.hire()
        yield from self._until(lambda: newcomer.at_work)

    def _stopped(self, hand: Hand) -> Story:
        hand.stop()
        yield FENCED, hand
        for _ in range(AWAY):
            yield NOTHING
        attached, granted = hand.row[ATTACHED], hand.row[GRANTED]
        hand.go_on()
        self._tally.stopped += 1
        # With ref_proxy it is refused, and attaches anew. Without, nobody tells it anything.
        column, before = (ATTACHED, attached) if self._tally.protected else (GRANTED, granted)
        yield from self._until(lambda: hand.row[column] > before)

    def _forked(self, hand: Hand) -> Story:
        board = self._crew.board
        number = board.give()
        hand.row[ORDER] = number
        self._tally.forked += 1
        yield from self._until(lambda: board.row(number)[HOME] > 0)
        if board.row(number)[HOME]:
            board.take_back(number)

    def _until(self, happened: Callable[[], bool]) -> Story:
        deadline = monotonic() + PATIENCE
        while not happened():
            if monotonic() > deadline:
                self._tally.astray += 1
                return
            yield NOTHING
