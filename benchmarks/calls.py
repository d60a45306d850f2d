"""What a call through a guarded object costs: against the call in a `with proxy.access()`, and against the bare call."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from benchmarks.measure import in_turns, loop
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


def calls(rounds: int, count: int) -> Iterator[Row]:
    """One thread."""
    most, most_over = (1.0, 60.0) if BACKEND == "c" else (None, None)
    for title, (kind, call) in CALLS.items():
        with Provider(kind(), name="resource") as provider:
            proxy = provider.proxy()
            times = in_turns(
                {
                    "guarded": loop(f"x.{call}", x=guarded(proxy)),
                    "with": loop(f"with x.access() as r: r.{call}", x=proxy),
                    "bare": loop(f"x.{call}", x=kind()),
                },
                rounds,
                count,
            )
        yield row(GROUP, f"{title}, guarded : in `with proxy.access()`", "ratio", ratios(times["guarded"], times["with"]), most)
        more = over(times["guarded"], times["bare"])
        yield row(GROUP, f"{title}, guarded, over the bare call", "ns", more, most_over if title in IN_C else None)
        yield row(GROUP, f"{title}, bare", "ns", times["bare"])
