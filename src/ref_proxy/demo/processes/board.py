"""What all the processes write down: a memory that they share, a row for each. So the figures of a killed one are kept.

Each number is written by one process alone, and an aligned store of eight bytes is never seen by halves.
"""

from __future__ import annotations

import os
from mmap import mmap
from pathlib import Path
from typing import TypeAlias

__all__ = [
    "ATTACHED",
    "DENIED",
    "GARBAGE",
    "GRANTED",
    "HOME",
    "INSIDE",
    "LATE",
    "LET_IN",
    "MISSING",
    "NEWEST",
    "ORDER",
    "READ",
    "REFUSED",
    "RETIRED",
    "Board",
    "Row",
]

Row: TypeAlias = "memoryview[int]"

# The owner's row:
RETIRED, NEWEST, DENIED = range(3)  # generations: removed up to which; the newest one; and whether all access is denied
# A worker's row. INSIDE: of which generation it is just now; ORDER: the row for a child that it is to fork, and then 0 again.
INSIDE, ORDER, HOME, ATTACHED, GRANTED, REFUSED, READ, GARBAGE, LATE, MISSING, LET_IN = range(11)

WIDTH, BYTES = 16, 8


class Board:
    """`head` is the owner's row. `rows`: for so many others, a new one, all zeros."""

    def __init__(self, path: Path, *, rows: int = 0) -> None:
        self.path = path
        with path.open("w+b" if rows else "r+b") as file:
            if rows:
                os.truncate(file.fileno(), (1 + rows) * WIDTH * BYTES)
            self._numbers: Row = memoryview(mmap(file.fileno(), 0)).cast("Q")
        self._free: list[int] = [*range(rows, 0, -1)]
        self._taken: set[int] = set()
        self._past = [0] * WIDTH
        self.head = self.row(0)

    def row(self, number: int) -> Row:
        return self._numbers[number * WIDTH : (number + 1) * WIDTH]

    # For the one who has made it:

    def give(self) -> int:
        """The number of a row that nobody has."""
        number = self._free.pop()
        self._taken.add(number)
        return number

    def take_back(self, number: int) -> None:
        """That of a process that has ended. Its figures are kept, and added up."""
        row = self.row(number)
        for column in range(WIDTH):
            self._past[column] += row[column]
            row[column] = 0
        self._taken.remove(number)
        self._free.append(number)

    def total(self, column: int) -> int:
        return self._past[column] + sum(self.row(number)[column] for number in self._taken)
