"""What ref_proxy takes: memory, making, importing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import ref_proxy
from benchmarks.measure import in_turns, loop, no_garbage
from benchmarks.rows import row
from ref_proxy import BACKEND, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from benchmarks.rows import Row

__all__ = ["importing", "making", "memory"]


def traced(make: Callable[[], object], drop: Callable[[Any], object] = id, count: int = 1000) -> float:
    """Bytes that each of many takes, whoever allocated them: what `sys.getsizeof` is checked against."""
    kept: list[object] = [None] * count
    tracemalloc.start(1)
    try:
        drop(make())
        before = tracemalloc.get_traced_memory()[0]
        for i in range(count):
            kept[i] = make()
        return (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
        for each in kept:
            drop(each)


def parts(provider: Provider[Any]) -> dict[str, object]:
    """The objects that a provider is made of, but for its resource and its name, and what hangs off them."""
    cell, bell, removal = provider._cell, provider._removal._bell, provider._removal
    found = {"provider": provider, "cell": cell, "bell": bell, "its ropes": bell._ropes}
    return {**found, "its `ring`": bell.ring, "removal": removal, "its claims": removal._claims}


def memory() -> Iterator[Row]:
    group = "memory"
    c = BACKEND == "c"
    provider = Provider(object(), name="resource")
    proxy = provider.proxy("reader")
    yield row(group, "a proxy, by `sys.getsizeof`", "bytes", [sys.getsizeof(proxy)], 80 if c else None)
    section = proxy.access()
    yield row(group, "a section, by `sys.getsizeof`", "bytes", [sys.getsizeof(section)])
    section.end()
    sizes = {name: sys.getsizeof(part) for name, part in parts(provider).items()}
    provider.revoke()

    resource = object()
    with no_garbage():
        everything = traced(lambda: Provider(resource, name="resource"), Provider.revoke)
        named = traced(lambda: Provider(resource), Provider.revoke)
    note = ", ".join(f"{name} {size}" for name, size in sizes.items())
    yield row(
        group, "a provider with its cell, by `sys.getsizeof`", "bytes", [sum(sizes.values())], 600 if c else None, note=note
    )
    yield row(
        group,
        "a provider with its cell, by `tracemalloc`",
        "bytes",
        [everything],
        600 if c else None,
        note="all that it allocates, its publication included; a name that is the caller's",
    )
    yield row(group, "the same, with a name that it makes up", "bytes", [named])


def making(rounds: int, count: int) -> Iterator[Row]:
    group = "making"
    bound = 400.0 if BACKEND == "c" else None
    provider = Provider(object(), name="resource")

    def kept(count: int, make: Callable[[], object] = provider.proxy) -> int:
        proxies: list[object] = []
        keep = proxies.append
        begun = time.perf_counter_ns()
        for _ in range(count):
            keep(make())
        return time.perf_counter_ns() - begun

    def made(count: int, resource: object = object()) -> int:
        begun = time.perf_counter_ns()
        providers = [Provider(resource) for _ in range(count // 20)]
        took = (time.perf_counter_ns() - begun) * 20
        for each in providers:
            each.revoke()
        return took

    loops = {"dropped": loop("make()", make=provider.proxy), "kept": kept, "provider": made}
    times = in_turns(loops, rounds, count)
    provider.revoke()
    yield row(group, "a proxy, made and dropped", "ns", times["dropped"], bound)
    yield row(group, "a proxy, made and kept", "ns", times["kept"], bound)
    yield row(group, "a provider, made and kept", "ns", times["provider"])


def importing(rounds: int) -> Iterator[Row]:
    """In fresh processes, with and without in turns; compiled before, as an installed package is."""
    group = "import"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ["PYTHONPATH"] = str(Path(ref_proxy.__file__).resolve().parent.parent)
    environ["REF_PROXY_BACKEND"] = BACKEND

    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout

    def timed(code: str) -> float:
        begun = time.perf_counter_ns()
        run(code)
        return (time.perf_counter_ns() - begun) / 1e6

    inside = "from time import perf_counter_ns as now; begun = now(); import ref_proxy; print(now() - begun)"
    run("import ref_proxy")
    bare, full, within = [], [], []
    for turn in range(rounds):
        if turn % 2:
            full.append(timed("import ref_proxy"))
            bare.append(timed("pass"))
        else:
            bare.append(timed("pass"))
            full.append(timed("import ref_proxy"))
        within.append(int(run(inside)) / 1e6)
    yield row(group, "`import ref_proxy`, over bare Python", "ms", [a - b for a, b in zip(full, bare, strict=True)], 15.0)
    yield row(group, "the import statement alone", "ms", within)
    yield row(group, "bare Python", "ms", bare)
    names = run(
        "import sys; before = set(sys.modules); import ref_proxy\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names - {'ref_proxy'})"
    ).split()
    yield row(group, "modules outside the standard library", "count", [len(names)], 0, note=", ".join(sorted(names)))
