"""Whoever takes part: with random choices of its own, that a seed replays, counts of its own, and a note of what it is at."""

from __future__ import annotations

import os
import traceback
from math import inf
from random import Random
from time import monotonic, sleep
from typing import TYPE_CHECKING

from .specimen import OLDEST

if TYPE_CHECKING:
    from typing import ClassVar

    from .life import Life
    from .specimen import Specimen
    from .stage import Lane, Stage

__all__ = ["Actor"]


class Actor:
    """Does one of its kinds of things after the other, until the storm is over.

    `group` is what they are called together. Each kind comes once before any comes again, and each of them must have been done
    in a storm that is to prove anything.
    """

    group: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    lasting: ClassVar[bool] = False  # whether others cannot come home without it

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self.stage = stage
        self.random = Random(f"{stage.seed} {name}")
        self.done: dict[str, int] = dict.fromkeys(self.kinds, 0)
        self.counts: dict[str, int] = {}
        self.ages = [[0] * (OLDEST + 1), [0] * (OLDEST + 1)]  # as seen when a section begins, and when it ends
        self.step, self.since = "", monotonic()
        self.home = False
        self._deck: list[str] = []

    def deal(self) -> str:
        """The next kind of thing to do."""
        if not self._deck:
            self._deck = self.random.sample(self.kinds, len(self.kinds))
        return self._deck.pop()

    def now(self, step: str) -> None:
        """Note what it is at, for the watchdog."""
        self.step, self.since = step, monotonic()

    def idle(self) -> None:
        """Note that it waits for nothing in particular, for however long."""
        self.step, self.since = "idle", inf

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def act(self, kind: str) -> int:
        """Do it, and return how many times it was done: refused is not done."""
        raise NotImplementedError

    def run(self) -> None:
        """Go on until the storm is over."""
        try:
            while not (self.stage.closing if self.lasting else self.stage.over):
                kind = self.deal()
                self.now(kind)
                done = self.act(kind)
                self.done[kind] += done
        except KeyboardInterrupt:
            raise  # of whoever started all this
        except BaseException as error:
            self.died(error)
        finally:
            self.home = True

    def clear_up(self) -> None:
        """Do what is left to be done when all are home."""

    def died(self, error: BaseException) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"
        self.stage.fault(f"{self.name} died at {self.step!r} of {type(error).__name__}: {error} ({place})")

    # What every kind of reader does with a specimen.

    def lane(self) -> Lane:
        return self.random.choice(self.stage.lanes)

    def life(self) -> Life | None:
        return self.lane().life

    def arrive(self, specimen: Specimen, *, denied: bool = False) -> object:
        """A section has begun. `denied`: what its life said of that before the access. Returns a token for `depart()`."""
        token = object()
        specimen.visits[token] = self.step
        if denied:
            self.stage.fault(f"an access was granted after the denial ({self.step})")
        self.saw(specimen.look(), 0)
        return token

    def depart(self, specimen: Specimen, token: object) -> None:
        """The section is about to end."""
        self.saw(specimen.look(), 1)
        specimen.visits.pop(token, None)

    def visit(self, specimen: Specimen, *, denied: bool = False) -> None:
        """Be inside for a while."""
        token = self.arrive(specimen, denied=denied)
        self.dwell()
        self.depart(specimen, token)

    def saw(self, look: tuple[int, bool], when: int) -> None:
        """Note what a look at a specimen showed: `when` is 0 where a section begins, 1 where it ends."""
        age, whole = look
        self.ages[when][age] += 1
        if not whole:
            self.stage.fault(f"a reader used a resource that was released, or half written ({self.step})")

    def dwell(self) -> None:
        """Take some time, mostly none: in a section, or between two."""
        chance = self.random.random()
        if chance < 0.2:
            sleep(0)
        elif chance < 0.35:
            sleep(chance / 2000)
        elif chance < 0.37:
            sleep(0.004)
        elif chance < 0.5:
            for _ in range(int(chance * 400)):
                pass
