"""What the Python twin costs, against the reader section of a readers-writer lock that is written in Python too."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.access import WITH_ACCESS
from benchmarks.measure import in_turns, loop
from benchmarks.peers import get
from benchmarks.rows import ratios, row, unmeasured
from ref_proxy import _core_py

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rows import Row

__all__ = ["twin"]

GROUP = "the Python twin"


def twin(rounds: int, count: int) -> Iterator[Row]:
    what = "`with proxy.access()` : `readerwriterlock`'s reader section"
    try:
        rwlock = get("readerwriterlock.rwlock")
    except ImportError as error:
        yield unmeasured(GROUP, what, "ratio", f"left out: {error}", 1.0)
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
    yield row(GROUP, what, "ratio", ratios(times["ours"], times[cheapest]), 1.0, note=f"{cheapest}, the cheapest flavour")
    kept = "the same : one that the thread keeps, and that is not made anew"
    yield row(GROUP, kept, "ratio", ratios(times["ours"], times["kept"]))
    yield row(GROUP, "`with proxy.access(): pass`", "ns", times["ours"])
    for name in flavours:
        yield row(GROUP, f"`with {name}().gen_rlock()`", "ns", times[name])
