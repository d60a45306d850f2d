"""What it costs to remove a device with very many providers: for each of them no more than with few, and no memory is left.

In processor time, of all threads: the large ones take so long that a busy machine would interrupt them, and the small ones not.
"""

from __future__ import annotations

import gc
import threading
import tracemalloc
from statistics import median
from time import process_time_ns
from typing import TYPE_CHECKING, Any

from benchmarks.measure import no_garbage
from benchmarks.rows import row
from ref_proxy import BACKEND, Device

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.rows import Row
    from ref_proxy import Proxy

__all__ = ["devices"]

GROUP = "a device with many providers"


def plugged(count: int) -> tuple[Device, list[Proxy[Any]]]:
    """A device, and a proxy of each of its providers."""
    device = Device("device")
    resource = object()
    return device, [device.provide(resource, release=id, name="resource").proxy() for _ in range(count)]


def idle(count: int) -> tuple[float, float]:
    """Microseconds to make it, and to remove it where nobody is inside."""
    with no_garbage():
        begun = process_time_ns()
        device, proxies = plugged(count)
        made = process_time_ns()
        device.remove()
        removed = process_time_ns()
    assert all(proxy.revoked for proxy in proxies)
    return (made - begun) / 1000, (removed - made) / 1000


def inside(count: int) -> float:
    """Microseconds of the removal with a section open in each, and of their ends, which another thread makes."""
    with no_garbage():
        device, proxies = plugged(count)
        sections = [proxy.access() for proxy in proxies]
        denied = threading.Event()
        device.provide(object(), interrupt=lambda _: denied.set())
        thread = threading.Thread(target=device.remove)
        begun = process_time_ns()
        thread.start()
        denied.wait()
        for section in sections:
            section.end()
        thread.join()
        return (process_time_ns() - begun) / 1000


def left(count: int) -> tuple[float, float]:
    """Bytes that a provider takes with its proxy, and what is left of it when the device is removed and dropped."""
    plugged(10)[0].remove()
    gc.collect()
    tracemalloc.start(1)
    before = tracemalloc.get_traced_memory()[0]
    device, proxies = plugged(count)
    full = tracemalloc.get_traced_memory()[0]
    device.remove()
    del device, proxies
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (full - before) / count, (after - before) / count


def devices(rounds: Mapping[int, int]) -> Iterator[Row]:
    """Of so many providers, in so many rounds."""
    times: dict[str, dict[int, list[float]]] = {"idle": {}, "a section open in each, all ends included": {}}
    making: dict[int, list[float]] = {}
    for count, often in rounds.items():
        both = [idle(count) for _ in range(often)]
        making[count] = [made for made, _ in both]
        quiet, busy = times.values()
        quiet[count] = [removed for _, removed in both]
        busy[count] = [inside(count) for _ in range(often)]
    few, lots = min(rounds), max(rounds)
    for state, samples in times.items():
        for count in rounds:
            what = f"removing one of {count:,} providers, {state}"
            yield row(GROUP, what, "us", samples[count], curve=f"providers of a device, {state}", x=count)
        yield row(
            GROUP,
            f"linear, {state}: for each of {lots:,} providers : for each of {few:,}",
            "ratio",
            [each / lots / (median(samples[few]) / few) for each in samples[lots]],
            2.0 if BACKEND == "c" else None,
            note=f"a quadratic cost would be {lots // few}",
        )
    for count in rounds:
        yield row(GROUP, f"making one of {count:,} providers, each with a proxy", "us", making[count])
    each, rest = left(lots)
    yield row(GROUP, f"one of {lots:,} providers with its proxy, by `tracemalloc`", "bytes", [each])
    what = "the same, left of it when the device is removed and dropped"
    yield row(GROUP, what, "bytes", [rest], 10 if BACKEND == "c" else None)
