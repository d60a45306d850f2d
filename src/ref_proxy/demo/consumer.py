"""Those who read in threads: most through pyserial, some with `select`. They do not know whether the line is protected."""

from __future__ import annotations

import os
import select
from threading import Event
from typing import TYPE_CHECKING

from .ledger import Outcome
from .line import Interrupted
from .tally import Counts
from .visit import Visit

if TYPE_CHECKING:
    from .hub import Hub, Ticket
    from .line import Line
    from .record import Haul

__all__ = ["CHUNK", "Consumer", "Reader", "Selector"]

CHUNK = 4096


class Consumer:
    """What all of them have: a name, a line that they use, their counts, and a home to come back to."""

    def __init__(self, name: str, line: str, hub: Hub) -> None:
        self.name = name
        self.line = line
        self.counts = Counts()
        self.home = Event()
        self._hub = hub

    def _visit(self, ticket: Ticket) -> Visit:
        return Visit(self.name, self.counts, ticket.ledger)

    def _leave(self, ticket: Ticket, visit: Visit) -> None:
        if visit.outcome is Outcome.HUNG_UP:
            self._hub.report(ticket.number)


class Reader(Consumer):
    """Reads records through pyserial."""

    def run(self) -> None:
        number = 0
        try:
            while (ticket := self._hub.ticket(self.name, number)) is not None:
                number = ticket.number
                visit = self._visit(ticket)
                self._consume(ticket, visit)
                self._leave(ticket, visit)
        finally:
            self.home.set()

    def _consume(self, ticket: Ticket, visit: Visit) -> None:
        while visit.goes_on and not self._hub.stopped:
            with visit, ticket.access() as line, visit.inside():
                haul = self._read(line)
                if haul is not None:
                    self.counts.add_haul(haul)

    def _read(self, line: Line) -> Haul | None:
        return line.read()


class Selector(Reader):
    """Remembers the descriptor's number, waits until it is readable, reads from the number."""

    def _read(self, line: Line) -> Haul | None:
        number = line.fileno()
        ready, _, _ = select.select([number, line.waker], [], [])
        if line.waker in ready:
            raise Interrupted
        with line.taking() as decoder:
            if not select.select([number], [], [], 0)[0]:
                return None  # somebody else had it
            chunk = os.read(number, CHUNK)
            if not chunk:
                raise EOFError
            return decoder.feed(chunk)
