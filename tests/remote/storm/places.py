"""Where the name is: an address of each back end, and what must not be left there when all is over."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ref_proxy.remote import Handle

__all__ = ["Place", "UnixPlace", "place"]


class Place(ABC):
    """One address. `gated`: whoever was cut off is refused from its very next access on, whatever its threads have heard."""

    address: str
    gated: bool

    @abstractmethod
    def cut(self, handle: Handle[Any]) -> None:
        """Break the connection of a holder, as something that closes descriptors which it does not know would."""

    @abstractmethod
    def left(self) -> list[str]:
        """What is still there, where nobody is any more: a phrase each."""


class UnixPlace(Place):
    """A socket in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.address = f"unix:{directory / 'storm'}"
        self.gated = hasattr(os, "memfd_create")
        directory.mkdir(mode=0o700, exist_ok=True)

    def cut(self, handle: Handle[Any]) -> None:
        connection: socket.socket = handle._attachment.stay.registration._link.connection  # type: ignore[attr-defined]
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is over already
            pass

    def left(self) -> list[str]:
        from fcntl import LOCK_EX, LOCK_NB, lockf

        found = []
        for path in self._directory.iterdir():
            if path.suffix != ".lock":
                found.append(f"the file {path.name}")
                continue
            with path.open("r+") as lock:
                try:
                    lockf(lock, LOCK_EX | LOCK_NB)
                except OSError:
                    found.append(f"the lock {path.name}, which is held")
        return found


def place(address: str, directory: Path) -> Place:
    """The place of an address as the command line has it: `unix`."""
    if address == "unix":
        return UnixPlace(directory)
    raise ValueError(f"{address!r}: there is no storm for that; there is one for 'unix'")
