"""What an access costs: against a context manager that does nothing, and against a lock; and from two threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from queue import SimpleQueue
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

from benchmarks import limit
from benchmarks.measure import FREE_THREADED, Row, in_turns, loop, no_garbage, ratios, row, unmeasured
from ref_proxy import BACKEND, Provider, _core_py

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Loop

    Task = tuple[Loop, int, list[int], int]

__all__ = ["access", "measured", "scaling", "twin"]

WITH_ACCESS = "with x.access(): pass"


def measured(rounds: int, count: int) -> dict[str, list[float]]:
    """Nanoseconds of each statement, in this process."""
    module = limit.load()
    resource = object()
    provider = Provider(resource, name="resource")
    proxy = provider.proxy()
    times = in_turns(
        {
            "ours": loop(WITH_ACCESS, x=proxy),
            "limit": loop(WITH_ACCESS, x=module.Limit(resource)),
            "lock": loop("with x: pass", x=threading.Lock()),
            "tracked": loop(WITH_ACCESS, x=module.Tracked(resource)),
            "static": loop(WITH_ACCESS, x=module.Static(resource)),
            "ours as": loop("with x.access() as r: pass", x=proxy),
            "limit as": loop("with x.access() as r: pass", x=module.Limit(resource)),
            "try": loop("with x.try_access() as r:\n            if r is not None: pass", x=proxy),
            "end": loop("x.access().end()", x=proxy),
        },
        rounds,
        count,
    )
    provider.revoke()
    return times


def access(launches: int, rounds: int, count: int) -> Iterator[Row]:
    """One thread.

    The rounds of several processes: where things come to lie in memory shifts all rounds of a process by some per cent.
    """
    group = "access, one thread"
    least, lock_least = (1.35, 0.8) if FREE_THREADED else (1.15, 0.65)
    titles = {"limit": "a do-nothing context manager", "lock": "`with threading.Lock()`"}
    bounds = {"limit": least, "lock": lock_least} if BACKEND == "c" else {}
    try:
        limit.load()
    except OSError as error:
        for below, title in titles.items():
            yield unmeasured(group, f"`with proxy.access()` : {title}", "ratio", str(error), bounds.get(below))
        return
    times: dict[str, list[float]] = {}
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "REF_PROXY_BACKEND": BACKEND}
    for _ in range(launches):
        command = [sys.executable, "-m", "benchmarks.access", str(rounds), str(count)]
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
        for name, samples in json.loads(done.stdout).items():
            times.setdefault(name, []).extend(samples)
    empty = times[""]
    raw = {name: [t + e for t, e in zip(times[name], empty, strict=True)] for name in times}
    for below, title in titles.items():
        yield row(group, f"`with proxy.access()` : {title}", "ratio", ratios(times["ours"], times[below]), bounds.get(below))
    for below, title in titles.items():
        yield row(group, f"the same, the loop included : {title}", "ratio", ratios(raw["ours"], raw[below]))
    yield row(group, "`with proxy.access()` : one that the collector tracks", "ratio", ratios(times["ours"], times["tracked"]))
    yield row(group, "`with proxy.access()` : one of a static type", "ratio", ratios(times["ours"], times["static"]))
    yield row(group, "`with ... as r:` : the same of the do-nothing one", "ratio", ratios(times["ours as"], times["limit as"]))
    yield row(group, "the do-nothing one : `with threading.Lock()`", "ratio", ratios(times["limit"], times["lock"]))
    for name, title in {
        "ours": "`with proxy.access(): pass`",
        "try": "`with proxy.try_access() as r:`, r looked at",
        "end": "`proxy.access().end()`",
        "limit": "`with` the do-nothing one",
        "tracked": "`with` the one that the collector tracks",
        "static": "`with` the one of a static type",
        "lock": "`with threading.Lock()`",
        "": "the empty loop",
    }.items():
        yield row(group, title, "ns", times[name])


class Crew:
    """Two threads that run loops when told to, alone or together; the same two all the time, so that they are warm.

    Each stays on a processor of its own, where the system can be told so: two threads that share one, in a race that is over
    within a time slice, run one after the other, and look as if they did not disturb each other at all.
    """

    def __init__(self) -> None:
        self._tasks: list[SimpleQueue[Task | None]] = [SimpleQueue(), SimpleQueue()]
        self._times: SimpleQueue[tuple[int, int]] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(2)]
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
            took = run(count)
            self._times.put((begun, took))

    def alone(self, run: Loop, count: int) -> float:
        """Nanoseconds an operation."""
        self._tasks[0].put((run, count, [], 1))
        return self._times.get()[1] / count

    def together(self, runs: tuple[Loop, Loop], count: int) -> float:
        """Nanoseconds an operation, of the slower thread. A race in which one of them came late is run again."""
        for _ in range(100):
            arrived: list[int] = []
            for tasks, run in zip(self._tasks, runs, strict=True):
                tasks.put((run, count, arrived, 2))
            one, two = self._times.get(), self._times.get()
            if abs(one[0] - two[0]) <= 0.05 * min(one[1], two[1]):
                break
        return max(one[1], two[1]) / count

    def dismiss(self) -> None:
        for tasks in self._tasks:
            tasks.put(None)
        for thread in self._threads:
            thread.join()


def scaling(rounds: int, count: int) -> Iterator[Row]:
    """Two threads that access the same resource at the same time: free-threaded alone."""
    if not FREE_THREADED:
        return
    bound = 0.9 if BACKEND == "c" else None
    kinds = {"each": "a proxy each", "shared": "one shared proxy"}
    group = "access, two threads"
    try:
        limit.load()
    except OSError as error:
        for title in kinds.values():
            yield unmeasured(group, f"{title}: our scaling : the limit's", "ratio", str(error), bound, True)
        return
    for resource, titled in ((object(), group), (1, f"{group}, an immortal resource")):
        alone, both = raced(resource, rounds, count)
        scale = {name: [2 * one / two for one, two in zip(alone[name], both[name], strict=True)] for name in alone}
        for kind, title in kinds.items():
            ours, least = scale[f"ours {kind}"], scale[f"limit {kind}"]
            promised = bound if titled == group else None
            yield row(titled, f"{title}: our scaling : the limit's", "ratio", ratios(ours, least), promised, at_least=True)
        for kind, title in kinds.items():
            for who, called in (("ours", "our"), ("limit", "the limit's"), ("static", "the static one's")):
                yield row(titled, f"{title}: {called} scaling (2 is perfect)", "ratio", scale[f"{who} {kind}"])
            for who, called in (("ours", "we"), ("limit", "the limit")):
                yield row(titled, f"{title}: {called}, one thread", "ns", alone[f"{who} {kind}"])
                yield row(titled, f"{title}: {called}, each of two threads", "ns", both[f"{who} {kind}"])


def raced(resource: object, rounds: int, count: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Nanoseconds an access, net of the loop, by one thread and by each of two, of everything that is compared."""
    module = limit.load()
    provider = Provider(resource, name="resource")
    makers: dict[str, Callable[[], object]] = {
        "ours": provider.proxy,
        "limit": lambda: module.Limit(resource),
        "static": lambda: module.Static(resource),
    }
    pairs: dict[str, tuple[Loop, Loop]] = {}
    for who, make in makers.items():
        one, two = loop(WITH_ACCESS, x=make()), loop(WITH_ACCESS, x=make())
        pairs |= {f"{who} each": (one, two), f"{who} shared": (one, one)}
    names = list(pairs)
    empty = loop("pass")
    alone: dict[str, list[float]] = {name: [] for name in names}
    both: dict[str, list[float]] = {name: [] for name in names}
    crew = Crew()
    try:
        with no_garbage():
            for pair in pairs.values():
                for run in pair:
                    crew.together((run, run), 2000)
                    crew.alone(run, 2000)
            for turn in range(rounds):
                first = turn % len(names)
                base = crew.alone(empty, count)
                for name in names[first:] + names[:first]:
                    alone[name].append(crew.alone(pairs[name][0], count) - base)
                    both[name].append(crew.together(pairs[name], count) - base)
    finally:
        crew.dismiss()
        provider.revoke()
    return alone, both


def twin(rounds: int, count: int) -> Iterator[Row]:
    """The Python twin, against the reader section of a readers-writer lock in Python."""
    group = "the Python twin"
    what = "`with proxy.access()` : `readerwriterlock`'s reader section"
    try:
        from readerwriterlock import rwlock
    except ImportError:
        yield unmeasured(group, what, "ratio", "the package readerwriterlock is not installed", 1.0)
        return
    cell = _core_py.Cell(object(), "resource", lambda: None)
    flavours = {name: getattr(rwlock, name)() for name in ("RWLockRead", "RWLockFair", "RWLockWrite")}
    times = in_turns(
        {
            "ours": loop(WITH_ACCESS, x=_core_py.Proxy(cell)),
            **{name: loop("with x.gen_rlock(): pass", x=lock) for name, lock in flavours.items()},
            "kept": loop("with x: pass", x=flavours["RWLockRead"].gen_rlock()),
        },
        rounds,
        count,
    )
    cheapest = min(flavours, key=lambda name: median(times[name]))
    yield row(group, what, "ratio", ratios(times["ours"], times[cheapest]), 1.0, note=f"{cheapest}, the cheapest flavour")
    yield row(
        group, "the same : one that the thread keeps, and that is not made anew", "ratio", ratios(times["ours"], times["kept"])
    )
    yield row(group, "`with proxy.access(): pass`", "ns", times["ours"])
    for name in flavours:
        yield row(group, f"`with {name}().gen_rlock()`", "ns", times[name])


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:]))))
