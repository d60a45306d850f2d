"""The two kinds of event loop, as far as the torture needs them."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    Task = Callable[[], Awaitable[None]]

__all__ = ["Asyncio", "Kit", "Trio", "kits"]


class Kit(Protocol):
    """One kind of event loop."""

    name: str

    def run(self, tasks: Sequence[Task]) -> None:
        """Run them all, in this thread, until all are done."""

    async def pause(self, seconds: float) -> None:
        """Let others run."""

    async def in_another_task(self, call: Task) -> None:
        """Have another task do it, and wait until it has."""

    async def cancelled(self, call: Callable[[], Awaitable[object]], after: float) -> bool:
        """Await a call, and cancel it after some seconds. Whether that came before its end."""
        ...


class Asyncio:
    name = "asyncio"

    def run(self, tasks: Sequence[Task]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(task() for task in tasks))

        asyncio.run(all_of_them())

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def in_another_task(self, call: Task) -> None:
        await asyncio.gather(call())

    async def cancelled(self, call: Callable[[], Awaitable[object]], after: float) -> bool:
        async def called() -> None:
            await call()

        task = asyncio.ensure_future(called())
        await asyncio.wait([task], timeout=after)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False


class Trio:
    name = "trio"

    def __init__(self) -> None:
        self._trio: Any = import_module("trio")

    def run(self, tasks: Sequence[Task]) -> None:
        async def all_of_them() -> None:
            async with self._trio.open_nursery() as nursery:
                for task in tasks:
                    nursery.start_soon(task)

        self._trio.run(all_of_them)

    async def pause(self, seconds: float) -> None:
        await self._trio.sleep(seconds)

    async def in_another_task(self, call: Task) -> None:
        async with self._trio.open_nursery() as nursery:
            nursery.start_soon(call)

    async def cancelled(self, call: Callable[[], Awaitable[object]], after: float) -> bool:
        with self._trio.move_on_after(after) as scope:
            await call()
        return bool(scope.cancelled_caught)


def kits() -> list[Kit]:
    """Those that are installed."""
    found: list[Kit] = [Asyncio()]
    if find_spec("trio") is not None:
        found.append(Trio())
    return found
