"""A part of `make model`: the small configurations, all seeded faults, and the explorer itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.model.__main__ import states_told, table_of_faults
from tests.model.configurations import configuration, names
from tests.model.explore import Configuration, Load, Lock, Memory, Store, Thread, Unlock, Wrong, explore, here
from tests.model.faults import FAULTS

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[2] / "docs" / "algorithm.md").read_text(encoding="utf-8")
STATES = states_told(PAGE)
SMALL = 3000


@pytest.mark.parametrize("name", [name for name in names() if STATES.get(name, 0) <= SMALL])
def test_a_small_configuration_holds_and_the_page_tells_its_size(name: str) -> None:
    outcome = explore(configuration(name), limit=SMALL)
    assert outcome.failure is None
    assert STATES[name] == outcome.states


def test_the_page_lists_the_configurations_that_there_are() -> None:
    assert sorted(STATES) == sorted(names())


def test_each_seeded_fault_is_found_as_the_page_tells() -> None:
    rows = table_of_faults().splitlines()[2:]
    for fault, line in zip(FAULTS, rows, strict=True):
        assert f"| {fault.breaks}" in line, line  # by the property that is to find it
        assert line in PAGE, "the page shows another schedule: put the table of `python -m tests.model --table` into it"


def test_each_fault_is_asked_for_by_a_program() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("[!t_]*.py"))
    assert [fault.name for fault in FAULTS if f'self.broken("{fault.name}")' not in sources] == []
    assert set(re.findall(r'self\.broken\("([^"]+)"\)', sources)) <= {fault.name for fault in FAULTS}


# The explorer.


def meet(gil: bool, first: Any, second: Any, at_end: Any = lambda memory, results: None) -> Any:
    return explore(Configuration("", "", {"a": first, "b": second}, {"x": 0, "y": 0}, gil=gil, at_end=at_end))


def store_and_look(mine: str, other: str) -> Thread:
    yield here(Store(mine, 1))
    return (yield here(Load(other)))


def both_missed(memory: Memory, results: Any) -> None:
    if results == {"a": 0, "b": 0}:
        raise Wrong("one sees the other")


def test_a_store_may_be_late_without_the_gil_and_only_then() -> None:
    pair = (lambda: store_and_look("x", "y"), lambda: store_and_look("y", "x"), both_missed)
    assert meet(True, *pair).failure is None
    failure = meet(False, *pair).failure
    assert failure.property == "one sees the other"
    assert [thread for thread, _ in failure.schedule[:4]] in (["a", "a", "b", "b"], ["a", "b", "a", "b"])


def add_one(locked: bool) -> Thread:
    if locked:
        yield here(Lock("x"))
    value = yield here(Load("x"))
    yield here(Store("x", value + 1))
    if locked:
        yield here(Unlock("x"))


def both_counted(memory: Memory, results: Any) -> None:
    if memory["x"] != 2:
        raise Wrong("nothing is lost")


@pytest.mark.parametrize("gil", [True, False])
def test_all_schedules_are_taken(gil: bool) -> None:
    assert meet(gil, lambda: add_one(True), lambda: add_one(True), both_counted).failure is None
    assert meet(gil, lambda: add_one(False), lambda: add_one(False), both_counted).failure.property == "nothing is lost"


def lock_two(first: str, second: str) -> Thread:
    yield here(Lock(first))
    yield here(Lock(second))
    yield here(Unlock(second))
    yield here(Unlock(first))


@pytest.mark.parametrize("gil", [True, False])
def test_who_waits_for_good_is_named(gil: bool) -> None:
    assert meet(gil, lambda: lock_two("x", "y"), lambda: lock_two("x", "y")).failure is None
    failure = meet(gil, lambda: lock_two("x", "y"), lambda: lock_two("y", "x")).failure
    assert failure.property == "a waiter wakes: but for good a lock y, and b lock x"
    assert len(failure.schedule) == 2  # the shortest
