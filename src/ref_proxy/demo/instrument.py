"""The instrument at the other end of the line: a process of its own, told what to do on its standard input.

    plug              make a pseudo-terminal, and answer "plugged PATH NUMBER"
    stream            begin to send, in bursts with pauses, until unplugged
    unplug pause      hang up between two bursts, and answer "unplugged"
    unplug record     hang up with half a record sent, and answer "unplugged"

It ends when its input ends, so it never outlives the one that started it.
"""

from __future__ import annotations

import os
import pty
import select
import sys
import tty
from random import Random
from time import monotonic

from .record import encode

__all__ = ["main"]

COMMANDS, ANSWERS = 0, 1


class Instrument:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._master = self._slave = -1
        self._plug = self._number = 0
        self._streaming = False
        self._pending = b""
        self._due = 0.0

    def serve(self) -> None:
        heard = b""
        while True:
            pause = max(0.0, self._due - monotonic()) if self._streaming and not self._pending else None
            readable, writable, _ = select.select([COMMANDS], [self._master] if self._pending else [], [], pause)
            if readable:
                chunk = os.read(COMMANDS, 4096)
                if not chunk:
                    return
                *commands, heard = (heard + chunk).split(b"\n")
                for command in commands:
                    self._obey(command.decode())
            elif writable:
                self._send()
            elif self._streaming and not self._pending:
                self._pending = b"".join(self._record() for _ in range(self._random.randint(1, 5)))
                self._due = monotonic() + self._random.uniform(0.0005, 0.004)
                self._send()

    def _obey(self, command: str) -> None:
        match command.split():
            case ["plug"]:
                self._plug_in()
            case ["stream"]:
                self._streaming = True
            case ["unplug", how]:
                self._unplug(how)
            case _:
                raise SystemExit(f"the instrument does not know {command!r}")

    def _plug_in(self) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # kept open: a host that closes the line, and opens it again, must not hang it up
        os.set_blocking(self._master, False)
        self._plug += 1
        self._number = 0
        self._answer(f"plugged {os.ttyname(self._slave)} {self._plug}")

    def _unplug(self, how: str) -> None:
        if how == "record":
            record = self._record()
            self._pending += record[: len(record) // 2]
        self._send()
        # Closing the master hangs the line up, as pulling the plug does: whatever was not sent stays unsent.
        os.close(self._master)
        os.close(self._slave)
        self._streaming, self._pending = False, b""
        self._answer("unplugged")

    def _record(self) -> bytes:
        self._number += 1
        size = self._random.randint(4, 48) * 2
        return encode(self._plug, self._number, f"{self._random.getrandbits(4 * size):0{size}x}")

    def _send(self) -> None:
        try:
            self._pending = self._pending[os.write(self._master, self._pending) :]
        except BlockingIOError:
            pass  # nobody reads at the moment

    @staticmethod
    def _answer(text: str) -> None:
        os.write(ANSWERS, f"{text}\n".encode())


def main() -> None:
    try:
        Instrument(int(sys.argv[1])).serve()
    except KeyboardInterrupt:  # Ctrl-C reaches every process at the terminal; the parent's end of the pipe says the rest
        pass


if __name__ == "__main__":
    main()
