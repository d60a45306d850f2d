"""A byte that two processes share: a holder's accesses look at it, and the owner closes it.

A message has to be read by a thread of the holder's. After a stop (SIGSTOP, a debugger, a frozen container) other threads may run
first. The owner's store into shared memory needs nobody: the very next access is refused. Only where the system has memory files.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from mmap import PROT_READ, PROT_WRITE, mmap
from typing import TYPE_CHECKING, Any

from .peers import SHORT

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Gate"]

PAGE = 4096
SEALED = 0x0001 | 0x0002 | 0x0004  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW: a page that shrank would be SIGBUS for the other
F_ADD_SEALS, F_GET_SEALS = 1033, 1034


class Gate:
    """One page. The holder makes it and reads it; the owner is given its descriptor, and closes it."""

    def __init__(self, fd: int, *, mine: bool) -> None:
        self._fds = [fd] if mine else []  # whoever takes it out closes it
        self.number = os.fstat(fd).st_ino  # of the page, whoever has it
        # A mapping keeps a descriptor of its own, for a size that here does not change; since 3.13 it can be told not to.
        options: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        self.memory = mmap(fd, PAGE, prot=PROT_READ if mine else PROT_READ | PROT_WRITE, **options)

    @classmethod
    def make(cls) -> Self | None:
        """Make one, open. None where the system has no memory files."""
        if not hasattr(os, "memfd_create"):
            return None
        from fcntl import fcntl

        fd = os.memfd_create("ref_proxy gate", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(fd, PAGE)
        fcntl(fd, F_ADD_SEALS, SEALED)
        return cls(fd, mine=True)

    @classmethod
    def take(cls, fd: int) -> Self:
        """Take over what another process has made, and close the descriptor.

        Raises `ValueError` where it is none, `OSError` where this process has no descriptor left.
        """
        from fcntl import fcntl

        try:
            if os.fstat(fd).st_size != PAGE or fcntl(fd, F_GET_SEALS) & SEALED != SEALED:
                raise ValueError("what was sent as a gate is no sealed page")
            return cls(fd, mine=False)
        except OSError as error:
            if error.errno in SHORT:
                raise
            raise ValueError(f"what was sent as a gate is no memory file: {error}") from None
        finally:
            os.close(fd)

    @property
    def fd(self) -> int:
        """The descriptor to be sent, of the one that made it; -1 where it was given up."""
        return next(iter(self._fds), -1)

    @property
    def closed(self) -> bool:
        return self.memory[0] != 0

    def close(self) -> None:
        """Refuse every access in the process that reads it, from now on."""
        self.memory[0] = 1

    def give_up(self) -> None:
        """Give it up: two threads may do so at once. It stays mapped for as long as a cell watches it."""
        with suppress(IndexError):
            os.close(self._fds.pop())
        with suppress(BufferError):
            self.memory.close()
