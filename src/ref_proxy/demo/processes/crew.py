"""The workers, as the one sees them who started them: hired, hurt, and called home."""

from __future__ import annotations

import json
import os
import signal
from subprocess import TimeoutExpired
from time import monotonic
from typing import TYPE_CHECKING

from ..child import Child
from .board import GRANTED, INSIDE

if TYPE_CHECKING:
    from .board import Board
    from .storm import Config

__all__ = ["Crew", "Hand"]


class Hand:
    """One worker."""

    def __init__(self, board: Board, config: Config, address: str) -> None:
        self.number = number = board.give()
        self.row = board.row(number)
        self.killed = False
        self._child = Child(config.worker, str(number), apart=True)
        self._child.send(json.dumps([config.family, address, str(board.path), config.seed]))
        self._process = self._child.process
        self.pid = self._process.pid

    @property
    def at_work(self) -> bool:
        return self.row[GRANTED] > 0

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        self.killed = True
        self._process.kill()

    def stop(self) -> None:
        """Stop it, and return when it has stopped, or has ended."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def call_home(self) -> None:
        self._child.hang_up()

    def comes_home(self, patience: float) -> bool:
        """Whether it ends by itself in time, and well."""
        try:
            return self._process.wait(max(0.0, patience)) == 0
        except TimeoutExpired:
            return False

    def end(self) -> None:
        """Whatever it takes."""
        self.go_on()
        self._child.end()


class Crew:
    def __init__(self, board: Board, config: Config, address: str) -> None:
        self.board = board
        self.hands: list[Hand] = []
        self.hired = 0
        self._config = config
        self._address = address

    def hire(self) -> Hand:
        hand = Hand(self.board, self._config, self._address)
        self.hands.append(hand)
        self.hired += 1
        return hand

    def dismiss(self, hand: Hand) -> None:
        """It is dead."""
        self.hands.remove(hand)
        hand.end()
        self.board.take_back(hand.number)

    @property
    def dead(self) -> list[str]:
        """Those who ended, and should not have."""
        return [f"worker {hand.pid} ended with status {hand.status}" for hand in self.hands if hand.status and not hand.killed]

    def inside(self, generation: int) -> int:
        """How many are in that segment just now, as they say themselves."""
        return sum(hand.row[INSIDE] == generation for hand in self.hands if not hand.killed)

    def wait_home(self, patience: float) -> int:
        """Wait until all have ended by themselves; returns how many have not."""
        deadline = monotonic() + patience
        return sum(not hand.comes_home(deadline - monotonic()) for hand in self.hands)

    def call_home(self) -> None:
        """Tell them to end."""
        for hand in self.hands:
            hand.call_home()

    def end(self) -> None:
        self.call_home()
        for hand in self.hands:
            hand.end()
