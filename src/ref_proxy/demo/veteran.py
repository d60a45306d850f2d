"""Old code, which knows nothing of ref_proxy: pyserial's own `ReaderThread`, as it is, on what it takes for a `Serial`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serial.threaded import Protocol, ReaderThread  # type: ignore[import-untyped,unused-ignore]

from .consumer import Reader

if TYPE_CHECKING:
    from .hub import Ticket
    from .visit import Visit

__all__ = ["Veteran"]


class Veteran(Reader):
    """Reads until that raises. What it reads is counted in the port, by `Watched`."""

    def _consume(self, ticket: Ticket, visit: Visit) -> None:
        with visit:
            port = ticket.access()
            port.visit = visit
            ReaderThread(port, Protocol).run()  # in this thread; it raises what it ends of
