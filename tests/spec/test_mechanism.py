"""What the mechanism answers where nobody above it asks: wrong arguments, a `wake()` that fails, a child with one thread."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import pytest

from ref_proxy._backend import Cell, Handle, Method, Proxy, after_fork, trace
from tests.support import Call


def hold(handle: Any, section: Any, value: Any) -> Any:
    section.end()
    return value


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def cell(woken: list[str]) -> Any:
    return Cell(["resource"], "line", lambda: woken.append("woken"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda cell: Cell("resource", 1, print), "the name of a cell must be a str, not int"),
        (lambda cell: Method(1, len, hold), "the name of a method must be a str or None, not int"),
        (lambda cell: Handle("line"), "a guarded object is made from a Proxy, not from a str"),
        (lambda cell: Handle(Handle(Proxy(cell)), []), "needs the handle that it came from, and a section"),
        (lambda cell: Handle(Proxy(cell), [], Proxy(cell).access()), "needs the handle that it came from, and a section"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_it_is_not_made_from(cell: Any, make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(cell)


@pytest.mark.parametrize(
    "call",
    [
        lambda cell: Cell(),
        lambda cell: Proxy(),
        lambda cell: Handle(),
        lambda cell: Method(),
        lambda cell: cell.drained(1),
        lambda cell: cell.sections("all", 2),
        lambda cell: cell.sections(0, 1, True, True),
        lambda cell: Handle(Proxy(cell)).__hand_out__(1),
    ],
)
def test_wrong_calls_are_refused(cell: Any, call: Any) -> None:
    with pytest.raises(TypeError):
        call(cell)


def test_what_its_parts_are_called(cell: Any) -> None:
    assert repr(cell) == "<ref_proxy._core.Cell 'line', live>"
    cell.deny()
    assert repr(cell) == "<ref_proxy._core.Cell 'line', denied>"
    assert repr(Method("read", len, hold)) == "<ref_proxy._core.Method 'read'>"


def test_own_sections_are_those_that_this_thread_opened_and_has_to_end_itself(cell: Any) -> None:
    proxy = Proxy(cell)
    own, handed_over = proxy.access(), proxy.access()
    handed_over.detach()
    theirs, found = Call(lambda: (proxy.access(), cell.sections(0, 1, True))).result()
    assert [token for *_, token in found] == [id(theirs)]
    assert [token for *_, token in cell.sections(0, 1, True)] == [id(own)]
    assert {token for *_, token in cell.sections(0, 1, False)} == {id(own), id(handed_over), id(theirs)}
    assert cell.sections(2, 2, True) == []
    for section in (own, handed_over, theirs):
        section.end()
    assert cell.sections(0, 1, True) == []


def test_a_tracer_hears_of_the_sections_of_cells_made_since(cell: Any) -> None:
    heard: list[tuple[Any, int]] = []
    trace(lambda proxy, token: heard.append((proxy, token)))
    try:
        traced = Proxy(Cell("resource", "traced", int))
        Proxy(cell).access().end()
        with_tracer = traced.access()
        assert heard == [(traced, 0), (traced, id(with_tracer))]
        with_tracer.end()
        trace(None)
        traced.access().end()
        assert len(heard) == 2
    finally:
        trace(None)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_tracer_that_fails_leaves_no_section_open() -> None:
    def fail(proxy: Any, token: int) -> None:
        if token:
            raise LookupError

    trace(fail)
    try:
        cell: Any = Cell("resource", "traced", int)
        with pytest.raises(LookupError):
            Proxy(cell).access()
        assert cell.sections(0, 1) == []
    finally:
        trace(None)


def test_a_wake_that_fails_is_reported_and_the_section_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(unraisable.exc_type))

    def wake() -> None:
        raise LookupError

    cell: Any = Cell("resource", "line", wake)
    section = Proxy(cell).access()
    cell.deny()
    section.end()
    assert heard == [LookupError]
    assert cell.drained(0, 1)


def test_ctrl_c_in_a_wake_is_raised_and_the_sleeper_is_woken_all_the_same() -> None:
    woken: list[str] = []

    def wake() -> None:
        woken.append("woken")
        if len(woken) == 1:
            raise KeyboardInterrupt

    cell: Any = Cell("resource", "line", wake)
    section = Proxy(cell).access()
    cell.deny()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            section.end()
            for _ in range(1000):  # where the interpreter hears of signals
                pass
    finally:
        signal.signal(signal.SIGINT, handler)
    assert woken
    assert cell.drained(0, 1)


def test_after_a_fork_the_sections_of_other_threads_are_ended(cell: Any, woken: list[str]) -> None:
    """The child's part, without a fork: a cell with sections of two threads, in an old publication and in the newest one."""
    proxy = Proxy(cell)
    mine, theirs = [proxy.access()], []
    Call(lambda: theirs.append(proxy.access())).result()
    untouched = Proxy(Cell("other", "untouched", print)).access()
    cell.publish(["new"])
    mine.append(proxy.access())
    Call(lambda: theirs.append(proxy.access())).result()
    after_fork()
    assert [len(cell.sections(number, number)) for number in (1, 2)] == [1, 1]
    for section in theirs:
        with pytest.raises(ValueError, match="has ended"):
            section.resource  # noqa: B018
    assert not woken
    assert untouched.resource == "other"
    untouched.end()
    for section in mine:
        assert section.resource
        section.end()
    assert woken == ["woken"]
    assert cell.drained(0, 1)


def test_after_a_fork_whoever_waited_for_another_thread_alone_is_woken(cell: Any, woken: list[str]) -> None:
    theirs: list[Any] = []
    Call(lambda: theirs.append(Proxy(cell).access())).result()
    cell.deny()
    after_fork()
    assert woken == ["woken"]
    assert cell.drained(0, 1)


def test_many_threads_at_once_find_room_in_a_cell(cell: Any) -> None:
    """Free-threaded, it grows from one list to many when two threads meet at it; it says so in its size."""
    proxy, start = Proxy(cell), threading.Event()

    def meet() -> None:
        start.wait()
        for _ in range(3000):
            with proxy.access():
                pass

    threads = [Call(meet) for _ in range(4)]
    start.set()
    for thread in threads:
        thread.result()
    assert sys.getsizeof(cell) > 0
    assert cell.sections(0, 9) == []
