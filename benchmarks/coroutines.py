"""What an access costs in a coroutine: a plain `with`, against the asynchronous locks that it would have to await."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.access import WITH_ACCESS
from benchmarks.measure import coroutine_loop, in_turns
from benchmarks.peers import get
from benchmarks.rows import ratios, row, unmeasured
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rows import Row

__all__ = ["coroutines"]

GROUP = "access, under asyncio"
BOUNDS = {"`async with asyncio.Lock()`": 1 / 4, "`aiorwlock`'s `async with lock.reader`": 1 / 15}


def coroutines(rounds: int, count: int) -> Iterator[Row]:
    """One task, and nobody who competes with it."""
    lock, readers = BOUNDS
    absent = ""
    with asyncio.Runner() as runner, Provider(object(), name="resource") as provider:
        loops = {
            "ours": coroutine_loop(runner, WITH_ACCESS, x=provider.proxy()),
            lock: coroutine_loop(runner, "async with x: pass", x=asyncio.Lock()),
        }

        async def made() -> object:
            return get("aiorwlock").RWLock()

        try:
            loops[readers] = coroutine_loop(runner, "async with x.reader: pass", x=runner.run(made()))
        except ImportError as error:
            absent = f"left out: {error}"
        times = in_turns(loops, rounds, count, empty=coroutine_loop(runner, "pass"))
    for name, most in BOUNDS.items():
        what, bound = f"`with proxy.access()` : {name}", most if BACKEND == "c" else None
        if name in times:
            yield row(GROUP, what, "ratio", ratios(times["ours"], times[name]), bound)
        else:
            yield unmeasured(GROUP, what, "ratio", absent, bound)
    for name, samples in times.items():
        yield row(GROUP, {"": "the empty loop", "ours": "`with proxy.access(): pass`"}.get(name, name), "ns", samples)
