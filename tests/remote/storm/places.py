"""Where the name is: an address of each back end, and what must not be left there when all is over."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ref_proxy.remote import Handle

__all__ = ["Place", "PostgresPlace", "UnixPlace", "place"]

LEASE = 1.5  # seconds


class Place(ABC):
    """One address. `gated`: whoever was cut off is refused from its very next access on, whatever its threads have heard."""

    address: str
    gated: bool
    leases: bool  # nobody may be able to say whether a holder has ended: it counts until its lease is over, and is named

    @abstractmethod
    def cut(self, handle: Handle[Any]) -> None:
        """Break the connection of a holder, as something that closes descriptors which it does not know would."""

    @abstractmethod
    def left(self) -> list[str]:
        """What is still there, where nobody is any more: a phrase each."""

    def close(self) -> None:  # noqa: B027  # most have nothing
        """Give up what was made for the storm."""


class UnixPlace(Place):
    """A socket in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.address = f"unix:{directory / 'storm'}"
        self.gated = hasattr(os, "memfd_create")
        self.leases = False
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


class PostgresPlace(Place):
    """A server on loopback: the one of that address, or one of its own."""

    gated = True
    leases = True

    def __init__(self, address: str) -> None:
        from ref_proxy.remote import postgres  # noqa: F401  # so that it is here before anything is counted
        from tests.remote.server import PostgresServer

        self._server = PostgresServer() if address == "postgresql" else None
        self._uri = address if self._server is None else self._server.uri(lease=LEASE)
        self.address = f"{self._uri}#storm"

    def cut(self, handle: Handle[Any]) -> None:
        for name in os.listdir("/proc/self/fd"):
            try:
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    if connection.family in (socket.AF_INET, socket.AF_INET6):
                        connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is none, or is over already
                pass

    def left(self) -> list[str]:
        import psycopg

        queries = {
            "session": "select application_name from pg_stat_activity where pid <> pg_backend_pid() and client_port is not null",
            "lock": "select objid::text from pg_locks where locktype = 'advisory'",
        }
        deadline = monotonic() + 10  # the server takes its time to notice
        while True:
            with psycopg.connect(self._uri.partition("?")[0], autocommit=True) as connection:
                found = [f"the {what} {row[0]}" for what, query in queries.items() for row in connection.execute(query)]
            if not found or monotonic() > deadline:
                return found
            sleep(0.05)

    def close(self) -> None:
        if self._server is not None:
            self._server.remove()


def place(address: str, directory: Path) -> Place:
    """The place of an address as the command line has it: `unix`, `postgresql` for a server of its own, or one's URI."""
    if address == "unix":
        return UnixPlace(directory)
    if address.partition(":")[0] == "postgresql":
        return PostgresPlace(address)
    raise ValueError(f"{address!r}: there is no storm for that; there is one for 'unix' and for 'postgresql'")
