"""Where there is no memory it says so, holds nothing, loses nothing, and goes on: each allocation of the C twin fails in turn."""

from __future__ import annotations

import _imp
import gc
import importlib.util
import sys
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import pytest

from ref_proxy import _backend
from tests.support import until

_testcapi = pytest.importorskip("_testcapi", reason="this interpreter came without the module that makes allocations fail")
pytestmark = pytest.mark.skipif(_backend.BACKEND != "c", reason="the Python twin allocates what the interpreter does for it")

AT_REST = 40  # so many allocations in a row, none of which is reached: that was the last one
Act = Callable[[], object]


def hold(handle: Any, section: Any, value: Any) -> Any:
    section.end()
    return value


class Line:
    """A cell with proxies, and so many sections open that the next one has to be allocated."""

    def __init__(self) -> None:
        self.cell = _backend.Cell(["resource"], "line", lambda: None)
        self.proxy = _backend.Proxy(self.cell, "reader")
        self.sections = [self.proxy.access() for _ in range(20)]
        self.dicts: list[dict[str, str]] = [{} for _ in range(100)]  # so many that the interpreter has none in store either
        space = {"__slots__": (), "copy": _backend.Method("copy", list.copy, hold)}
        self.kind = type("guarded list", (_backend.Handle,), space)
        self.handle: Any = self.kind(self.proxy)

    def leave(self) -> None:
        for section in self.sections:
            section.end()
        self.sections.clear()

    def assert_usable(self) -> None:
        """Nothing is held but by those who held it, and all goes on."""
        self.leave()
        number, proxy = self.cell.number, _backend.Proxy(self.cell)
        assert self.cell.sections(0, number) == []
        if not self.cell.live:
            assert proxy.try_access().resource is None
            return
        with proxy.access() as resource:
            assert resource == ["resource"]
            assert len(self.cell.sections(number, number)) == 1
        assert self.kind(proxy).copy() == ["resource"]
        assert self.cell.publish(["resource"]) == (number, ["resource"])
        assert self.cell.drained(0, number)


def making(line: Line) -> Iterator[Act]:
    yield lambda: _backend.Cell([], "line", print)
    yield lambda: _backend.Proxy(line.cell, "reader")
    yield lambda: line.kind(line.proxy)
    yield lambda: line.kind(line.handle, [], line.sections[0])
    yield lambda: _backend.Method("copy", list.copy, hold)
    yield lambda: line.cell.watch(b"\0")


def using(line: Line) -> Iterator[Act]:
    yield lambda: line.sections.append(line.proxy.access())
    yield lambda: line.sections.append(line.proxy.try_access())
    yield line.handle.copy
    yield lambda: line.handle.copy(*range(9))
    yield lambda: hold(None, *line.handle.__begin__())
    yield lambda: line.cell.sections(0, 9)
    yield lambda: line.cell.publish(["resource"])


def refused(line: Line) -> Iterator[Act]:
    line.cell.deny()
    yield line.proxy.access
    yield line.handle.copy
    line.proxy.close()
    yield line.proxy.access
    line.handle.__close__()
    yield line.handle.copy
    ended = line.sections.pop()
    ended.end()
    yield lambda: ended.resource
    yield lambda: line.cell.__reduce_ex__(2)


def reading(line: Line) -> Iterator[Act]:
    for thing in (line.cell, line.proxy, _backend.Proxy(line.cell), line.sections[0], line.handle, line.kind.copy):
        yield lambda thing=thing: repr(thing)  # type: ignore[misc]


def removing(line: Line) -> Iterator[Act]:
    """None of this needs memory: a resource can be taken away, and given up, where there is none."""
    yield line.cell.deny
    for section in line.sections[1:]:
        section.end()
    yield line.sections[0].end  # the last one wakes
    yield line.cell.clear
    yield line.proxy.close


def dropping(line: Line) -> Iterator[Act]:
    yield line.sections.pop
    line.cell.deny()
    yield line.sections.clear


def sweep(scene: Callable[[Line], Iterator[Act]], which: int) -> int:
    """Let each allocation of one act of a scene fail in turn; return how many there were."""
    clean = 0
    for nth in count():
        line = Line()
        act = next(islice(scene(line), which, None))
        failed = False
        _testcapi.set_nomemory(nth, nth + 1)
        try:
            act()
        except MemoryError:
            failed = True
        except (OSError, TypeError, ValueError):
            pass  # what it was about to raise in any case
        finally:
            _testcapi.remove_mem_hooks()
        line.assert_usable()
        clean = 0 if failed else clean + 1
        if clean == AT_REST:
            return nth + 1 - AT_REST
    raise AssertionError


ACTS = [
    pytest.param(scene, which, id=f"{scene.__name__}-{which}")
    for scene, acts in ((making, 6), (using, 7), (refused, 6), (reading, 6), (dropping, 2), (removing, 4))
    for which in range(acts)
]


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finaliser without memory cannot even warn: that is written to the standard error."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("scene", "which"), ACTS)
def test_each_allocation_may_fail(scene: Any, which: int) -> None:
    sweep(scene, which)  # and whatever is made once
    before = blocks()
    reached = [sweep(scene, which) for _ in range(3)]
    until(lambda: blocks() - before < 20)  # three sweeps: what one of their failures lost would be more
    if scene is not dropping:  # a finaliser raises nothing
        assert (reached[0] == 0) is (scene is removing)


@pytest.mark.skipif(sys.version_info[:2] in {(3, 12), (3, 13)}, reason="CPython's own dicts do not survive that in 3.13.0")
def test_each_allocation_may_fail_while_it_is_loaded() -> None:
    spec = importlib.util.spec_from_file_location("ref_proxy._core", sys.modules["ref_proxy._core"].__file__)
    assert spec is not None
    clean = 0
    for nth in count():
        module: Any = _imp.create_dynamic(spec)
        _testcapi.set_nomemory(nth, nth + 1)
        try:
            _imp.exec_dynamic(module)
            clean += 1
        except (MemoryError, SystemError):  # CPython forgets to say which where a type's name cannot be copied
            clean = 0
        finally:
            _testcapi.remove_mem_hooks()
        if clean == AT_REST:
            break
    assert nth > AT_REST
    assert module.Proxy(module.Cell([1], "line", print)).access().resource == [1]
