"""Where all say what they do: a shared page of numbers, which outlives who wrote them, and a file of events, a line each."""

from __future__ import annotations

import json
import os
import struct
from mmap import PAGESIZE, mmap
from pathlib import Path
from time import monotonic_ns
from typing import Any

__all__ = ["COUNTED", "STEPS", "Board", "Events", "Slot"]

STEPS = ("coming", "attaching", "inside", "holding", "closing", "leaving", "looking at what is left", "going")
COUNTED = ("sections", "attached", "not announced", "refused", "closed", "forked", "copied", "cut the line")
_FIELDS = ("step", "beat", "serial", *COUNTED)
_SIZE = 8 * len(_FIELDS)


class Board:
    """A slot for each worker, and whether it is over."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap(-1, max(PAGESIZE, 8 + slots * _SIZE))

    @property
    def over(self) -> bool:
        return self._memory[0] != 0

    def end(self) -> None:
        self._memory[0] = 1

    def slot(self, number: int) -> Slot:
        return Slot(self._memory, 8 + number * _SIZE)


class Slot:
    """Numbers that one process writes and another one reads. What is counted goes on when the next worker takes it over."""

    def __init__(self, memory: mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset

    def __getitem__(self, field: str) -> int:
        (value,) = struct.unpack_from("q", self._memory, self._offset + 8 * _FIELDS.index(field))
        return int(value)

    def __setitem__(self, field: str, value: int) -> None:
        struct.pack_into("q", self._memory, self._offset + 8 * _FIELDS.index(field), value)

    def add(self, field: str, number: int = 1) -> None:
        self[field] += number

    def step(self, name: str) -> None:
        self["step"] = STEPS.index(name)
        self["beat"] = monotonic_ns()


class Events:
    """A file to which any process appends: a line is there as a whole or not at all, whatever happens to its writer."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._read = 0

    def tell(self, what: str, **more: Any) -> None:
        os.write(self.fd, self.line(what, **more))

    def line(self, what: str, **more: Any) -> bytes:
        return json.dumps({"what": what, "pid": os.getpid(), **more}).encode() + b"\n"

    def new(self) -> list[dict[str, Any]]:
        """What has been told since the last call."""
        told: list[dict[str, Any]] = []
        while data := os.pread(self.fd, 1 << 20, self._read):
            whole = data[: data.rfind(b"\n") + 1]
            self._read += len(whole)
            told += map(json.loads, whole.splitlines())
        return told

    def close(self) -> None:
        os.close(self.fd)
