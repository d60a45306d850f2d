"""The resource: a page in a file, that shows to whoever has it mapped whether its owner has released it."""

from __future__ import annotations

import os
from mmap import PAGESIZE, mmap
from pathlib import Path

__all__ = ["Page"]


class Page:
    """It stays mapped for as long as somebody refers to it: a look at it after its release is what the storm is about."""

    def __init__(self, path: str, serial: int) -> None:
        self.path = path
        self.serial = serial
        self.closed = False  # by the process that opened it
        fd = os.open(path, os.O_RDWR)
        try:
            self._memory = mmap(fd, PAGESIZE)
        finally:
            os.close(fd)

    @classmethod
    def make(cls, directory: Path, serial: int) -> Page:
        path = directory / f"page-{serial}"
        path.write_bytes(bytes(PAGESIZE))
        return cls(str(path), serial)

    @property
    def info(self) -> dict[str, object]:
        return {"path": self.path, "serial": self.serial}

    @property
    def released(self) -> bool:
        return self._memory[0] != 0

    def release(self) -> None:
        """The owner's: nobody uses it any more, or so it was told."""
        assert not self.released, f"page {self.serial} was released twice"
        self._memory[0] = 1
        os.unlink(self.path)

    def close(self) -> None:
        """A holder's."""
        assert not self.closed, f"page {self.serial} was closed twice"
        self.closed = True
