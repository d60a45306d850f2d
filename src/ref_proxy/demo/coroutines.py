"""Those who are tasks of asyncio, all in one event loop. None of them may block it: an access never does."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from .consumer import CHUNK, Consumer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .hub import Ticket
    from .ports import Bare
    from .visit import Visit

__all__ = ["Coroutine", "Gauge", "Listener", "run_all"]

PAUSE = 0.001  # seconds between two looks at a gauge


def run_all(coroutines: Iterable[Coroutine]) -> None:
    """Run a loop with all of them in it; to be called in a thread of its own."""

    async def together() -> None:
        await asyncio.gather(*(each.run() for each in coroutines))

    asyncio.run(together())


class Coroutine(Consumer):
    """Its access stays open while it awaits."""

    async def run(self) -> None:
        number = 0
        try:
            while (ticket := await asyncio.to_thread(self._hub.ticket, self.name, number)) is not None:
                number = ticket.number
                visit = self._visit(ticket)
                while visit.goes_on and not self._hub.stopped:
                    await self._access(ticket, visit)
                self._leave(ticket, visit)
        finally:
            self.home.set()

    async def _access(self, ticket: Ticket, visit: Visit) -> None:
        raise NotImplementedError


class Listener(Coroutine):
    """Reads on and on in an `async with`: there is no end to that but the hang-up, or to be cancelled."""

    async def _access(self, ticket: Ticket, visit: Visit) -> None:
        with visit:
            async with ticket.access() as port:
                with visit.inside():
                    while True:
                        await self._read(port)

    async def _read(self, port: Bare) -> None:
        number = port.fileno()
        await _readable(number)
        chunk = os.read(number, CHUNK)
        if not chunk:
            raise EOFError
        self.counts.add_haul(port.decoder.feed(chunk))


async def _readable(number: int) -> None:
    """Have the loop watch a descriptor, which is not closed before the loop has forgotten it: the section is open until then.

    A read in the loop's executor would be wrong: no cancellation ends that, so it would outlive the section.
    """
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(number, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(number)


class Gauge(Coroutine):
    """Looks twice how much there is to read, in a plain `with` across an `await`: nothing cancels it, it is waited for."""

    most = 0

    async def _access(self, ticket: Ticket, visit: Visit) -> None:
        with visit, ticket.access() as port, visit.inside():
            self.most = max(self.most, port.in_waiting)
            await asyncio.sleep(0)
            self.most = max(self.most, port.in_waiting)
        await asyncio.sleep(PAUSE)
