"""How things are measured here: statements in a loop, in turns, in one process; or a whole module in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    Loop = Callable[[int], int]  # runs so many times, returns nanoseconds

__all__ = ["FREE_THREADED", "coroutine_loop", "elsewhere", "in_turns", "loop", "no_garbage", "resident"]

FREE_THREADED = hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled()


def loop(statement: str, **names: object) -> Loop:
    """A loop over the statement, in which each of `names` is a local variable."""
    run: Loop = _compiled("def", statement, names)
    return run


def coroutine_loop(runner: asyncio.Runner, statement: str, **names: object) -> Loop:
    """The same loop in a task: what it takes to start and end the task is not timed."""
    run = _compiled("async def", statement, names)
    return lambda count: runner.run(run(count))


def _compiled(define: str, statement: str, names: dict[str, object]) -> Any:
    source = (
        f"{define} run(count, _repeat=_repeat, _now=_now, {', '.join(f'{name}={name}' for name in names)}):\n"
        "    turns = _repeat(None, count)\n"
        "    begun = _now()\n"
        "    for _ in turns:\n"
        f"        {statement}\n"
        "    return _now() - begun\n"
    )
    scope: dict[str, Any] = {"_repeat": repeat, "_now": time.perf_counter_ns, **names}
    exec(source, scope)
    return scope["run"]


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


def in_turns(loops: Mapping[str, Loop], rounds: int, count: int, empty: Loop | None = None) -> dict[str, list[float]]:
    """Nanoseconds a statement, net of the empty loop of the same round, which is there as "" itself.

    Every round runs each loop once, beginning with another one each time, and is short: a busy neighbour spoils single rounds,
    which a median leaves out, and falls on all loops alike.
    """
    loops = {"": empty or loop("pass"), **loops}
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
    base = times[""]
    return {"": base, **{name: [t - e for t, e in zip(times[name], base, strict=True)] for name in names if name}}


def elsewhere(module: str, *arguments: object) -> Any:
    """What `python -m module arguments...` prints, as JSON: by this interpreter, with this twin, in a process of its own."""
    from ref_proxy import BACKEND  # not before: what measures in C brings a twin of its own

    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "REF_PROXY_BACKEND": BACKEND}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return json.loads(subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout)


def resident() -> int | None:
    """The bytes of memory that this process has; None where the system does not say it in `/proc`."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
