"""The rows, from what the program says. For a process that loaded the program before `ref_proxy`: `__main__.py` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.measure import FREE_THREADED, no_garbage
from benchmarks.native.program import FLAVOURS, module
from benchmarks.rows import Row, over, ratios, row, unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Samples = dict[str, list[float]]

__all__ = ["grace_periods", "prototypes", "rows", "sections"]

GUARANTEE = "without the GIL's guarantee" if FREE_THREADED else "with the GIL's guarantee"
MOST = 15.0 if FREE_THREADED else 6.0  # nanoseconds of access and end
CAPSULE_MOST = 3.0
MB_LEAST = 4.0
STRIPE = "a stripe's lock, in a prototype"


def in_turns(timed: dict[str, Callable[[int], int]], rounds: int, count: int) -> Samples:
    """Nanoseconds of each, round by round; every round begins with another one."""
    names = list(timed)
    times: Samples = {name: [] for name in names}
    with no_garbage():
        for name in names:
            timed[name](count)
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(timed[name](count) / count)
    return times


def net(times: Samples) -> Samples:
    """Without the loop itself, round by round."""
    empty = times.pop("")
    return {name: [t - e for t, e in zip(taken, empty, strict=True)] for name, taken in times.items()}


def sections(rounds: int, count: int) -> Iterator[Row]:
    """An access and its end."""
    native, why = module()
    from ref_proxy import Provider

    group = f"access and end in C, {GUARANTEE}"
    with Provider(object(), name="resource") as provider, Provider(object(), name="grown") as large:
        proxy, grown = provider.proxy(), large.proxy()
        native.grow(grown)
        timed: dict[str, Callable[[int], int]] = {
            "": native.empty,
            "ours": lambda n: native.sections(proxy, n),
            "grown": lambda n: native.sections(grown, n),
            "capsule": lambda n: native.capsule_sections(proxy, n),
            "exchanges": native.exchanges,
        }
        for flavour in native.flavours:
            timed[flavour] = lambda n, flavour=flavour: native.urcu_sections(flavour, n)
        if "qsbr" in native.flavours:
            timed["qsbr reported"] = lambda n: native.urcu_sections("qsbr", n, True)
        times = net(in_turns(timed, rounds, count))
    yield row(group, "access and end", "ns", times["ours"], MOST)
    yield row(group, "the same through the C interface, over that", "ns", over(times["capsule"], times["ours"]), CAPSULE_MOST)
    for flavour in FLAVOURS:
        bound = MB_LEAST if flavour == "mb" else None
        what = f"liburcu-{flavour}'s : access and end"
        if flavour in times:
            yield row(group, what, "ratio", ratios(times[flavour], times["ours"]), bound, at_least=True)
        else:
            yield unmeasured(group, what, "ratio", why, bound, at_least=True)
    if FREE_THREADED:
        yield row(group, "access and end, of a provider with 65 stripes", "ns", times["grown"])
    yield row(group, "twice an atomic exchange and a store, and nothing else", "ns", times["exchanges"])
    titles = {flavour: f"liburcu-{flavour}, `rcu_read_lock()` and `rcu_read_unlock()`" for flavour in FLAVOURS}
    titles["qsbr reported"] = "liburcu-qsbr, the same and `rcu_quiescent_state()`"
    for name, title in titles.items():
        if name in times:
            yield row(group, title, "ns", times[name])
        else:
            yield unmeasured(group, title, "ns", why)


def grace_periods(rounds: int, count: int) -> Iterator[Row]:
    """Where nobody is inside: with no thread that has been a reader, and with one that has, and is idle."""
    import threading

    native, why = module()
    from ref_proxy import Provider

    group = f"a grace period in C, {GUARANTEE}"
    finish, started = threading.Event(), threading.Event()
    with Provider(object(), name="resource") as provider, Provider(object(), name="grown") as large:
        proxy, grown = provider.proxy(), large.proxy()
        stripes = native.grow(grown)

        def read() -> None:
            for each in (proxy, grown):
                each.access().end()
            started.set()
            finish.wait()

        for readers in (0, 1):
            thread = threading.Thread(target=read)
            if readers:
                thread.start()
                started.wait()
            timed: dict[str, Callable[[int], int]] = {"ours": lambda n: native.grace_periods(proxy, n)}
            if stripes > 1:
                timed["grown"] = lambda n: native.grace_periods(grown, n)
            for flavour in native.flavours:
                timed[flavour] = lambda n, flavour=flavour, readers=readers: native.urcu_grace_periods(flavour, n, readers)
            times = in_turns(timed, rounds, count)
            if readers:
                finish.set()
                thread.join()
            idle = "one idle reader" if readers else "no reader"
            yield row(group, f"{idle}: `replace()`'s part in C", "ns", times["ours"])
            if "grown" in times:
                yield row(group, f"{idle}: the same, of a provider with {stripes} stripes", "ns", times["grown"])
            for flavour in FLAVOURS:
                what = f"{idle}: liburcu-{flavour}, `synchronize_rcu()`"
                if flavour in times:
                    yield row(group, what, "ns", times[flavour])
                    yield row(group, f"{idle}: liburcu-{flavour}'s : ours", "ratio", ratios(times[flavour], times["ours"]))
                else:
                    yield unmeasured(group, what, "ns", why)


def prototypes(rounds: int, count: int) -> Iterator[Row]:
    """What a stripe's lock could be, and how far apart stripes should be."""
    native, _ = module()
    locks: tuple[str, ...] = native.locks
    titles = {
        "nothing": "no lock",
        "exchange": "exchange and store, as it is",
        "swap": "exchange and exchange",
        "mutex": "`PyMutex`",
        "membarrier": "the owner's plain stores, `membarrier()` for others",
    }
    timed: dict[str, Callable[[int], int]] = {"": native.empty}
    for lock in locks:
        timed[lock] = lambda n, lock=lock: native.stripe_sections(lock, n)
    times = net(in_turns(timed, rounds, count))
    for lock in locks:
        yield row(STRIPE, f"access and end: {titles[lock]}", "ns", times[lock])
    scanners = [lock for lock in locks if lock != "nothing"]
    for busy in (False, True):
        timed = {lock: lambda n, lock=lock, busy=busy: native.stripe_scans(lock, busy, n) for lock in scanners}
        times = in_turns(timed, rounds, max(count // 100, 10))
        for lock in scanners:
            what = "one of them in use by a thread that never rests" if busy else "all idle"
            yield row(STRIPE, f"to lock 64 stripes, {what}: {titles[lock]}", "ns", times[lock])
    if len(os.sched_getaffinity(0)) < 2:
        for lock in locks:
            yield unmeasured(STRIPE, f"two threads: {titles[lock]}", "ns", "there is one processor")
        return
    distances = (32, 64, 128, 256)
    timed = {
        f"{lock} {apart}": lambda n, lock=lock, apart=apart: native.stripe_race(lock, apart, n)
        for lock in locks
        for apart in distances
    }
    times = in_turns(timed, max(rounds // 2, 2), count * 5)
    for lock in locks:
        for apart in distances:
            yield row(STRIPE, f"two threads, stripes {apart} bytes apart: {titles[lock]}", "ns", times[f"{lock} {apart}"])


def rows(quick: bool) -> Iterator[Row]:
    """All of them."""
    yield from sections(*(3, 1000) if quick else (200, 50_000))
    yield from grace_periods(*(3, 50) if quick else (100, 2000))
    yield from prototypes(*(3, 1000) if quick else (100, 50_000))
