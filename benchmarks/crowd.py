"""One provider, thousands of consumers in an event loop, hundreds in threads, and its resource replaced many times a second.

`python -m benchmarks.crowd TASKS THREADS RATE SECONDS PAUSE` prints what happened, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import threading
import tracemalloc
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from benchmarks.measure import elsewhere
from benchmarks.rows import row
from ref_proxy import BACKEND, Provider, Revoked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rows import Row

__all__ = ["crowd"]

REPLACERS = 8  # each replacement waits for the sections of the one that it replaced: several are under way at once
INSIDE = 0.01  # seconds that a section stays open, across an `await` or in a sleep: every other one; the rest end at once


class Resource:
    given_back = False


class Crowd:
    """What its members share, and what they count."""

    def __init__(self, provider: Provider[Resource], pause: float) -> None:
        self.provider = provider
        self.pause = pause  # seconds, on average, between two accesses of a task; a thread's is a tenth of it
        self.stopped = False
        self.good: list[int] = []
        self.bad: list[int] = []

    async def task(self, number: int) -> None:
        """A consumer with a proxy of its own."""
        proxy = self.provider.proxy()
        chance = random.Random(number)
        good = bad = 0
        await asyncio.sleep(chance.uniform(0, 2 * self.pause))
        while not self.stopped:
            with proxy.access() as resource:
                if good % 2:
                    await asyncio.sleep(INSIDE)
                bad += resource.given_back
                good += 1
            await asyncio.sleep(chance.uniform(0, 2 * self.pause))
        self.good.append(good - bad)
        self.bad.append(bad)

    def thread(self, proxy: Any, number: int) -> None:
        """A consumer that shares one proxy with all other threads."""
        chance = random.Random(number)
        good = bad = 0
        while not self.stopped:
            with proxy.access() as resource:
                if good % 2:
                    sleep(INSIDE)
                bad += resource.given_back
                good += 1
            sleep(chance.uniform(0, 0.2 * self.pause))
        self.good.append(good - bad)
        self.bad.append(bad)

    async def tasks(self, count: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self.task(number))


class Replacers:
    """Threads that publish a fresh resource when the next one is due, whether or not the replacements before it are through."""

    def __init__(self, provider: Provider[Resource], rate: float, seconds: float) -> None:
        self.provider = provider
        self.begun = monotonic()
        self.due = [self.begun + i / rate for i in range(int(rate * seconds), 0, -1)]  # the next one is the last
        self.late: list[float] = []  # how long after it was due each was published: a list's methods are atomic
        self.took: list[float] = []

    def run(self) -> None:
        while self.due:
            try:
                due = self.due.pop()
            except IndexError:
                return
            sleep(max(0, due - monotonic()))
            begun = monotonic()
            old = self.provider.replace(Resource())
            old.given_back = True
            self.late.append(begun - due)
            self.took.append(monotonic() - begun)


def measured(tasks: int, threads: int, rate: float, seconds: float, pause: float) -> dict[str, Any]:
    """Once, all of it."""
    provider = Provider(Resource(), name="resource")
    shared = provider.proxy()
    crowd = Crowd(provider, pause)
    loop = threading.Thread(target=asyncio.run, args=(crowd.tasks(tasks),))
    readers = [threading.Thread(target=crowd.thread, args=(shared, number)) for number in range(threads)]
    for each in [loop, *readers]:
        each.start()
    sleep(2 * pause)  # all have come up
    replacers = Replacers(provider, rate, seconds)
    crew = [threading.Thread(target=replacers.run) for _ in range(REPLACERS)]
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    lasted = monotonic() - replacers.begun
    crowd.stopped = True
    for each in [loop, *readers]:
        each.join()
    begun = monotonic()
    provider.revoke()
    try:
        shared.access()
    except Revoked:
        pass
    else:
        crowd.bad.append(1)
    return {
        "good": sum(crowd.good),
        "bad": sum(crowd.bad),
        "lasted": lasted,
        "late": replacers.late,
        "took": replacers.took,
        "revoke": monotonic() - begun,
    }


def main(tasks: int, threads: int, rate: float, seconds: float, pause: float) -> dict[str, Any]:
    """With a short one before, so that what the interpreter keeps for good is there; then the memory that a whole one leaves."""
    measured(tasks, threads, rate, 0.1, pause)
    gc.collect()
    found = measured(tasks, threads, rate, seconds, pause)
    tracemalloc.start(1)
    before = tracemalloc.get_traced_memory()[0]
    measured(tasks, threads, rate, 0.5, pause)
    gc.collect()
    found["left"] = tracemalloc.get_traced_memory()[0] - before
    found["peak"] = tracemalloc.get_traced_memory()[1] - before
    return found


def crowd(tasks: int, threads: int, rate: float, seconds: float, pause: float) -> Iterator[Row]:
    group = f"{tasks:,} tasks and {threads:,} threads on one provider that is replaced {rate:g} times a second"
    found = elsewhere("benchmarks.crowd", tasks, threads, rate, seconds, pause)
    c = BACKEND == "c"
    yield row(group, "accesses to a resource that had been given back", "count", [found["bad"]], 0)
    yield row(group, "good accesses", "count", [found["good"]])
    kept = [len(found["took"]) / found["lasted"]]
    yield row(group, "replacements a second", "count", kept, 0.95 * rate if c else None, at_least=True)
    yield row(group, "`replace()`, with the sections that it waits for", "ms", [1000 * each for each in found["took"]])
    slow = sorted(found["took"])[len(found["took"]) * 99 // 100]
    yield row(group, "`replace()`: 99 of 100 are below", "ms", [1000 * slow])
    yield row(group, "how late after it was due a replacement was published", "ms", [1000 * each for each in found["late"]])
    yield row(group, "its removal at the end, with nobody inside", "us", [1e6 * found["revoke"]])
    note = "after one of half a second; what the interpreter itself keeps for threads and loops is in it"
    yield row(group, "memory at its height, by `tracemalloc`", "bytes", [found["peak"]])
    left = found["left"] / (tasks + threads)
    yield row(group, "memory left afterwards, for each consumer", "bytes", [left], 10 if c else None, note=note)


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:3]), *map(float, sys.argv[3:6]))))
