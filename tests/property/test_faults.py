"""The checker checked: each fault that is put into a twin is noticed, by the naive model alone."""

from __future__ import annotations

import gc
import warnings
from collections import deque
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase

from tests.property.packages import load
from tests.property.test_machine import run

pytestmark = pytest.mark.once

FAULTS: dict[str, Any] = {}


def fault(break_it: Any) -> Any:
    FAULTS[break_it.__name__] = break_it
    return break_it


@fault
def blockers_in_another_order(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    sections = twin._core_py.Cell.sections
    patch.setattr(twin._core_py.Cell, "sections", lambda *args: sections(*args)[::-1])


@fault
def a_section_may_be_ended_only_once(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def end(self: Any) -> None:
        if not self._end():
            raise ValueError

    patch.setattr(twin.Section, "end", end)


@fault
def a_drop_is_silent(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twin.Section, "__del__", twin.Section._end)


@fault
def a_refused_access_joins(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def try_access(self: Any) -> Any:
        section = access(self)
        if section._member is None:
            newest = self._cell._newest()
            newest.members[twin._core_py._Member(self, id(section))] = None
        return section

    access = twin.Proxy.try_access
    patch.setattr(twin.Proxy, "try_access", try_access)


@fault
def what_is_denied_is_granted(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def try_access(self: Any) -> Any:
        section = access(self)
        if section._member is None:
            section._publication, section._member = self._cell._newest(), twin._core_py._Member(self, id(section))
            section._publication.members[section._member] = None
        return section

    access = twin.Proxy.try_access
    patch.setattr(twin.Proxy, "try_access", try_access)


@fault
def handing_over_is_forgotten(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twin.Section, "detach", lambda self: self.resource and None)


@fault
def nobody_is_woken(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twin.waiting.Bell, "__call__", lambda bell: None)


@fault
def the_interrupt_runs_again(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def run_interrupt(self: Any) -> None:
        self._claims.pop("interrupt", None)
        once(self)

    once = twin.Revocation._run_interrupt
    patch.setattr(twin.Revocation, "_run_interrupt", run_interrupt)


@fault
def it_is_released_under_a_reader(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twin.Revocation, "_due", lambda removal: "release" not in removal._claims)


@fault
def a_failed_release_is_tried_again(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def run_release(self: Any) -> bool:
        try:
            return bool(once(self))
        except KeyError:
            self._claims.pop("release over", None)
            self._claims.pop("release", None)
            raise

    once = twin.Revocation._run_release
    patch.setattr(twin.Revocation, "_run_release", run_release)


@fault
def replace_returns_the_new_one(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    replace = twin.Provider.replace
    patch.setattr(twin.Provider, "replace", lambda self, new, timeout: replace(self, new, timeout) and new)


@fault
def replace_waits_for_older_ones_too(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    publish = twin.Provider._publish

    def from_the_first(self: Any, new: Any) -> Any:
        pending, old = publish(self, new)
        pending._first = 1
        return pending, old

    patch.setattr(twin.Provider, "_publish", from_the_first)


@fault
def a_deadlock_is_refused_after_the_denial(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    refuse = twin.Revocation._refuse_deadlock
    patch.setattr(twin.Revocation, "_refuse_deadlock", lambda self: (self._final and self._deny(), refuse(self)))


@fault
def a_device_releases_the_first_one_first(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twin.device, "reversed", iter, raising=False)


@fault
def a_device_interrupts_what_was_not_denied(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def deny(self: Any) -> None:
        once(self)
        for provider in self._tree():
            provider._removal._claims.pop("interrupt", None)

    once = twin.Device._deny
    patch.setattr(twin.Device, "_deny", deny)


@fault
def a_failure_on_the_way_is_swallowed(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def attempt(self: Any, step: Any) -> None:
        with suppress(Exception):
            step()

    patch.setattr(twin.Device, "_attempt", attempt)


@fault
def a_grace_period_ends_too_soon(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(twin.srcu.Domain, "poll", lambda domain, cookie: domain._cell.drained(cookie, cookie))


@fault
def callbacks_run_the_last_one_first(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    class LastFirst(deque[Any]):
        append = deque.appendleft

    patch.setattr(twin.srcu, "deque", LastFirst)


@fault
def what_came_from_a_resource_outlives_it(twin: ModuleType, patch: pytest.MonkeyPatch) -> None:
    def begin(self: Any) -> Any:
        section = self._guarded_proxy.access()
        return section, section.resource if self._guarded_inner is None else self._guarded_inner

    patch.setattr(twin.guarded.__globals__["Handle"], "__begin__", begin)


# Hypothesis takes constants from the modules that are imported, so the same steps come only with the same tests beside it. The
# fault that is met most seldom is met once in some 150 examples.
@pytest.mark.timeout(180)
@pytest.mark.parametrize("break_it", [pytest.param(each, id=name) for name, each in FAULTS.items()])
def test_a_fault_is_noticed(break_it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = load("broken_twin", "py")
    break_it(twin, monkeypatch)
    try:
        run(twin, patient=False, max_examples=2000, phases=[Phase.generate], report_multiple_bugs=False)
    except AssertionError:
        noticed = True
    else:
        noticed = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the broken twin has left
        gc.collect()
    assert noticed
