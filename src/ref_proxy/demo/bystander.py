"""The rest of the application. It only minds its own business: it opens files, pipes and sockets, and reads back what is in them.

The system gives a new descriptor the lowest number that is free, so right after a close these get the numbers of the line. A
reader that still uses one of those reads what is the bystander's, and the bystander finds it missing.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from .record import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["Bystander"]

TEXT = FOREIGN * 32
KEPT = 6  # rounds that a descriptor stays open
IDLE = 40  # as long a connection on which nothing happens


class Held(NamedTuple):
    """Two ends, the one to read from first, and what is to be found there."""

    ends: tuple[int, int | None]
    text: bytes


class Bystander(Thread):
    def __init__(self, random: Random) -> None:
        super().__init__(name="bystander", daemon=True)
        self.robbed = 0
        self._random = random
        self._closes: SimpleQueue[bool] = SimpleQueue()
        self._held: deque[list[Held]] = deque()
        self._idle: deque[Held] = deque()

    def closed(self) -> None:
        """Some line was closed just now."""
        self._closes.put(True)

    def stop(self) -> None:
        self._closes.put(False)

    def run(self) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, "settings")
            path.write_bytes(TEXT)
            kinds: list[Callable[[], Held]] = [lambda: Held((os.open(path, os.O_RDONLY), None), TEXT), _pipe, _socket]
            while self._closes.get():
                self._held.append([make() for make in self._random.choices(kinds, k=4)])
                self._idle.append(Held(os.pipe(), b""))
                while len(self._held) > KEPT:
                    self._put_away(self._held.popleft())
                while len(self._idle) > IDLE:
                    self._put_away([self._idle.popleft()])
            for held in [*self._held, list(self._idle)]:
                self._put_away(held)

    def _put_away(self, held: list[Held]) -> None:
        for each in held:
            reader, writer = each.ends
            if each.text:
                os.set_blocking(reader, False)
                try:
                    found = os.read(reader, len(each.text))
                except BlockingIOError:
                    found = b""
                self.robbed += found != each.text
            os.close(reader)
            if writer is not None:
                os.close(writer)


def _pipe() -> Held:
    reader, writer = os.pipe()
    os.write(writer, TEXT)
    return Held((reader, writer), TEXT)


def _socket() -> Held:
    near, far = socket.socketpair()
    far.sendall(TEXT)
    return Held((near.detach(), far.detach()), TEXT)
