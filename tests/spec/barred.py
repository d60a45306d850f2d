"""The ways through to a resource, tried on a cell that is barred; and the twins, changed so that one of them is open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import ref_proxy
from ref_proxy import BACKEND, Revoked, report
from tests import PATIENCE, building

if TYPE_CHECKING:
    from collections.abc import Callable

ACCESSES = ["access", "guarded call", "try_access"]
WAYS = {"all accesses": ACCESSES, "everything": [*ACCESSES, "live", "revoked", "publish"]}


def named(through: str | list[str]) -> list[str]:
    """A list of ways; those of `WAYS` are open whether the cell is traced or not."""
    return [traced + way for traced in ("", "traced ") for way in WAYS[through]] if isinstance(through, str) else through


def ways_through(twin: Any, prepare: Callable[[Any], Callable[[], None]]) -> list[str]:
    """What is granted, or said, as though the cell were not barred. `prepare(cell)` returns what bars it."""
    through = []
    for traced in (False, True):
        twin.trace((lambda *_: None) if traced else None)
        cell = twin.Cell("resource", "line", int)
        bar = prepare(cell)
        proxy = twin.Proxy(cell)
        call = twin.Method(None, len, print)
        on_it = type("guarded", (twin.Handle,), {"size": call})(proxy)
        bar()
        kind = "traced " if traced else ""
        for way, access in (("access", proxy.access), ("guarded call", on_it.size)):
            try:
                granted = access()
            except Revoked:
                continue
            through.append(kind + way)
            getattr(granted, "end", int)()
        with proxy.try_access() as lent:
            through += [] if lent is None else [f"{kind}try_access"]
        through += [f"{kind}{way}" for way, said in (("live", cell.live), ("revoked", not proxy.revoked)) if said]
        through += [f"{kind}publish"] if cell.publish("new") else []
    twin.trace(report.note_access if report.noting else None)
    return through


def changed(old: str, new: str, folder: Path) -> Any:
    """The twin that is under test, from a source that was changed in one place."""
    package = Path(ref_proxy.__file__).parent
    path = package / ("_core.c" if BACKEND == "c" else "_core_py.py")
    source = path.read_text(encoding="utf-8")
    assert source.count(old) == 1, old
    (folder / path.name).write_text(source.replace(old, new), encoding="utf-8")
    if BACKEND == "c":
        return building.load(building.build(folder / path.name, folder, "-O0", f"-I{package}"))
    twin = ModuleType("ref_proxy._core_changed")
    twin.__package__ = "ref_proxy"
    exec(compile((folder / path.name).read_text(encoding="utf-8"), path.name, "exec"), vars(twin))
    return twin


def stopped_and_continued(worker: str, meanwhile: Callable[[], None], passed: tuple[int, ...], *arguments: int) -> list[str]:
    """What a process says that is stopped inside a section, and continued after `meanwhile()`.

    It runs `worker`, a source that finds in `sys.argv` the descriptors that are passed, one to be let out by, one to say its
    lines on, and the arguments. It says "inside" first, and is let out of its section before it runs again.
    """
    let_read, let_write = os.pipe()
    said_read, said_write = os.pipe()
    with os.fdopen(said_read) as said:
        numbers = (*passed, let_read, said_write, *arguments)
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{worker}", *map(str, numbers)],
            pass_fds=(*passed, let_read, said_write),
        )
        os.close(let_read)
        os.close(said_write)
        try:
            assert said.readline() == "inside\n"
            process.send_signal(signal.SIGSTOP)
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            meanwhile()
            os.write(let_write, b"x")
            process.send_signal(signal.SIGCONT)
            return said.read().splitlines()
        finally:
            os.close(let_write)
            process.send_signal(signal.SIGCONT)
            assert process.wait(PATIENCE) == 0
