"""How soon `replace()` returns while readers keep coming: after the last section that held the old resource, not after theirs."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from statistics import median
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING

from benchmarks.measure import no_garbage
from benchmarks.rows import row
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rows import Row
    from ref_proxy import Proxy

__all__ = ["replacing"]

READERS = 8
SWITCH = 0.0005  # seconds that a thread keeps the GIL: eight that never let go of it would have a ninth wait for eight times that


class Resource:
    gone = False  # given back by `replace()`: no access may find it

    def read(self) -> bool:
        """Something to do inside, so that a reader is often interrupted there."""
        return self.gone


class Readers:
    """Threads that do nothing but access one shared proxy; and, when asked, let go of a lock between two accesses."""

    def __init__(self, proxy: Proxy[Resource]) -> None:
        self.proxy = proxy
        self.stopped = False
        self.accesses: list[int] = []
        self.wrong: list[int] = []
        self.lock = threading.Lock()
        self.asked: list[list[int]] = []  # whoever takes one out notes the time in it, and releases the lock

    def read(self) -> None:
        accesses = wrong = 0
        while not self.stopped:
            with self.proxy.access() as resource:
                accesses += 1
                wrong += resource.read()
            if self.asked:
                try:
                    released = self.asked.pop()
                except IndexError:  # another one was faster
                    continue
                released.append(perf_counter_ns())
                self.lock.release()
        self.accesses.append(accesses)
        self.wrong.append(wrong)

    def hand_over(self) -> float:
        """Microseconds from the release of the lock, by one of them, until it is acquired here."""
        released: list[int] = []
        self.lock.acquire()
        self.asked.append(released)
        self.lock.acquire()
        acquired = perf_counter_ns()
        self.lock.release()
        return (acquired - released[0]) / 1000


@contextmanager
def busy(readers: Readers) -> Iterator[None]:
    threads = [threading.Thread(target=readers.read) for _ in range(READERS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        with no_garbage():
            for thread in threads:
                thread.start()
            yield
    finally:
        readers.stopped = True
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)


def replaced(provider: Provider[Resource]) -> tuple[float, float]:
    """Microseconds of one replacement as a whole, and of it those after the last end of a section of the old resource.

    The provider's bell is rung by the thread that ended the last one, and what is hung up first is called first.
    """
    ended: list[int] = []
    peg = provider._removal._bell.hang(lambda: ended.append(perf_counter_ns()))
    begun = perf_counter_ns()
    old = provider.replace(Resource())
    returned = perf_counter_ns()
    old.gone = True
    provider._removal._bell.unhang(peg)
    return (returned - begun) / 1000, (returned - max([begun, *ended[:1]])) / 1000


def replacing(rounds: int, seconds: float) -> Iterator[Row]:
    """In turns with the least that a wait for another thread takes here: for a lock that one of the same readers lets go of."""
    group = f"replacing under {READERS} busy readers of one shared proxy"
    whole: list[float] = []
    late: list[float] = []
    handed: list[float] = []
    with Provider(Resource(), name="resource") as provider:
        readers = Readers(provider.proxy())
        with busy(readers):
            begun = monotonic()
            while len(whole) < rounds and monotonic() < begun + seconds:
                took, after = replaced(provider)
                whole.append(took)
                late.append(after)
                handed.append(readers.hand_over())
            took = monotonic() - begun
    after, lock = "from the last end of an old section to the return", "from a reader's release of a lock to its acquisition"
    bound = 1.5 if BACKEND == "c" else None
    yield row(group, "accesses to a resource that had been given back", "count", [sum(readers.wrong)], 0)
    yield row(group, f"{after} : {lock}", "ratio", [each / median(handed) for each in late], bound)
    yield row(group, "`replace()` as a whole", "us", whole)
    for name, samples in ((after, late), (lock, handed)):
        yield row(group, name, "us", samples)
        yield row(group, f"{name}: 99 of 100 are below", "us", [sorted(samples)[len(samples) * 99 // 100]])
    yield row(group, "replacements", "count", [len(whole)], note=f"{rounds:,}, or as many as {seconds} seconds allow")
    yield row(group, "accesses meanwhile, of all readers, a second", "count", [sum(readers.accesses) / took])
