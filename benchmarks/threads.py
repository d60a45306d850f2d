"""What becomes of an access when more and more threads make it at once: own and shared proxies, the limit, and the peers.

`python -m benchmarks.threads WHAT ROUNDS COUNT` runs the races of one of MEASURED, and prints their times as JSON.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import limit
from benchmarks.access import WITH_ACCESS
from benchmarks.crew import Crew
from benchmarks.machine import cores
from benchmarks.measure import FREE_THREADED, elsewhere, loop, no_garbage
from benchmarks.peers import PEERS
from benchmarks.rows import LEAST, ratios, row, unmeasured
from ref_proxy import BACKEND, Provider, guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.measure import Loop
    from benchmarks.rows import Row

__all__ = ["peers", "pooled", "proxies", "shared_calls"]

RATES = "accesses a second, by threads"
KINDS = {"each": "a proxy each", "shared": "one shared proxy"}

Contenders = dict[str, list["Loop"]]  # a loop for each thread


class Raced(NamedTuple):
    """Nanoseconds of an operation, net of the loop: by one thread, and by each of so many."""

    alone: list[float]
    together: dict[int, list[float]]

    def scaling(self, n: int) -> list[float]:
        return [n * ratio for ratio in ratios(self.alone, self.together[n])]

    def rate(self, n: int) -> list[float]:
        """Millions of operations a second, of all together."""
        return [n * 1000 / (each or LEAST) for each in self.together[n]]


def sizes(most: int = 16) -> list[int]:
    """How many threads: doubled and, in between, half as many again, up to one a processor."""
    many = max(2, min(most, cores()))
    return sorted({n for n in (2, 3, 4, 6, 8, 12, 16) if n <= many} | {many})


def raced(contenders: Contenders, numbers: list[int], rounds: int, count: int) -> dict[str, Raced]:
    """In turns."""
    empty = loop("pass")
    results = {name: Raced([], {n: [] for n in numbers}) for name in contenders}
    names = list(contenders)
    with Crew(max(numbers)) as crew, no_garbage():
        for runs in contenders.values():
            crew.race(runs, min(count, 2000))
            for run in runs:
                crew.race([run], min(count, 2000))
        for turn in range(rounds):
            first = turn % len(names)
            base = crew.race([empty], count)
            bases = {n: base if FREE_THREADED else n * base for n in numbers}
            for name in names[first:] + names[:first]:
                results[name].alone.append(crew.race(contenders[name][:1], count) - base)
                for n in numbers:
                    results[name].together[n].append(crew.race(contenders[name][:n], count) - bases[n])
    return results


def copies(make: Callable[[], object], kind: str, n: int) -> list[Loop]:
    """A loop for each of n threads: over an object of its own, or over the same one."""
    made = make()
    return [loop(WITH_ACCESS, x=make() if kind == "each" else made) for _ in range(n)]


@contextmanager
def accesses(resource: object) -> Iterator[Contenders]:
    """Against the limit: whoever hands out the resource hands out its reference count, which all threads fight for."""
    module = limit.load()
    with Provider(resource, name="resource") as provider:
        makers: dict[str, Callable[[], object]] = {
            "ours": provider.proxy,
            "limit": partial(module.Limit, resource),
            "static": partial(module.Static, resource),
        }
        yield {f"{who} {kind}": copies(make, kind, max(sizes())) for who, make in makers.items() for kind in KINDS}


@contextmanager
def calls() -> Iterator[Contenders]:
    """Of one resource that is implemented in C, through one guarded object, and bare. A `bytearray` would lock itself in each."""
    resource = bytes(bytearray(b"resource"))  # a constant would be immortal
    with Provider(resource, name="resource") as provider:
        both = {"guarded": guarded(provider.proxy()), "bare": resource}
        yield {name: [loop("x.isascii()", x=x) for _ in range(max(sizes()))] for name, x in both.items()}


MEASURED: dict[str, Callable[[], AbstractContextManager[Contenders]]] = {
    "accesses": lambda: accesses(object()),
    "accesses, an immortal resource": lambda: accesses(1),
    "calls": calls,
}


def pooled(what: str, launches: int, rounds: int, count: int) -> dict[str, Raced]:
    """The rounds of several processes: see `access()`.

    Here it is time as well: what a cache line takes from one processor to another changes threefold while a virtual machine runs.
    """
    pool: dict[str, Raced] = {}
    for _ in range(launches):
        for name, (alone, together) in elsewhere("benchmarks.threads", what, rounds, count).items():
            all_of_it = pool.setdefault(name, Raced([], {int(n): [] for n in together}))
            all_of_it.alone.extend(alone)
            for n, times in together.items():
                all_of_it.together[int(n)].extend(times)
    return pool


def proxies(launches: int, rounds: int, count: int) -> Iterator[Row]:
    numbers = sizes()
    promised = 0.95 if BACKEND == "c" and FREE_THREADED else None
    try:
        limit.load()
    except OSError as error:
        for n in numbers:
            for title in KINDS.values():
                what = f"{title}: our scaling : the limit's"
                yield unmeasured(f"access, {n} threads", what, "ratio", str(error), promised, at_least=True)
        return
    curves: dict[str, Raced] = {}
    for remark in ("", ", an immortal resource") if FREE_THREADED else ("",):
        found = pooled(f"accesses{remark}", launches, rounds, count)
        for n in numbers:
            yield from compared(f"access, {n} threads{remark}", found, n, None if remark else promised)
        for kind, title in KINDS.items():
            curves[f"{title}{remark}"] = found[f"ours {kind}"]
            curves[f"{title.replace('proxy', 'do-nothing context manager')}{remark}"] = found[f"limit {kind}"]
    for name, each in curves.items():
        yield from curve(RATES, name, each, numbers)


def compared(group: str, found: dict[str, Raced], n: int, promised: float | None) -> Iterator[Row]:
    perfect = n if FREE_THREADED else 1
    scaling = {name: each.scaling(n) for name, each in found.items()}
    for kind, title in KINDS.items():
        relative = ratios(scaling[f"ours {kind}"], scaling[f"limit {kind}"])
        yield row(group, f"{title}: our scaling : the limit's", "ratio", relative, promised, at_least=True)
    for kind, title in KINDS.items():
        for who, called in (("ours", "our"), ("limit", "the limit's"), ("static", "the static one's")):
            yield row(group, f"{title}: {called} scaling ({perfect} is perfect)", "ratio", scaling[f"{who} {kind}"])
        for who, called in (("ours", "we"), ("limit", "the limit")):
            yield row(group, f"{title}: {called}, one thread", "ns", found[f"{who} {kind}"].alone)
            yield row(group, f"{title}: {called}, each of {n} threads", "ns", found[f"{who} {kind}"].together[n])


def curve(group: str, name: str, raced: Raced, numbers: list[int]) -> Iterator[Row]:
    yield row(group, f"{name}: 1 thread", "M/s", [1000 / (one or LEAST) for one in raced.alone], curve=name, x=1)
    for n in numbers:
        yield row(group, f"{name}: {n} threads", "M/s", raced.rate(n), curve=name, x=n)


def peers(rounds: int, count: int) -> Iterator[Row]:
    """What is shared by the threads is the lock."""
    numbers = sizes()
    absent: dict[str, str] = {}
    contenders: Contenders = {}
    with ExitStack() as end:
        provider = end.enter_context(Provider(object(), name="resource"))
        ours = "`with proxy.access()`, one shared proxy"
        contenders[ours] = copies(provider.proxy, "shared", max(numbers))
        for name, peer in PEERS.items():
            if peer.only_one:
                continue
            try:
                use = end.enter_context(peer.use())
            except ImportError as error:
                absent[name] = str(error)
            else:
                contenders[name] = [use.loop() for _ in range(max(numbers))]
        found = raced(contenders, numbers, rounds, count)
    for name, each in found.items():
        if name != ours:
            yield from curve(RATES, name, each, numbers)
    for name, why in absent.items():
        yield unmeasured(RATES, name, "M/s", f"left out: {why}")
    for n in numbers:
        for name, each in found.items():
            if name != ours:
                more = ratios(found[ours].rate(n), each.rate(n))
                yield row(f"access, {n} threads, against the peers", f"our rate : that of {name}", "ratio", more)


def shared_calls(launches: int, rounds: int, count: int) -> Iterator[Row]:
    group = "guarded calls, one shared `bytes`"
    numbers = sizes()
    found = pooled("calls", launches, rounds, count)
    for n in numbers:
        perfect = n if FREE_THREADED else 1
        bound = 0.9 * n if BACKEND == "c" and FREE_THREADED else None
        for name, each in found.items():
            title = f"{n} threads: scaling of the {name} call ({perfect} is perfect)"
            yield row(group, title, "ratio", each.scaling(n), bound if name == "guarded" else None, at_least=True)
    for name, each in found.items():
        yield row(group, f"the {name} call, one thread", "ns", each.alone)
        yield from curve(group, f"{name} calls of one `bytes`", each, numbers)


if __name__ == "__main__":
    what, rounds, count = sys.argv[1:]
    with MEASURED[what]() as contenders:
        print(json.dumps(raced(contenders, sizes(), int(rounds), int(count))))
