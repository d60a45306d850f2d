"""The resource: one opened serial line, with everything that its readers need to share it, and to be woken."""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from serial import Serial  # type: ignore[import-untyped,unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Generator

    from .record import Decoder, Haul

__all__ = ["Interrupted", "Line"]


class Interrupted(Exception):
    """The line is being removed: a read came back without data."""


class Line:
    """A pyserial port, a lock that keeps two readers from tearing one record apart, and a pipe that wakes those in `select`.

    It is written as one writes such things: it does not defend itself against a `close()` while somebody reads. That is the
    Provider's part, and what is missing where there is none.
    """

    def __init__(self, path: str, baud: int, decoder: Decoder) -> None:
        self._decoder = decoder
        self._lock = Lock()
        self._stopping = False
        self._serial = Serial(path, baud)
        self.waker, self._wake = os.pipe()

    def read(self) -> Haul:
        """Read one whole record through pyserial; blocks until there is one."""
        with self._turn():
            while True:
                chunk = self._serial.read(self._decoder.missing or max(1, self._serial.in_waiting))
                haul = self._decoder.feed(chunk)
                if any(haul):
                    return haul
                self._heed()

    def fileno(self) -> int:
        """The descriptor, for event loops: they watch it together with `waker`, then read from it while `taking()`."""
        descriptor: int = self._serial.fileno()
        return descriptor

    @contextmanager
    def taking(self) -> Generator[Decoder]:
        """The decoder, for one who reads from the descriptor himself; nobody else reads meanwhile."""
        with self._turn():
            yield self._decoder

    @contextmanager
    def _turn(self) -> Generator[None]:
        with self._lock:
            self._heed()
            yield

    def _heed(self) -> None:
        if self._stopping:
            raise Interrupted

    def interrupt(self) -> None:
        """Make every read come back, also those that have not begun to block yet."""
        self._stopping = True  # first: whoever is woken looks at it
        self._serial.cancel_read()
        os.write(self._wake, b"x")  # never read from, so it wakes all that watch it

    def close(self) -> None:
        self._serial.close()
        os.close(self._wake)
        os.close(self.waker)
