"""Threads that run loops when told to, alone or together: the same ones all the time, so that they are warm."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from benchmarks.measure import FREE_THREADED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from benchmarks.measure import Loop

    Task = tuple[Loop, int, list[int], int]

__all__ = ["Crew"]


class Crew:
    """Each stays on a processor of its own, where the system can be told so.

    Two threads that share a processor, in a race that is over within a time slice, run one after the other, and look as if they
    did not disturb each other at all.
    """

    def __init__(self, size: int) -> None:
        self._tasks: list[SimpleQueue[Task | None]] = [SimpleQueue() for _ in range(size)]
        self._times: SimpleQueue[tuple[int, int]] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(size)]
        for thread in self._threads:
            thread.start()

    def _work(self, i: int) -> None:
        if hasattr(os, "sched_setaffinity"):
            mine = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {mine[i % len(mine)]})
        while (task := self._tasks[i].get()) is not None:
            run, count, arrived, expected = task
            arrived.append(1)
            while len(arrived) < expected:  # spinning: whoever sleeps comes late to a race of some milliseconds
                pass
            begun = perf_counter_ns()
            self._times.put((begun, begun + run(count)))

    def race(self, runs: Sequence[Loop], count: int) -> float:
        """Nanoseconds from the start of the first to the end of the last, for each operation of one of them.

        Without the GIL a race in which one of them came late is run again: in its absence the others were not disturbed. With it
        they take turns anyhow.
        """
        for _ in range(30):
            arrived: list[int] = []
            for tasks, run in zip(self._tasks, runs, strict=False):
                tasks.put((run, count, arrived, len(runs)))
            times = [self._times.get() for _ in runs]
            begun, ended = [one[0] for one in times], [one[1] for one in times]
            if not FREE_THREADED or max(begun) - min(begun) <= 0.05 * (min(ended) - max(begun)):
                break
        return (max(ended) - min(begun)) / count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        for tasks in self._tasks:
            tasks.put(None)
        for thread in self._threads:
            thread.join()
