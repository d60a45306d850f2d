"""What a removal costs: where nobody is inside, where many are, and how soon it returns after the last one."""

from __future__ import annotations

import sys
import threading
import time
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

from benchmarks.measure import FREE_THREADED, Row, no_garbage, ratios, row
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["idle", "latency", "many"]

GROUP = "removal"


def timed(provider: Provider[Any]) -> float:
    """Microseconds of one `revoke()`."""
    begun = perf_counter_ns()
    provider.revoke()
    return (perf_counter_ns() - begun) / 1000


def idle(rounds: int, proxies: int, crowded_rounds: int) -> Iterator[Row]:
    """Where nobody is inside."""
    bound = 6.0 if BACKEND == "c" else None
    resource = object()
    plain: list[float] = []
    hooked: list[float] = []
    with no_garbage():
        for _ in range(rounds):
            provider = Provider(resource)
            kept = provider.proxy()
            kept.access().end()
            plain.append(timed(provider))
            provider = Provider(resource, interrupt=id, release=id)
            kept = provider.proxy()
            kept.access().end()
            hooked.append(timed(provider))
    yield row(GROUP, "an idle provider", "us", plain, bound)

    # In each round a provider without, and one with, all those proxies, and both at the same distance from the making of them.
    empty: list[float] = []
    crowded: list[float] = []
    with no_garbage():
        for turn in range(crowded_rounds):
            few, lots = Provider(resource), Provider(resource)
            crowd = [lots.proxy() for _ in range(proxies)]
            warm(resource)
            for provider in (few, lots) if turn % 2 else (lots, few):
                (empty if provider is few else crowded).append(timed(provider))
            del crowd
    yield row(GROUP, f"one with {proxies:,} idle proxies", "us", crowded, bound)
    yield row(GROUP, f"one with {proxies:,} idle proxies : one with none", "ratio", ratios(crowded, empty))
    yield row(GROUP, "an idle provider with both hooks, which do nothing", "us", hooked)
    if FREE_THREADED and BACKEND == "c":
        with no_garbage():
            striped = []
            for _ in range(crowded_rounds):
                provider = met(resource)
                warm(resource)
                striped.append(timed(provider))
        yield row(GROUP, "an idle provider where threads have met", "us", striped)


def warm(resource: object) -> None:
    """Whatever ran before, the code of a removal is in the caches now."""
    for _ in range(20):
        timed(Provider(resource))


def met(resource: object) -> Provider[object]:
    """A provider whose cell has seen two threads at once, and has a stripe for each since."""
    provider = Provider(resource)
    proxy = provider.proxy()
    small = sys.getsizeof(provider._cell)

    def use() -> None:
        for _ in range(1000):
            if sys.getsizeof(provider._cell) != small:
                return
            for _ in range(1000):
                proxy.access().end()

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return provider


def removed_by_another(provider: Provider[Any], ended: Callable[[], object]) -> tuple[int, int]:
    """When `revoke()` was called and when it returned, in another thread; `ended` runs here as soon as that one waits.

    This thread is idle after `ended`, so that the other one need not fight for a processor, nor for the GIL.
    """
    stamps = []

    def remove() -> None:
        stamps.append(perf_counter_ns())
        provider.revoke()
        stamps.append(perf_counter_ns())

    thread = threading.Thread(target=remove)
    thread.start()
    while not provider._bell._ropes and thread.is_alive():
        time.sleep(0.0005)
    time.sleep(0.001)  # the rope hangs: a moment later the remover sleeps
    ended()
    thread.join()
    return stamps[0], stamps[1]


def many(rounds: int, sizes: tuple[int, ...]) -> Iterator[Row]:
    """With so many sections open, which then end: the denial, the ends, and the return; without the wait for the ender."""
    costs: dict[int, list[float]] = {}
    for size in sizes:
        costs[size] = []
        totals = []
        for _ in range(rounds):
            denied: list[int] = []

            def told(_: object, denied: list[int] = denied) -> None:
                denied.append(perf_counter_ns())

            provider = Provider(object(), interrupt=told)
            proxy = provider.proxy()
            sections = [proxy.access() for _ in range(size)]
            begun: list[int] = []

            def end(sections: list[Any] = sections, begun: list[int] = begun) -> None:
                begun.append(perf_counter_ns())
                for section in sections:
                    section.end()

            with no_garbage():
                called, returned = removed_by_another(provider, end)
            totals.append((denied[0] - called + returned - begun[0]) / 1000)
            costs[size].append(totals[-1] * 1000 / size)
        yield row(GROUP, f"one with {size:,} open sections, all ends included", "us", totals)
    for size in sizes:
        yield row(GROUP, f"the same, for each of {size:,} sections", "ns", costs[size])
    least, most = sizes[0], sizes[-1]
    yield row(
        GROUP,
        f"linear: for each of {most:,} sections : for each of {least:,}",
        "ratio",
        [cost / median(costs[least]) for cost in costs[most]],
        2.0 if BACKEND == "c" else None,
        note=f"a quadratic cost would be {most // least}",
    )


def latency(rounds: int) -> Iterator[Row]:
    """From the last `end()` to the return of the `revoke()` that waits for it."""
    own: list[float] = []
    handed: list[float] = []
    for _ in range(rounds):
        for samples in (own, handed):
            provider = Provider(object())
            section = provider.proxy().access()
            if samples is handed:
                section.detach()
            begun: list[int] = []

            def end(section: Any = section, begun: list[int] = begun) -> None:
                begun.append(perf_counter_ns())
                section.end()

            with no_garbage():
                _, returned = removed_by_another(provider, end)
            samples.append((returned - begun[0]) / 1000)
    bound = 150.0 if BACKEND == "c" else None
    yield row(GROUP, "from the last `end()` to the return of a waiting `revoke()`", "us", own, bound)
    yield row(GROUP, "the same, of a detached section", "us", handed, bound)
