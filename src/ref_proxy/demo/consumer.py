"""Those who read from the line: most through pyserial, some as an event loop does. They do not know whether it is protected."""

from __future__ import annotations

import errno
import os
import select
from threading import Thread
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from ..errors import Revoked
from .ledger import Outcome, Span
from .line import Interrupted
from .tally import Counts, bump

if TYPE_CHECKING:
    from .hub import Hub, Ticket
    from .ledger import Ledger
    from .line import Line
    from .record import Haul

__all__ = ["OVERSTAY", "ROSTER", "Consumer", "Loop", "Place", "name_of"]

OVERSTAY = 0.01  # seconds after the close from which on a read counts as one that sleeps on
CHUNK = 4096
# How reads may fail when the other end hangs up.
GONE = {"EOFError", "SerialException: no data", "SerialException: EIO", "OSError: EIO", "OSError: ENXIO", "OSError: ENODEV"}


def name_of(error: BaseException) -> str:
    """The type of an exception and what was behind it: pyserial wraps an OSError, and loses its errno."""
    name, code = type(error).__name__, getattr(error, "errno", None)
    if code is None and isinstance(error.__context__, OSError):
        code = error.__context__.errno
    if code is None and "returned no data" in str(error):
        return f"{name}: no data"
    return name if code is None else f"{name}: {errno.errorcode.get(code, code)}"


class Consumer(Thread):
    """Reads records through pyserial."""

    def __init__(self, name: str, hub: Hub) -> None:
        super().__init__(name=name, daemon=True)
        self.counts = Counts()
        self._hub = hub

    def run(self) -> None:
        number = 0
        while (ticket := self._hub.ticket(self.name, number)) is not None:
            number = ticket.number
            self._consume(ticket)

    def _consume(self, ticket: Ticket) -> None:
        interrupted = False
        while not self._hub.stopped:
            outcome = self._access(ticket)
            if outcome is Outcome.HUNG_UP:
                self._hub.report(ticket.number)
            # Who was interrupted tries once more: it is for the line to say that it is gone, not for the interruption.
            if outcome is not Outcome.READ and (interrupted or outcome is not Outcome.INTERRUPTED):
                return
            interrupted = outcome is Outcome.INTERRUPTED

    def _access(self, ticket: Ticket) -> Outcome:
        ledger, counts = ticket.ledger, self.counts
        denied, start = ledger.denied, perf_counter()
        try:
            section = ticket.access()
        except Revoked:
            counts.refused += 1
            outcome = Outcome.REFUSED
        else:
            with section as line:
                counts.granted += 1
                counts.granted_late += denied
                ledger.enter()
                outcome = self._guarded_read(line, ledger)
                overstay = ledger.leave(start)
            if overstay is not None:
                counts.after_close += 1
                counts.overstayed += overstay > OVERSTAY
                counts.longest_overstay = max(counts.longest_overstay, overstay)
        ledger.spans.append(Span(self.name, start, perf_counter(), outcome))
        return outcome

    def _guarded_read(self, line: Line, ledger: Ledger) -> Outcome:
        try:
            haul = self._read(line)
        except Interrupted:
            self.counts.interrupted += 1
            return Outcome.INTERRUPTED
        except Exception as error:
            name = name_of(error)
            if name in GONE and ledger.hung_up and not ledger.closed:
                self.counts.hung_up += 1
                return Outcome.HUNG_UP
            bump(self.counts.errors, name)
            return Outcome.FAILED
        if haul is not None:
            self.counts.add_haul(haul)
        return Outcome.READ

    def _read(self, line: Line) -> Haul | None:
        return line.read()


class Loop(Consumer):
    """Reads as event loops do: remembers the descriptor's number, waits until it is readable, reads from the number."""

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


class Place(NamedTuple):
    """One consumer of the storm: what it is called, how it reads, and whether it shares its proxy with others."""

    name: str
    kind: type[Consumer]
    shared: bool


ROSTER = (
    Place("reader 1, own proxy", Consumer, shared=False),
    Place("reader 2, own proxy", Consumer, shared=False),
    Place("reader 3, shared proxy", Consumer, shared=True),
    Place("reader 4, shared proxy", Consumer, shared=True),
    Place("event loop 1, own proxy", Loop, shared=False),
    Place("event loop 2, shared proxy", Loop, shared=True),
)
