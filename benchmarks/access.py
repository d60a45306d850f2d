"""What one access costs, in one thread: against a context manager that does nothing, against a lock, and against the peers."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import limit
from benchmarks.measure import FREE_THREADED, elsewhere, in_turns, loop
from benchmarks.peers import PEERS
from benchmarks.rows import Row, over, ratios, row, unmeasured
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WITH_ACCESS", "access", "against_peers"]

WITH_ACCESS = "with x.access(): pass"
NESTED = "with x.access():\n            with x.access(): pass"


def measured(rounds: int, count: int) -> dict[str, list[float]]:
    """Nanoseconds of each statement, in this process."""
    module = limit.load()
    resource = object()
    provider = Provider(resource, name="resource")
    proxy, nothing, lock = provider.proxy(), module.Limit(resource), threading.Lock()
    times = in_turns(
        {
            "ours": loop(WITH_ACCESS, x=proxy),
            "limit": loop(WITH_ACCESS, x=nothing),
            "lock": loop("with x: pass", x=lock),
            "tracked": loop(WITH_ACCESS, x=module.Tracked(resource)),
            "static": loop(WITH_ACCESS, x=module.Static(resource)),
            "unbound": loop(WITH_ACCESS, x=module.Unbound(resource)),
            "ours as": loop("with x.access() as r: pass", x=proxy),
            "limit as": loop("with x.access() as r: pass", x=nothing),
            "try": loop("with x.try_access() as r:\n            if r is not None: pass", x=proxy),
            "end": loop("x.access().end()", x=proxy),
            "nested": loop(NESTED, x=proxy),
            "limit nested": loop(NESTED, x=nothing),
        },
        rounds,
        count,
    )
    provider.revoke()
    return times


def access(launches: int, rounds: int, count: int) -> Iterator[Row]:
    """The limits.

    The rounds of several processes: where things come to lie in memory shifts all rounds of a process by some per cent.
    """
    group = "access, one thread"
    least, lock_least = (1.2, 0.7) if FREE_THREADED else (1.05, 0.55)
    titles = {"limit": "a do-nothing context manager", "lock": "`with threading.Lock()`"}
    bounds = {"limit": least, "lock": lock_least} if BACKEND == "c" else {}
    try:
        limit.load()
    except OSError as error:
        for below, title in titles.items():
            yield unmeasured(group, f"`with proxy.access()` : {title}", "ratio", str(error), bounds.get(below))
        return
    times: dict[str, list[float]] = {}
    for _ in range(launches):
        for name, samples in elsewhere("benchmarks.access", rounds, count).items():
            times.setdefault(name, []).extend(samples)
    raw = {name: [t + e for t, e in zip(times[name], times[""], strict=True)] for name in times}
    for below, title in titles.items():
        yield row(group, f"`with proxy.access()` : {title}", "ratio", ratios(times["ours"], times[below]), bounds.get(below))
    for below, title in titles.items():
        yield row(group, f"the same, the loop included : {title}", "ratio", ratios(raw["ours"], raw[below]))
    yield row(group, "`with proxy.access()` : one that the collector tracks", "ratio", ratios(times["ours"], times["tracked"]))
    yield row(group, "`with proxy.access()` : one of a static type", "ratio", ratios(times["ours"], times["static"]))
    yield row(group, "`with proxy.access()` : one that is not bound", "ratio", ratios(times["ours"], times["unbound"]))
    yield row(group, "`with ... as r:` : the same of the do-nothing one", "ratio", ratios(times["ours as"], times["limit as"]))
    yield row(group, "one in the other : the same of the do-nothing one", "ratio", ratios(times["nested"], times["limit nested"]))
    yield row(group, "the do-nothing one : `with threading.Lock()`", "ratio", ratios(times["limit"], times["lock"]))
    for name, title in {
        "ours": "`with proxy.access(): pass`",
        "try": "`with proxy.try_access() as r:`, r looked at",
        "end": "`proxy.access().end()`",
        "nested": "`with proxy.access():` in `with proxy.access():`",
        "limit": "`with` the do-nothing one",
        "limit nested": "`with` the do-nothing one in `with` the do-nothing one",
        "tracked": "`with` the one that the collector tracks",
        "static": "`with` the one of a static type",
        "unbound": "`with` the one that is not bound",
        "lock": "`with threading.Lock()`",
        "": "the empty loop",
    }.items():
        yield row(group, title, "ns", times[name])
    yield row(group, "the second of two nested ones", "ns", over(times["nested"], times["ours"]))


def against_peers(rounds: int, count: int) -> Iterator[Row]:
    """All of them in this process, and the proxy with them."""
    group = "access, against the peers"
    provider = Provider(object(), name="resource")
    absent: dict[str, str] = {}
    with ExitStack() as end:
        end.callback(provider.revoke)
        loops = {"ours": loop(WITH_ACCESS, x=provider.proxy())}
        try:
            loops["limit"] = loop(WITH_ACCESS, x=limit.load().Limit(object()))
        except OSError as error:
            absent["limit"] = str(error)
        for name, peer in PEERS.items():
            try:
                loops[name] = end.enter_context(peer.use()).loop()
            except ImportError as error:
                absent[name] = str(error)
        times = in_turns(loops, rounds, count)
    for name, peer in PEERS.items():
        what, bound = f"{name} : `with proxy.access()`", peer.slower if BACKEND == "c" else None
        if name in absent:
            yield unmeasured(group, what, "ratio", f"left out: {absent[name]}", bound, at_least=True)
        else:
            yield row(group, what, "ratio", ratios(times[name], times["ours"]), bound, at_least=True)
    titles = {"ours": "`with proxy.access()`", "limit": "a do-nothing context manager", **{name: name for name in PEERS}}
    for name, title in titles.items():
        if name in absent:
            yield unmeasured(group, title, "ns", f"left out: {absent[name]}")
        else:
            yield row(group, title, "ns", times[name], curve="one access")


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:]))))
