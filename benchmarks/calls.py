"""What a call through a guarded object costs: against the call in a `with proxy.access()`, and against the bare call."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from typing import TYPE_CHECKING

from benchmarks.measure import elsewhere, in_turns, loop
from benchmarks.rows import over, ratios, row
from ref_proxy import BACKEND, Provider, guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rows import Row

__all__ = ["calls"]

GROUP = "a guarded call"


class Port:
    def method(self) -> None:
        pass


class Slotted:
    __slots__ = ()

    def method(self) -> None:
        pass


# The kinds of methods and types that are called in different ways: in C or in Python, with attributes of the object's own or not.
CALLS = {
    "`bytearray.isascii`": (bytearray, "isascii()"),
    "`list.clear`": (list, "clear()"),
    "`BytesIO.tell`": (BytesIO, "tell()"),
    "a method in Python": (Port, "method()"),
    "a method in Python, of a type with slots": (Slotted, "method()"),
}


IN_C = {title for title, (kind, _) in CALLS.items() if kind.__module__ in {"builtins", "_io"}}


def measured(rounds: int, count: int) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds of each call, in this process."""
    times: dict[str, dict[str, list[float]]] = {}
    for title, (kind, call) in CALLS.items():
        with Provider(kind(), name="resource") as provider:
            proxy = provider.proxy()
            times[title] = in_turns(
                {
                    "guarded": loop(f"x.{call}", x=guarded(proxy)),
                    "with": loop(f"with x.access() as r: r.{call}", x=proxy),
                    "bare": loop(f"x.{call}", x=kind()),
                },
                rounds,
                count,
            )
    return times


def calls(launches: int, rounds: int, count: int) -> Iterator[Row]:
    """One thread, the rounds of several processes: see `access()`."""
    pooled: dict[str, dict[str, list[float]]] = {title: {"guarded": [], "with": [], "bare": []} for title in CALLS}
    for _ in range(launches):
        for title, times in elsewhere("benchmarks.calls", rounds, count).items():
            for name, samples in pooled[title].items():
                samples.extend(times[name])
    most, most_over = (1.0, 60.0) if BACKEND == "c" else (None, None)
    for title, times in pooled.items():
        yield row(GROUP, f"{title}, guarded : in `with proxy.access()`", "ratio", ratios(times["guarded"], times["with"]), most)
        more = over(times["guarded"], times["bare"])
        yield row(GROUP, f"{title}, guarded, over the bare call", "ns", more, most_over if title in IN_C else None)
        yield row(GROUP, f"{title}, bare", "ns", times["bare"])


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:]))))
