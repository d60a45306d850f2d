"""Between processes: what a section costs in one that is attached, and what a removal costs that crosses over to many."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.crossing import CROWD
from benchmarks.measure import elsewhere
from benchmarks.rows import over, ratios, row, unmeasured
from ref_proxy import BACKEND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.rows import Row

__all__ = ["remote"]

CROSSING = "benchmarks.crossing"
UNIX, POSTGRES = "between processes of one host", "between processes, through PostgreSQL on loopback"
LINEAR = 2.0  # as for a removal within one process
REMOVED = f"a removal with {CROWD} idle workers"
KILLED = "what one of them adds that is killed at that moment"
INSIDE = "from the end of one that is killed inside to the return of the waiting `revoke()`"


def remote(launches: int, rounds: int, count: int, crowds: Mapping[int, int], times: int) -> Iterator[Row]:
    """`crowds`: how many workers, and in how many rounds."""
    if not sys.platform.startswith("linux"):
        for group, what in ((UNIX, REMOVED), (POSTGRES, REMOVED)):
            yield unmeasured(group, what, "ms", "left out: its workers are ended as only Linux can")
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        address = f"unix:{directory}/name"
        yield from sections(UNIX, address, launches, rounds, count)
        yield from idle(address, crowds)
        yield from removals(UNIX, address, times, 5.0, 20.0)
    yield from through_postgres(launches, rounds, count, times)


def sections(group: str, address: str, launches: int, rounds: int, count: int) -> Iterator[Row]:
    times: dict[str, list[float]] = {"local": [], "attached": []}
    for _ in range(launches):
        measured = elsewhere(CROSSING, "sections", address, rounds, count)
        for name, samples in times.items():
            samples += measured[name]
    what = "`with proxy.access()` in a process that is attached : of a provider of its own"
    yield row(group, what, "ratio", ratios(times["attached"], times["local"]), 1.1 if BACKEND == "c" else None)
    yield row(group, "`with proxy.access()` in a process that is attached", "ns", times["attached"])


def idle(address: str, crowds: Mapping[int, int]) -> Iterator[Row]:
    """With so many workers that hold it, and are not inside."""
    took: dict[int, list[float]] = {}
    for workers, rounds in crowds.items():
        measured = elsewhere(CROSSING, "removals", address, workers, rounds)
        took[workers] = measured["removal"]
        if workers == 1:
            yield row(UNIX, "`attach()`", "ms", measured["attach"])
        bound = 5.0 if workers == CROWD else None
        what = f"a removal with {workers or 'no'} idle worker{'s' * (workers != 1)}"
        yield row(UNIX, what, "ms", took[workers], bound, curve="workers", x=workers)
    alone = median(took[0])
    each = {workers: [(one - alone) / workers for one in samples] for workers, samples in took.items() if workers >= CROWD}
    for workers, samples in each.items():
        yield row(UNIX, f"the same, for each of {workers} workers, over that with none", "ms", samples)
    few = median(each[CROWD])
    for workers, samples in each.items():
        if workers > CROWD:
            what = f"linear: for each of {workers} workers : for each of {CROWD}"
            note = f"a quadratic cost would be {workers // CROWD}"
            yield row(UNIX, what, "ratio", [one / few for one in samples], LINEAR if workers == max(each) else None, note=note)


def removals(group: str, address: str, times: int, bound: float, killed_bound: float) -> Iterator[Row]:
    """What is the same through each back end: where one is killed, and a replacement."""
    measured = elsewhere(CROSSING, "killed", address, times)
    if group != UNIX:
        yield row(group, REMOVED, "ms", measured["all alive"], bound)
    yield row(group, KILLED, "ms", over(measured["one killed"], measured["all alive"]), killed_bound)
    yield row(group, INSIDE, "ms", measured["killed inside"], killed_bound)
    replaced = elsewhere(CROSSING, "replacements", address, times)
    yield row(group, f"`replace()` with {CROWD} idle workers", "ms", replaced["replace"])


def through_postgres(launches: int, rounds: int, count: int, times: int) -> Iterator[Row]:
    try:
        with server() as address:
            yield from sections(POSTGRES, f"{address}#bench", launches, rounds, count)
            yield from removals(POSTGRES, f"{address}#bench", times, 60.0, 100.0)
    except (ImportError, Lacking) as error:
        yield unmeasured(POSTGRES, REMOVED, "ms", f"left out: {error}", 60.0)
        yield unmeasured(POSTGRES, KILLED, "ms", f"left out: {error}", 100.0)


class Lacking(Exception):
    """There is no server to be had here."""


@contextmanager
def server() -> Iterator[str]:
    """The address of one on loopback, without a name: that of the tests."""
    from ref_proxy.remote import libpq  # noqa: F401  # which needs psycopg
    from tests.remote import server as servers

    try:
        own = servers.PostgresServer()
    except servers.Lacking as lacking:
        raise Lacking(lacking) from None
    try:
        yield own.uri()
    finally:
        own.remove()
