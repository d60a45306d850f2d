"""Builds the program, runs it, and makes rows of it. See the package."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.compiled import build, compiler, load
from benchmarks.machine import load as wanting
from benchmarks.machine import machine
from benchmarks.measure import FREE_THREADED, no_garbage
from benchmarks.rows import Row, ratios, row, show, unmeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Samples = dict[str, list[float]]

__all__ = ["FLAVOURS", "grace_periods", "install", "main", "module", "prototypes", "rows", "sections"]

HERE = Path(__file__).resolve().parent
FLAVOURS = ("memb", "mb", "bp", "qsbr")
PACKAGE = "liburcu-dev"
GUARANTEE = "without the GIL's guarantee" if FREE_THREADED else "with the GIL's guarantee"
MOST = 15.0 if FREE_THREADED else 6.0  # nanoseconds of access and end
CAPSULE_MOST = 3.0
MB_LEAST = 4.0
STRIPE = "a stripe's lock, in a prototype"


def install() -> None:
    """Debian's package of liburcu's headers, where it is missing and this process may install it."""
    source = "#include <urcu.h>\n#include <urcu-qsbr.h>\n"
    found = subprocess.run([compiler(), "-E", "-"], input=source, capture_output=True, text=True, check=False)
    if found.returncode == 0 or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"installing {PACKAGE}")
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", PACKAGE]):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


class Finder(MetaPathFinder):
    """Has `import` find the C twin in this shared object."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return spec_from_file_location(fullname, self._target) if fullname == "ref_proxy._core" else None


@cache
def module() -> tuple[ModuleType, str]:
    """The program as the module `_native`, and why it is without liburcu, or "". OSError where it cannot be built.

    It is the C twin of this process, too: nothing may have imported `ref_proxy` before.
    """
    import sysconfig

    if "ref_proxy" in sys.modules:
        raise RuntimeError("ref_proxy is imported already, with another C twin than that of this program")
    os.environ["REF_PROXY_BACKEND"] = "c"
    why = ""
    with tempfile.TemporaryDirectory(prefix="ref_proxy-native-", ignore_cleanup_errors=True) as where:
        folder = Path(where)
        objects = [folder / f"{flavour}.o" for flavour in FLAVOURS]
        options, libraries = ["-DWITH_LIBURCU"], [f"-lurcu-{flavour}" for flavour in FLAVOURS]
        try:
            for flavour, compiled in zip(FLAVOURS, objects, strict=True):
                build(compiled, [HERE / "flavour.c"], [f"-DFLAVOUR={flavour}", "-c"])
        except OSError as error:
            why = f"{PACKAGE} is not installed" if "urcu" in str(error) and "No such file" in str(error) else str(error)
            objects, options, libraries = [], [], []
        target = folder / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
        build(target, [HERE / "native.c", *objects], [*options, "-pthread"], libraries)
        # Twice the same file, and so the same code in memory: what `_native` times is the twin that runs.
        finder = Finder(target)
        sys.meta_path.insert(0, finder)
        try:
            import ref_proxy
        finally:
            sys.meta_path.remove(finder)
        native = load("_native", target)
    assert ref_proxy.BACKEND == "c"
    assert sys.modules["ref_proxy._core"].__file__ == str(target)
    return native, why


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
    over = [c - o for c, o in zip(times["capsule"], times["ours"], strict=True)]
    yield row(group, "access and end", "ns", times["ours"], MOST)
    yield row(group, "the same through the C interface, over that", "ns", over, CAPSULE_MOST)
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
    over, started = threading.Event(), threading.Event()
    with Provider(object(), name="resource") as provider, Provider(object(), name="grown") as large:
        proxy, grown = provider.proxy(), large.proxy()
        stripes = native.grow(grown)

        def read() -> None:
            for each in (proxy, grown):
                each.access().end()
            started.set()
            over.wait()

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
                over.set()
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the mechanism in C, beside liburcu.")
    parser.add_argument("--quick", action="store_true", help="show that it runs: the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    options = parser.parse_args()
    install()
    try:
        module()
    except OSError as error:
        raise SystemExit(f"nothing is measured in C here: {error}") from error
    where: dict[str, Any] = machine()
    print(f"{where['python']}, {where['cpu']}, commit {where['commit']}, load {where['load']}")
    found: list[Row] = []
    for each in rows(options.quick):
        if not found or found[-1].group != each.group:
            print(f"\n{each.group}")
        found.append(each)
        print(show(each) + (f"  {each.note}" if each.note else ""), flush=True)
    where["load at the end"] = wanting()
    if options.json is not None:
        document = {
            "machine": where,
            "quick": options.quick,
            "rows": [{**each._asdict(), "verdict": each.verdict} for each in found],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
