"""What a million proxies, or open sections, take: memory all told, and what is given back afterwards. In a process of their own.

`python -m benchmarks.millions proxies|sections|objects COUNT` prints the bytes, as JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

from benchmarks.measure import elsewhere, resident
from benchmarks.rows import row, unmeasured
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rows import Row

__all__ = ["millions"]

GROUP = "memory"


class Plain:
    """What others take of memory, and give back: an object of about the same size."""

    __slots__ = ("five", "four", "one", "three", "two")


def makers(provider: Provider[Any]) -> dict[str, Callable[[], Any]]:
    return {"proxies": provider.proxy, "sections": provider.proxy().access, "objects": Plain}


def measured(what: str, count: int) -> dict[str, list[float] | float | None]:
    """Bytes of each, and what is left of each when they are gone: by the system's account, twice, and by tracemalloc's."""
    kept: list[Any] = [None] * count  # filled in place, so that the list does not count

    def live(used: Callable[[], int | None]) -> tuple[float, float] | None:
        before = used()
        provider = Provider(object(), name="resource")
        make = makers(provider)[what]
        for i in range(count):
            kept[i] = make()
        full = used()
        for i in range(count):
            if what == "sections":
                kept[i].end()
            kept[i] = None
        provider.revoke()
        del provider, make
        gc.collect()
        after = used()
        return None if before is None or full is None or after is None else ((full - before) / count, (after - before) / count)

    gc.collect()
    gc.disable()
    found = {"resident": live(resident), "resident again": live(resident)}
    tracemalloc.start(1)
    found["traced"] = live(lambda: tracemalloc.get_traced_memory()[0])
    return found


def millions(count: int) -> Iterator[Row]:
    for what, most in (("proxies", 80), ("sections", None), ("objects", None)):
        found = elsewhere("benchmarks.millions", what, count)
        ours = what != "objects" and BACKEND == "c"
        title = f"{count:,} {what if what != 'objects' else 'plain objects with five slots'}"
        each, left = found["traced"]
        yield row(GROUP, f"{title}, each, by `tracemalloc`", "bytes", [each], most if ours else None)
        yield row(GROUP, f"{title}, gone: left of each, by `tracemalloc`", "bytes", [left], 1 if ours else None)
        if found["resident"] is None:
            why = "this system does not say how much memory a process has"
            yield unmeasured(GROUP, f"{title}, each, all told, by the resident memory", "bytes", why, most if ours else None)
            continue
        each, left = found["resident"]
        yield row(GROUP, f"{title}, each, all told, by the resident memory", "bytes", [each], most if ours else None)
        kept = "the interpreter keeps of each, resident"
        yield row(GROUP, f"{title}, gone: {kept}", "bytes", [left], note="an allocator may keep memory for what comes next")
        yield row(GROUP, f"{title}, made and gone once more: {kept}", "bytes", [left + found["resident again"][1]])


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]))))
