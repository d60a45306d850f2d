"""The resource that is tortured: it knows its age and who is using it, and whoever uses it after its end is noticed."""

from __future__ import annotations

from _thread import allocate_lock
from itertools import count

__all__ = ["OLDEST", "Pipe", "Specimen"]

OLDEST = 10  # as rcutorture has it: what is older counts as this
POISON = -1


class Specimen:
    """A resource with two fields that a reader may never see apart (S12), and an age.

    The age is that of rcutorture's pipe: 0 while it is published; 1 once its removal has begun; 2 when the grace period is over,
    and one more with each that follows. A section that sees 2 or more was overlooked.
    """

    __slots__ = ("_called", "begun", "completed", "copy", "ends", "number", "visits")

    def __init__(self, number: int) -> None:
        self.number = self.copy = number
        self.begun = False
        self.completed = 0
        self.ends = 0
        self.visits: dict[object, str] = {}  # who is inside now; single steps, so that it needs no lock
        self._called = allocate_lock()  # not an Event: in a forked child that one's lock may be held by nobody
        self._called.acquire()

    @property
    def age(self) -> int:
        return min(self.completed + 1, OLDEST) if self.completed else int(self.begun)

    @property
    def whole(self) -> bool:
        """Whether it is what its maker wrote: not half of it, and not poisoned."""
        return self.number == self.copy >= 0

    def look(self) -> tuple[int, bool]:
        """What a reader sees of it: its age, and whether it is whole."""
        return self.age, self.whole

    def call(self) -> None:
        """Bring back those who wait for that in a section."""
        try:
            self._called.release()
        except RuntimeError:  # called already
            pass

    def wait_called(self, timeout: float) -> bool:
        called = self._called.acquire(timeout=timeout)
        if called:
            self.call()  # the next one too
        return called

    def end(self) -> list[str]:
        """Poison it: its owner says that nobody uses it any more. Returns what is wrong with that."""
        wrong = [f"a resource was released under a reader ({who})" for who in sorted(set(self.visits.values()))]
        if self.ends:
            wrong.append("a resource was released twice")
        self.ends += 1
        self.begun = True
        self.completed += 1
        self.number, self.copy = POISON, POISON - 1
        return wrong


class Pipe:
    """The specimens that have come to their end lately: with each further end all of them grow older."""

    def __init__(self) -> None:
        self._places: list[Specimen | None] = [None] * OLDEST
        self._ends = count()

    def end(self, specimen: Specimen) -> list[str]:
        for each in self._places:
            if each is not None:
                each.completed += 1
        self._places[next(self._ends) % OLDEST] = specimen
        return specimen.end()
