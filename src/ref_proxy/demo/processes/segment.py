"""The resource: a segment of shared memory. Each page says which generation it is of, and proves that it is whole."""

from __future__ import annotations

import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from struct import Struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random
    from typing import Self

__all__ = ["PAGES", "Segment", "own_none", "sweep"]

PAGE, PAGES = 4096, 16
HEAD, TRAILER = Struct("<QQ"), Struct("<L")  # the generation and the page's number; the checksum of all before it
GARBAGE = b"\xdb"
# Who merely attaches must not have it tracked: the tracker would unlink it as soon as that process ends (CPython issue 82300).
UNTRACKED: Any = {"track": False} if sys.version_info >= (3, 13) else {}


class Segment:
    def __init__(self, memory: SharedMemory, generation: int) -> None:
        assert memory.buf is not None
        self.generation = generation
        self._memory = memory
        self._bytes = memory.buf  # `close()` releases it: a use after that raises `ValueError`

    @classmethod
    def make(cls, family: str, generation: int, random: Random) -> Self:
        """A new one, which is this process's to unlink."""
        segment = cls(SharedMemory(_name(family, generation), create=True, size=PAGE * PAGES), generation)
        for number in range(PAGES):
            body = HEAD.pack(generation, number) + random.randbytes(PAGE - HEAD.size - TRAILER.size)
            segment._bytes[number * PAGE : (number + 1) * PAGE] = body + TRAILER.pack(crc32(body))
        return segment

    @classmethod
    def attach(cls, info: Mapping[str, Any]) -> Self:
        """One that another process has made. Raises `FileNotFoundError`."""
        return cls(SharedMemory(info["name"], **UNTRACKED), info["generation"])

    @property
    def info(self) -> dict[str, Any]:
        """What others need to attach to it."""
        return {"name": self._memory.name, "generation": self.generation}

    def whole(self, number: int) -> bool:
        """Whether a page is what was written when the segment was made."""
        page = bytes(self._bytes[number * PAGE : (number + 1) * PAGE])
        body, trailer = page[: -TRAILER.size], page[-TRAILER.size :]
        return HEAD.unpack_from(page) == (self.generation, number) and TRAILER.pack(crc32(body)) == trailer

    def spoil(self) -> None:
        """Overwrite all of it: whoever still looks at it sees garbage."""
        self._bytes[: PAGE * PAGES] = GARBAGE * (PAGE * PAGES)

    def unlink(self) -> None:
        self._memory.unlink()

    def close(self) -> None:
        self._memory.close()


def sweep(family: str, generation: int) -> bool:
    """Unlink one that should not be there any more. Returns whether it was."""
    try:
        left = SharedMemory(_name(family, generation))
    except FileNotFoundError:
        return False
    left.unlink()
    left.close()
    return True


def own_none() -> None:
    """To be called in a process that makes no segments: before Python 3.13 attaching could not be told from making."""
    if not UNTRACKED:
        resource_tracker.register = _ignore


def _ignore(name: object, rtype: str) -> None:
    pass


def _name(family: str, generation: int) -> str:
    return f"{family}-{generation}"
