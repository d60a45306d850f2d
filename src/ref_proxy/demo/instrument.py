"""The instrument at the other end of the lines: a process of its own, told what to do on its standard input.

    plug COUNT        make so many pseudo-terminals, and answer "plugged PATH NUMBER PATH NUMBER ..."
    stream            begin to send on each, in bursts with pauses, until unplugged
    unplug pause      hang up between two bursts, and answer "unplugged"
    unplug record     hang up with half a record sent, and answer "unplugged"

It ends when its input ends, so it never outlives the one that started it.
"""

from __future__ import annotations

import os
import select
import sys
from random import Random
from time import monotonic

from .outlet import Outlet

__all__ = ["main"]

COMMANDS, ANSWERS = 0, 1


class Instrument:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._outlets: list[Outlet] = []
        self._plugs = 0
        self._streaming = False
        self._due = 0.0

    def serve(self) -> None:
        heard = b""
        while True:
            full = [outlet for outlet in self._outlets if outlet.pending]
            pause = max(0.0, self._due - monotonic()) if self._streaming else None
            readable, writable, _ = select.select([COMMANDS], full, [], pause)
            if readable:
                chunk = os.read(COMMANDS, 4096)
                if not chunk:
                    return
                *commands, heard = (heard + chunk).split(b"\n")
                for command in commands:
                    self._obey(command.decode())
                continue
            for outlet in writable:
                outlet.send()
            if self._streaming and self._due <= monotonic():
                self._due = monotonic() + self._random.uniform(0.0005, 0.004)
                for outlet in self._outlets:
                    if not outlet.pending:  # else nobody reads from it at the moment
                        outlet.burst()

    def _obey(self, command: str) -> None:
        match command.split():
            case ["plug", count]:
                self._plug_in(int(count))
            case ["stream"]:
                self._streaming = True
            case ["unplug", how]:
                self._unplug(midway=how == "record")
            case _:
                raise SystemExit(f"the instrument does not know {command!r}")

    def _plug_in(self, count: int) -> None:
        self._outlets = [Outlet(self._plugs + number, self._random) for number in range(1, count + 1)]
        self._plugs += count
        self._answer("plugged " + " ".join(f"{outlet.path} {outlet.plug}" for outlet in self._outlets))

    def _unplug(self, *, midway: bool) -> None:
        for outlet in self._outlets:
            outlet.hang_up(midway=midway)
        self._outlets, self._streaming = [], False
        self._answer("unplugged")

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
