"""A worker: a process that reads the segment as fast as it can, and looks whether what it reads is whole.

It ends when there is nothing to attach to any more; and when its input ends, so it never outlives the one that started it.
"""

from __future__ import annotations

import json
import select
import sys
from pathlib import Path
from random import Random
from time import sleep
from typing import TYPE_CHECKING

from ...errors import Revoked
from . import forked
from .board import ATTACHED, DENIED, GARBAGE, GRANTED, HOME, INSIDE, LATE, MISSING, ORDER, READ, REFUSED, RETIRED, Board
from .segment import PAGES, own_none
from .ways import Attached, ByName

if TYPE_CHECKING:
    from .board import Row
    from .ways import Way

__all__ = ["Worker", "main"]

LENGTHS = 1, 2, 4, PAGES  # pages read in one access
PAUSES = 0.02  # how many of the reads are followed by a pause
PAUSE = 0.0002, 0.002  # seconds


class Worker:
    def __init__(self, board: Board, row: Row, way: Way, random: Random) -> None:
        self.board = board
        self.row = row
        self.way = way
        self.children: list[int] = []
        self._random = random
        self._input = select.poll()
        self._input.register(sys.stdin, select.POLLIN)

    def work(self, most: int | None = None) -> None:
        """Until there is nothing to read any more, or for so many accesses."""
        row, last = self.row, None if most is None else self.row[GRANTED] + most
        while self._wanted(last) and self.way.attach():
            row[ATTACHED] += 1
            try:
                while self._wanted(last):
                    self._visit(row)
            except Revoked:
                row[REFUSED] += 1
            self.way.close()
        for child in self.children:
            forked.reap(child)
        row[HOME] = 1

    def _wanted(self, last: int | None) -> bool:
        if self.row[ORDER]:
            number, self.row[ORDER] = self.row[ORDER], 0
            self.children.append(forked.fork(self, self.board.row(number)))
        return not self._input.poll(0) and self.row[GRANTED] != last

    def _visit(self, row: Row) -> None:
        head = self.board.head
        denied, retired = head[DENIED], head[RETIRED]
        try:
            with self.way.access() as segment:
                row[INSIDE] = segment.generation
                row[GRANTED] += 1
                # What was over before this access began must not be granted any more.
                row[LATE] += denied > 0 or segment.generation <= retired
                for page in self._random.sample(range(PAGES), self._random.choice(LENGTHS)):
                    row[GARBAGE] += not segment.whole(page)
                    row[READ] += 1
                    if self._random.random() < PAUSES:
                        sleep(self._random.uniform(*PAUSE))
                row[INSIDE] = 0
        except FileNotFoundError:
            row[MISSING] += 1


def main() -> None:
    own_none()
    number, (family, address, path, seed) = int(sys.argv[1]), json.loads(sys.stdin.readline())
    board = Board(Path(path))
    way = Attached(address) if address else ByName(family, board)
    Worker(board, board.row(number), way, Random(f"{seed} worker {number}")).work()


if __name__ == "__main__":
    main()
