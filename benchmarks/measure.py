"""How things are measured here: statements in a loop, in turns, in one process; medians and quartiles of the turns."""

from __future__ import annotations

import gc
import os
import sys
import time
from contextlib import contextmanager
from itertools import repeat
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Loop = Callable[[int], int]  # runs so many times, returns nanoseconds

FREE_THREADED = hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled()


class Row(NamedTuple):
    """One figure: a median with its quartiles, and, where it is one of the promised measures, the most it may be."""

    group: str
    what: str
    unit: str
    median: float | None  # None: not measured, and `note` says why
    low: float | None
    high: float | None
    samples: int
    limit: float | None = None
    at_least: bool = False  # the limit is one from below
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.median is None:
            return "not measured"
        if self.limit is None:
            return ""
        return "within" if (self.median >= self.limit if self.at_least else self.median <= self.limit) else "MISSED"


def row(group: str, what: str, unit: str, samples: Sequence[float], limit: float | None = None, **more: Any) -> Row:
    low, middle, high = quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [*samples] * 3
    return Row(group, what, unit, middle, low, high, len(samples), limit, **more)


def unmeasured(group: str, what: str, unit: str, why: str, limit: float | None = None, at_least: bool = False) -> Row:
    return Row(group, what, unit, None, None, None, 0, limit, at_least, why)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Turn by turn: what slows one turn down slows both sides of its ratio."""
    return [a / b for a, b in zip(above, below, strict=True)]


def loop(statement: str, **names: object) -> Loop:
    """A loop over the statement, in which each of `names` is a local variable."""
    source = (
        f"def run(count, _repeat=_repeat, _now=_now, {', '.join(f'{name}={name}' for name in names)}):\n"
        "    turns = _repeat(None, count)\n"
        "    begun = _now()\n"
        "    for _ in turns:\n"
        f"        {statement}\n"
        "    return _now() - begun\n"
    )
    scope: dict[str, Any] = {"_repeat": repeat, "_now": time.perf_counter_ns, **names}
    exec(source, scope)
    run: Loop = scope["run"]
    return run


@contextmanager
def no_garbage() -> Iterator[None]:
    """Collections fall into one turn and not into the next: none while something is timed, one before."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def in_turns(loops: dict[str, Loop], rounds: int, count: int) -> dict[str, list[float]]:
    """Nanoseconds a statement, net of the empty loop of the same round, which is there as "" itself.

    Every round runs each loop once, beginning with another one each time, and is short: a busy neighbour spoils single rounds,
    which a median leaves out, and falls on all loops alike.
    """
    loops = {"": loop("pass"), **loops}
    names = list(loops)
    times: dict[str, list[float]] = {name: [] for name in names}
    with no_garbage():
        for name in names:
            for _ in range(3):
                loops[name](min(count, 2000))  # the interpreter specialises what it has run
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(loops[name](count) / count)
    empty = times[""]
    return {"": empty, **{name: [t - e for t, e in zip(times[name], empty, strict=True)] for name in names if name}}


def load() -> float | None:
    """How many wanted a processor in the last minute: those who measure, and their neighbours."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine() -> dict[str, object]:
    """Where and what was measured."""
    import platform
    import subprocess
    import sysconfig
    from pathlib import Path

    import ref_proxy
    from ref_proxy.torture.machine import cpu

    def git(*args: str) -> str | None:
        root = Path(__file__).resolve().parent.parent
        try:
            return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    changed = git("status", "--porcelain", "--", "src", "benchmarks")
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version() + (" free-threaded" if FREE_THREADED else ""),
        "build": sys.version,
        "compiler flags": sysconfig.get_config_var("CFLAGS"),
        "backend": ref_proxy.BACKEND,
        "version": ref_proxy.__version__,
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "when": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": load(),
    }


__all__ = ["FREE_THREADED", "Row", "in_turns", "load", "loop", "machine", "median", "no_garbage", "ratios", "row", "unmeasured"]
