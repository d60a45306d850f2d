"""Who meets whom, and what must hold in every schedule. A hang is found by the scheduler: nobody can go on."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.schedules.scheduler import Play, Stage, step


class Scene(NamedTuple):
    """`large`: one with two preemptions has more schedules than a suite has time for."""

    play: Play
    large: bool


SCENES: dict[str, Scene] = {}


def scene(*, large: bool = False) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        SCENES[play.__name__] = Scene(play, large)
        return play

    return add


class Owned:
    """A provider, and what became of its resource. A hook takes two steps, so that others may come in between."""

    def __init__(self, stage: Stage, *, interrupted: bool = False) -> None:
        self.log: list[str] = []
        self.sections: list[Any] = []
        self.ending = 0
        interrupt = self.interrupt if interrupted else None
        self.provider = stage.Provider("old", release=self.release, interrupt=interrupt, name="p", stall_after=None)
        self.proxy = self.provider.proxy()

    def enter(self) -> None:
        section = self.proxy.access()
        section.detach()
        self.sections.append(section)

    def end(self) -> None:
        self.log.append("ends")
        self.ending = get_ident()
        self.sections.pop().end()
        self.ending = 0

    def interrupt(self, resource: str) -> None:
        self.log.append("interrupts")
        step()
        self.log.append("interrupted")

    def release(self, resource: str) -> None:
        assert not self.sections, f"{resource} is released under a reader"
        assert self.ending != get_ident(), "a reader runs the release"
        self.log.append(f"releases {resource}")
        step()
        self.log.append(f"released {resource}")

    def revoke(self) -> bool:
        did = self.provider.revoke()
        assert self.released(), "revoke() returns before the release is over"
        return bool(did)

    def released(self) -> list[str]:
        return [each.split()[1] for each in self.log if each.startswith("released")]

    def assert_removed(self, resource: str = "old") -> None:
        assert self.provider.state == "revoked"
        assert self.released() == [resource]
        assert self.provider._removal.resource is None, "the removal keeps what was released"

    def assert_no_rope(self) -> None:
        assert not self.provider._removal._bell._ropes, "a rope hangs where nobody waits"


# ---- Waiting


@scene()
def a_waiter_and_a_ring(stage: Stage) -> None:
    bell, changed = stage.Bell(), []

    def waits() -> bool:
        return bool(bell.wait(lambda: bool(changed)))

    def rings() -> None:
        changed.append(1)
        bell.ring()

    assert stage.together(waits, rings)[0]
    assert not bell._ropes


@scene()
def two_waiters_and_a_ring(stage: Stage) -> None:
    bell, changed = stage.Bell(), []

    def waits() -> None:
        bell.wait(lambda: bool(changed))

    def rings() -> None:
        changed.append(1)
        bell.ring()

    stage.together(waits, waits, rings)
    assert not bell._ropes


# ---- Removal


@scene()
def two_revokes(stage: Stage) -> None:
    owned = Owned(stage)
    assert sorted(stage.together(owned.revoke, owned.revoke)) == [False, True]
    owned.assert_removed()
    owned.assert_no_rope()


@scene()
def a_revoke_and_the_last_end(stage: Stage) -> None:
    owned = Owned(stage)
    owned.enter()
    assert stage.together(owned.revoke, owned.end)[0] is True
    owned.assert_removed()


@scene()
def two_revokes_with_an_interrupt(stage: Stage) -> None:
    owned = Owned(stage, interrupted=True)
    assert sorted(stage.together(owned.revoke, owned.revoke)) == [False, True]
    owned.assert_removed()
    assert owned.log[:2] == ["interrupts", "interrupted"]


@scene()
def a_revoke_soon_and_the_last_end(stage: Stage) -> None:
    owned = Owned(stage)
    owned.enter()
    stage.together(owned.provider.revoke_soon, owned.end)  # and the job that it leads to
    owned.assert_removed()


@scene(large=True)
def a_revoke_soon_and_a_revoke(stage: Stage) -> None:
    owned = Owned(stage)
    stage.together(owned.provider.revoke_soon, owned.revoke)
    owned.assert_removed()


@scene()
def a_revoke_that_is_broken_off_in_its_interrupt_and_another_one(stage: Stage) -> None:
    owned = Owned(stage, interrupted=True)

    def interrupt(resource: str) -> None:
        if not owned.log:
            owned.log.append("struck")
            step()
            raise KeyboardInterrupt
        owned.interrupt(resource)

    owned.provider._removal._interrupt = interrupt

    def revoke() -> bool | None:
        try:
            return owned.revoke()
        except KeyboardInterrupt:
            return None

    assert set(stage.together(revoke, revoke)) == {None, True}
    owned.assert_removed()
    assert owned.log[:3] == ["struck", "interrupts", "interrupted"]


@scene()
def a_replace_and_a_revoke(stage: Stage) -> None:
    owned = Owned(stage)

    def replace() -> str | None:
        try:
            return str(owned.provider.replace("new"))
        except stage.Revoked:
            return None

    old, did = stage.together(replace, owned.revoke)
    assert did is True
    assert old in {"old", None}
    owned.assert_removed("new" if old == "old" else "old")


@scene()
def two_replaces(stage: Stage) -> None:
    owned = Owned(stage)
    old = stage.together(lambda: owned.provider.replace("a"), lambda: owned.provider.replace("b"))
    assert owned.provider.revoke()
    assert sorted([*old, *owned.released()]) == ["a", "b", "old"]


@scene()
def a_replace_and_a_section_of_the_new_one(stage: Stage) -> None:
    owned = Owned(stage)
    owned.enter()

    def replace() -> None:
        assert owned.provider.replace("new") == "old"
        assert "ends" in owned.log, "replace() returns what somebody holds"

    def end() -> None:
        new = owned.proxy.access()  # of the old one, or the new one, for which nobody waits
        new.detach()
        owned.end()
        if new.resource == "old":
            new.end()
        owned.sections.append(new)

    stage.together(replace, end)
    owned.end()
    owned.provider.revoke()


@scene(large=True)
def a_revoke_that_runs_out_of_time_and_is_resumed(stage: Stage) -> None:
    owned = Owned(stage)
    owned.enter()

    def revoke() -> bool:
        try:
            return bool(owned.provider.revoke(timeout=1))
        except stage.RevokeTimeout:
            assert not owned.released(), "what runs out of time releases all the same"
            return owned.revoke()

    assert stage.together(revoke, owned.end, stage.time_runs_out)[0] is True
    owned.assert_removed()
    owned.assert_no_rope()


@scene(large=True)
def a_revoke_that_runs_out_of_time_and_another_one(stage: Stage) -> None:
    owned = Owned(stage)
    owned.enter()

    def revoke() -> bool:
        try:
            return bool(owned.provider.revoke(timeout=1))
        except stage.RevokeTimeout:
            owned.end()  # which wakes the other one
            return False

    assert stage.together(revoke, owned.revoke, stage.time_runs_out) == [False, True, None]
    owned.assert_removed()


# ---- Domains


@scene()
def a_call_and_the_last_end(stage: Stage) -> None:
    domain, log = stage.Domain(), []
    section = domain.read()
    section.detach()

    def end() -> None:
        log.append("ends")
        section.end()

    stage.together(lambda: domain.call(log.append, "called"), end)
    assert log == ["ends", "called"]


@scene(large=True)
def a_call_with_a_barrier_and_the_last_end(stage: Stage) -> None:
    domain, log = stage.Domain(), []
    section = domain.read()
    section.detach()

    def call() -> None:
        domain.call(log.append, "called")
        domain.barrier()
        assert log == ["ends", "called"]

    def end() -> None:
        log.append("ends")
        section.end()

    stage.together(call, end)
    assert log == ["ends", "called"]


@scene()
def a_synchronize_and_the_last_end(stage: Stage) -> None:
    domain, log = stage.Domain(), []
    section = domain.read()
    section.detach()

    def synchronize() -> None:
        domain.synchronize()
        assert log == ["ends"]

    def end() -> None:
        log.append("ends")
        section.end()

    stage.together(synchronize, end)


@scene()
def two_runners_of_callbacks(stage: Stage) -> None:
    domain, log = stage.Domain(), []

    def callback(number: int) -> None:
        log.append(f"begins {number}")
        step()
        log.append(f"ends {number}")

    def call() -> None:
        domain.call(callback, 1)  # each may start a thread that runs what is due
        domain.call(callback, 2)

    stage.together(call)
    assert log == ["begins 1", "ends 1", "begins 2", "ends 2"]


# ---- Devices


@scene()
def an_action_is_added_while_the_device_is_removed(stage: Stage) -> None:
    device, log = stage.Device("d"), []

    def add() -> bool:
        try:
            device.add_action(log.append, "done")
        except stage.Revoked:
            return False
        return True

    added, removed = stage.together(add, device.remove)
    assert removed is True
    assert log == ["done"] * added


@scene()
def a_resource_is_provided_while_the_device_is_removed(stage: Stage) -> None:
    device, log = stage.Device("d"), []

    def provide() -> bool:
        try:
            device.provide("resource", release=log.append, stall_after=None)
        except stage.Revoked:
            return False
        return True

    provided, removed = stage.together(provide, device.remove)
    assert removed is True
    assert log == ["resource"] * provided


@scene()
def a_device_is_attached_while_its_hub_is_removed(stage: Stage) -> None:
    hub, child, log = stage.Device("hub"), stage.Device("child"), []
    child.provide("resource", release=log.append, stall_after=None)

    def attach() -> bool:
        try:
            hub.attach(child)
        except stage.Revoked:
            return False
        return True

    attached, removed = stage.together(attach, hub.remove)
    assert removed is True
    assert log == ["resource"] * attached
    assert child.state == ("removed" if attached else "live")
    assert attached or child.remove()
    assert log == ["resource"]
