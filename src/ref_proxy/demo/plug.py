"""What is plugged in: a device of several lines, each with the checker's book on it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from .ledger import Ledger
from .line import Line
from .ports import Bare, Watched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .record import Decoder

__all__ = ["ASYNCIO", "LINES", "OLD", "THREADS", "Plug", "Port"]

THREADS, ASYNCIO, OLD = "threads", "asyncio", "old code"
LINES: dict[str, type[Line | Bare]] = {THREADS: Line, ASYNCIO: Bare, OLD: Watched}


class Port(NamedTuple):
    line: Line | Bare
    ledger: Ledger


class Plug:
    """Opens its lines, one for each path, or none of them; `ports` has them by who uses them."""

    def __init__(self, paths: Iterable[str], baud: int, decoders: Iterable[Decoder]) -> None:
        self.ports: dict[str, Port] = {}
        with ExitStack() as opened:
            for (name, kind), path, decoder in zip(LINES.items(), paths, decoders, strict=False):
                line = kind(path, baud, decoder)
                opened.callback(line.close)
                self.ports[name] = Port(line, Ledger())
            opened.pop_all()

    def hang_up(self) -> None:
        for port in self.ports.values():
            port.ledger.hung_up = True

    def deny(self) -> None:
        for port in self.ports.values():
            port.ledger.denied = True

    @property
    def inside(self) -> int:
        return sum(port.ledger.inside for port in self.ports.values())

    @property
    def closed(self) -> bool:
        return all(port.ledger.closed for port in self.ports.values())
