"""What a removal costs: where nobody is inside, where many are, and how soon it returns after the last one."""

from __future__ import annotations

import sys
import threading
import time
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import TYPE_CHECKING

from benchmarks.measure import FREE_THREADED, no_garbage
from benchmarks.peers import leases
from benchmarks.rows import ratios, row, unmeasured
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from benchmarks.rows import Row

__all__ = ["by_threads", "idle", "latency", "many", "of_a_pool"]

GROUP = "removal"


def timed(remove: Callable[[], object]) -> float:
    """Microseconds of one removal."""
    begun = perf_counter_ns()
    remove()
    return (perf_counter_ns() - begun) / 1000


def warm(resource: object) -> None:
    """Whatever ran before, the code of a removal is in the caches now."""
    for _ in range(20):
        timed(Provider(resource).revoke)


def idle(rounds: int, crowds: Mapping[int, int]) -> Iterator[Row]:
    """Where nobody is inside: without and with hooks, and with so many idle proxies, in so many rounds."""
    plain_most, as_fast = (6.0, 1.1) if BACKEND == "c" else (None, None)
    resource = object()
    plain: list[float] = []
    hooked: list[float] = []
    with no_garbage():
        for _ in range(rounds):
            for samples, hook in ((plain, None), (hooked, id)):
                provider = Provider(resource, interrupt=hook, release=hook)
                kept = provider.proxy()
                kept.access().end()
                samples.append(timed(provider.revoke))
    yield row(GROUP, "an idle provider", "us", plain, plain_most)  # one proxy, for without any it was of no use
    yield row(GROUP, "an idle provider with both hooks, which do nothing", "us", hooked)
    none: list[float] = []
    for proxies, times in crowds.items():
        # In each round a provider without, and one with, all those proxies, at the same distance from the making of them.
        empty: list[float] = []
        crowded: list[float] = []
        with no_garbage():
            for turn in range(times):
                few, lots = Provider(resource), Provider(resource)
                crowd = [lots.proxy() for _ in range(proxies)]
                warm(resource)
                for provider in (few, lots) if turn % 2 else (lots, few):
                    (empty if provider is few else crowded).append(timed(provider.revoke))
                del crowd
        yield row(GROUP, f"one with {proxies:,} idle proxies", "us", crowded, plain_most, curve="idle proxies", x=proxies)
        yield row(GROUP, f"one with {proxies:,} idle proxies : one with none", "ratio", ratios(crowded, empty), as_fast)
        none += empty
    yield row(GROUP, "one with no proxy", "us", none, plain_most)


def of_a_pool(rounds: int) -> Iterator[Row]:
    """The nearest that there is: a pool of leases that is closed. It does not wait for a lease that is out."""
    what = "`psycopg_pool`'s `close()`, one connection, not leased"
    try:
        with leases():
            pass
    except ImportError as error:
        yield unmeasured(GROUP, what, "us", f"left out: {error}")
        return
    samples = []
    for _ in range(rounds):
        with leases() as pool:
            samples.append(timed(pool.close))
    yield row(GROUP, what, "us", samples)


def by_threads(rounds: int, numbers: tuple[int, ...]) -> Iterator[Row]:
    """Where so many threads have been inside, at the same time: without the GIL a cell has stripes since then."""
    curve = "threads that were inside"
    resource = object()
    for number in numbers:
        samples = []
        with no_garbage():
            for _ in range(rounds):
                provider = visited(resource, number)
                warm(resource)
                samples.append(timed(provider.revoke))
        who = "1 thread has" if number == 1 else f"{number:,} threads have"
        yield row(GROUP, f"one that {who} been inside", "us", samples, curve=curve, x=number)


def visited(resource: object, number: int) -> Provider[object]:
    """By that many threads, all of which are inside together; two or more until they have met at the cell's stripe."""
    provider = Provider(resource)
    proxy = provider.proxy()
    small = sys.getsizeof(provider._cell)
    all_in = threading.Barrier(number)

    def visit() -> None:
        with proxy.access():
            all_in.wait()
        if FREE_THREADED and BACKEND == "c" and number > 1:
            for _ in range(1000):
                if sys.getsizeof(provider._cell) != small:
                    return
                for _ in range(1000):
                    proxy.access().end()

    threads = [threading.Thread(target=visit) for _ in range(number)]
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
    while not provider._removal._bell._ropes and thread.is_alive():
        time.sleep(0.0005)
    time.sleep(0.001)  # the rope hangs: a moment later the remover sleeps
    ended()
    thread.join()
    return stamps[0], stamps[1]


def crowded(size: int) -> tuple[float, float]:
    """Microseconds of the removal of one with so many open sections: the denial, the ends, and the return.

    Of the clock, without the wait for the thread that ends them; and of the processors, for comparing few with many: what takes
    long is interrupted more often, on a machine that has anything else to do.
    """
    denied: list[int] = []
    provider = Provider(object(), interrupt=lambda _: denied.append(perf_counter_ns()))
    proxy = provider.proxy()
    sections = [proxy.access() for _ in range(size)]
    begun: list[int] = []

    def end() -> None:
        begun.append(perf_counter_ns())
        for section in sections:
            section.end()

    with no_garbage():
        worked = process_time_ns()
        called, returned = removed_by_another(provider, end)
        worked = process_time_ns() - worked
    return (denied[0] - called + returned - begun[0]) / 1000, worked / 1000


def many(rounds: Mapping[int, int], linear: tuple[int, int]) -> Iterator[Row]:
    """With so many sections open, in so many rounds, which then end."""
    worked: dict[int, list[float]] = {}
    for size, times in rounds.items():
        samples = [crowded(size) for _ in range(times)]
        worked[size] = [work for _, work in samples]
        title = f"one with {size:,} open sections, all ends included"
        yield row(GROUP, title, "us", [took for took, _ in samples], curve="open sections, all ends included", x=size)
    fewest = min(rounds)
    alone = median(worked.pop(fewest))  # nearly all of it is that of the thread that removes
    costs = {size: [1000 * (work - alone) / size for work in works] for size, works in worked.items()}
    for size, each in costs.items():
        yield row(GROUP, f"the same in processor time, for each of {size:,} sections, over that with {fewest}", "ns", each)
    few, lots = linear
    for size, each in costs.items():
        if size >= lots:
            what = f"linear: for each of {size:,} sections : for each of {few:,}"
            bound = 2.0 if BACKEND == "c" and size == lots else None
            relative = ratios(each, [median(costs[few])] * len(each))
            yield row(GROUP, what, "ratio", relative, bound, note=f"a quadratic cost would be {size // few}")


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
