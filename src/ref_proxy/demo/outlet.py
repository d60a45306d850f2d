"""One line of the instrument: the far end of a pseudo-terminal, which it really hangs up."""

from __future__ import annotations

import os
import pty
import tty
from typing import TYPE_CHECKING

from .record import encode

if TYPE_CHECKING:
    from random import Random

__all__ = ["Outlet"]


class Outlet:
    def __init__(self, plug: int, random: Random) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # kept open: a host that closes the line, and opens it again, must not hang it up
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.plug = plug
        self.pending = b""
        self._random = random
        self._number = 0

    def fileno(self) -> int:
        return self._master

    def burst(self) -> None:
        self.pending = b"".join(self._record() for _ in range(self._random.randint(1, 5)))
        self.send()

    def send(self) -> None:
        try:
            self.pending = self.pending[os.write(self._master, self.pending) :]
        except BlockingIOError:
            pass  # nobody reads at the moment

    def hang_up(self, *, midway: bool) -> None:
        if midway:
            record = self._record()
            self.pending += record[: len(record) // 2]
        self.send()
        # Closing the master hangs the line up, as pulling the plug does: whatever was not sent stays unsent.
        os.close(self._master)
        os.close(self._slave)

    def _record(self) -> bytes:
        self._number += 1
        size = self._random.randint(4, 48) * 2
        return encode(self.plug, self._number, f"{self._random.getrandbits(4 * size):0{size}x}")
