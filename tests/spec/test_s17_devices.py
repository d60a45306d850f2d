"""S17, managed: a device that is removed denies all its providers first, drains them together, and then runs its actions."""

from __future__ import annotations

import copy
import gc
import os
import threading
import weakref
from contextlib import suppress

import pytest

from ref_proxy import Device, Provider, Revoked, RevokeDeadlock, RevokeTimeout
from tests.support import Call, Holder, Resource, in_child, struck_while_waiting, until


@pytest.fixture
def device():
    device = Device("hub")
    yield device
    if device.state != "removed":
        device.remove(timeout=0)


def resources(device: Device, log: list[str], *names: str) -> list[Provider[str]]:
    """A provider for each name, whose steps are logged."""
    return [
        device.provide(
            name,
            interrupt=lambda name: log.append(f"interrupt {name}"),
            release=lambda name: log.append(f"release {name}"),
            name=name,
        )
        for name in names
    ]


def test_it_goes_through_its_steps_in_order(device):
    log: list[str] = []
    one, two = resources(device, log, "one", "two")
    device.add_action(log.append, "first action")
    device.add_action(log.append, "second action")
    assert device.state == "live"
    assert device.remove() is True
    assert log == ["interrupt one", "interrupt two", "release two", "release one", "second action", "first action"]
    assert (device.state, one.state, two.state) == ("removed", "revoked", "revoked")


def test_all_are_denied_before_any_reader_is_told(device):
    states: list[list[bool]] = []
    proxies: list = []
    for name in ("one", "two", "three"):
        provider = device.provide(name, interrupt=lambda _: states.append([proxy.revoked for proxy in proxies]))
        proxies.append(provider.proxy())
    device.remove()
    assert states == [[True, True, True]] * 3


def test_they_are_drained_together_and_nothing_is_released_before(device):
    log: list[str] = []
    providers = resources(device, log, "one", "two")
    device.add_action(log.append, "action")
    holders = [Holder(provider.proxy()) for provider in providers]
    removal = Call(device.remove).assert_waits()
    assert log == ["interrupt one", "interrupt two"]
    assert {blocker.provider for blocker in device.blockers()} == {"one", "two"}
    holders[0].leave()
    removal.assert_waits()
    assert log[2:] == []  # the first is free, and still is not released: the second one's reader may use it
    holders[1].leave()
    assert removal.result() is True
    assert log[2:] == ["release two", "release one", "action"]


def test_a_hub_removes_its_children_first_and_denies_them_with_its_own(device):
    log: list[str] = []
    port, leaf = device.attach(Device("port")), Device("leaf")
    assert port.attach(leaf) is leaf
    for each in (device, port, leaf):
        resources(each, log, each.name)
        each.add_action(log.append, f"action {each.name}")
    device.remove()
    assert sorted(log[:3]) == ["interrupt hub", "interrupt leaf", "interrupt port"]
    assert log[3:] == ["release leaf", "action leaf", "release port", "action port", "release hub", "action hub"]
    assert (port.state, leaf.state) == ("removed", "removed")


def test_children_go_the_last_one_first(device):
    log: list[str] = []
    for name in "abc":
        device.attach(Device(name)).add_action(log.append, name)
    device.remove()
    assert log == ["c", "b", "a"]


def test_a_child_may_be_removed_alone(device):
    log: list[str] = []
    child = device.attach(Device("port"))
    child.add_action(log.append, "port")
    device.add_action(log.append, "hub")
    assert child.remove() is True
    assert (log, device.state) == (["port"], "live")
    assert device.remove() is True
    assert log == ["port", "hub"]


def test_every_failure_is_in_one_group_and_none_stops_the_rest(device):
    log: list[str] = []

    def fail(error):
        log.append("failed")
        raise error

    child = device.attach(Device("port"))
    child.add_action(fail, KeyError("in the child"))
    child.add_action(log.append, "child")
    device.provide("r", release=lambda _: fail(OSError("in a release")))
    device.add_action(log.append, "action")
    device.add_action(fail, ValueError("in an action"))
    with pytest.raises(ExceptionGroup) as caught:
        device.remove()
    assert log == ["child", "failed", "failed", "failed", "action"]
    nested, released, acted = caught.value.exceptions
    assert [type(error) for error in nested.exceptions] == [KeyError]
    assert (str(released), str(acted)) == ("in a release", "in an action")
    assert "'hub'" in str(caught.value) and "'port'" in str(nested)
    assert (device.state, child.state) == ("removed", "removed")
    assert device.remove() is False


def test_a_failing_interrupt_is_logged_and_stops_nothing(device, caplog):
    log: list[str] = []
    device.provide("r", interrupt=lambda _: 1 / 0, release=log.append)
    assert device.remove() is True
    assert log == ["r"]
    assert "interrupt failed" in caplog.text


def test_one_of_many_threads_removes_it_and_all_wait(device):
    log: list[str] = []
    [provider] = resources(device, log, "one")
    device.add_action(log.append, "action")
    holder = Holder(provider.proxy())
    calls = [Call(device.remove).assert_waits() for _ in range(6)]
    holder.leave()
    assert sorted(call.result() for call in calls) == [False] * 5 + [True]
    assert log == ["interrupt one", "release one", "action"]


def test_who_comes_while_the_actions_run_waits_for_them(device):
    acting, go_on = threading.Event(), threading.Event()
    device.add_action(lambda: (acting.set(), go_on.wait(20)))
    first = Call(device.remove)
    assert acting.wait(20)
    second = Call(device.remove).assert_waits()
    with pytest.raises(RevokeTimeout, match="another thread is running"):
        device.remove(timeout=0)
    go_on.set()
    assert (first.result(), second.result()) == (True, False)


def test_a_provider_may_be_revoked_before_and_by_others_meanwhile(device):
    log: list[str] = []
    one, two = resources(device, log, "one", "two")
    assert one.revoke() is True
    holder = Holder(two.proxy())
    calls = [Call(device.remove).assert_waits(), Call(two.revoke).assert_waits()]
    holder.leave()
    results = [call.result() for call in calls]
    assert results[0] is True
    assert sorted(log) == ["interrupt one", "interrupt two", "release one", "release two"]


def test_one_that_is_plugged_in_and_out_for_ever_does_not_keep_them_all(device):
    for _ in range(1000):
        device.provide("r").revoke()
    assert len(device._providers) < 40


def test_a_timeout_names_all_who_are_inside_and_it_can_be_carried_on(device):
    log: list[str] = []
    providers = resources(device, log, "one", "two")
    device.add_action(log.append, "action")
    holders = [Holder(provider.proxy(f"reader of {provider.name}")) for provider in providers]
    with pytest.raises(RevokeTimeout, match="call remove") as caught:
        device.remove(timeout=0)
    assert {blocker.proxy for blocker in caught.value.blockers} == {"reader of one", "reader of two"}
    assert device.state == "draining"
    assert all(provider.proxy().revoked for provider in providers)
    assert log == ["interrupt one", "interrupt two"]
    for holder in holders:
        holder.leave()
    assert device.remove(timeout=20) is True
    assert log[2:] == ["release two", "release one", "action"]


def test_removing_it_inside_one_of_its_sections_is_refused_and_changes_nothing(device):
    child = device.attach(Device("port"))
    provider = child.provide("r")
    with provider.proxy("reader").access():
        with pytest.raises(RevokeDeadlock, match="'reader'"):
            device.remove()
        assert (device.state, child.state, provider.state) == ("live", "live", "live")


def test_removing_it_inside_one_of_its_actions_is_refused(device):
    device.add_action(device.remove)
    with pytest.raises(ExceptionGroup) as caught:
        device.remove()
    assert [type(error) for error in caught.value.exceptions] == [RevokeDeadlock]
    assert device.state == "removed"


def test_ctrl_c_while_it_waits_leaves_it_resumable(device):
    log: list[str] = []
    [provider] = resources(device, log, "one")
    device.add_action(log.append, "action")
    holder = Holder(provider.proxy())

    def handler():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), struck_while_waiting(handler):
        device.remove()
    assert device.state == "draining"
    holder.leave()
    assert device.remove() is True
    assert log == ["interrupt one", "release one", "action"]


def test_ctrl_c_in_an_action_leaves_the_others_to_a_later_call(device):
    log: list[str] = []

    def struck():
        log.append("struck")
        raise KeyboardInterrupt

    device.add_action(log.append, "first")
    device.add_action(struck)
    device.add_action(lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        device.remove()
    assert (device.state, log) == ("draining", ["struck"])
    with pytest.raises(ExceptionGroup) as caught:  # what failed before is not lost
        device.remove()
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
    assert (device.state, log) == ("removed", ["struck", "first"])


def test_a_removed_device_takes_nothing_any_more(device):
    log: list[str] = []
    device.remove()
    resource = Resource()
    with pytest.raises(Revoked, match="'hub' cannot provide a resource"):
        device.provide(resource, release=Resource.release)
    assert resource.log == []
    with pytest.raises(Revoked, match="'hub' cannot add an action"):
        device.add_action(log.append, "x")
    assert log == []
    child = Device("port")
    with pytest.raises(Revoked, match="'hub' cannot attach a device"):
        device.attach(child)
    with pytest.raises(Revoked, match="'hub' cannot be attached"):
        child.attach(device)
    assert child.state == "live"


def test_add_action_or_reset_runs_the_action_at_once_when_it_cannot_be_added(device):
    log: list[str] = []
    device.add_action_or_reset(log.append, "later")
    assert log == []
    device.remove()
    assert log == ["later"]
    with pytest.raises(Revoked):
        device.add_action_or_reset(log.append, "at once")
    assert log == ["later", "at once"]


class Meeting(dict):
    """What is registered with a device; something happens just before, or just after, the next registration."""

    before = after = None

    def setdefault(self, thing, value=None):
        before, after, self.before, self.after = self.before, self.after, None, None
        if before is not None:
            before()
        found = super().setdefault(thing, value)
        if after is not None:
            after()
        return found


@pytest.fixture
def meeting(device):
    device._providers, device._actions, device._children = Meeting(), Meeting(), Meeting()
    return device


def test_a_registration_that_a_removal_finds_is_the_devices(meeting):
    resource = Resource()
    meeting._providers.after = meeting.remove
    provider = meeting.provide(resource, release=Resource.release)
    assert (provider.state, resource.log) == ("revoked", ["released"])


def test_an_action_that_a_removal_finds_is_run(meeting):
    actions: list[str] = []
    meeting._actions.after = meeting.remove
    meeting.add_action(actions.append, "ran")
    assert actions == ["ran"]


def test_a_registration_that_comes_after_the_beginning_of_a_removal_is_the_callers(meeting):
    resource, actions = Resource(), []
    meeting._providers.before = meeting.remove
    with pytest.raises(Revoked):
        meeting.provide(resource, release=Resource.release, interrupt=Resource.interrupt)
    with pytest.raises(Revoked):
        meeting.add_action(actions.append, "ran")
    assert (resource.log, actions) == ([], [])


def held(things: Meeting, calls: list[Call], call, *args) -> threading.Event:
    """Have a thread register something, and hold it when it has put that there, until the event that is returned."""
    put, go_on = threading.Event(), threading.Event()
    things.after = lambda: (put.set(), go_on.wait(20))
    calls.append(Call(call, *args))
    assert put.wait(20)
    return go_on


def test_an_action_that_is_refused_is_not_run_by_a_removal_under_way(meeting):
    log: list[str] = []
    calls: list[Call] = []
    go_on: list[threading.Event] = []
    # The interrupt runs after the denial, so after everything was refused, and before the actions.
    meeting.provide("r", interrupt=lambda _: go_on.append(held(meeting._actions, calls, meeting.add_action, log.append, "ran")))
    assert meeting.remove() is True
    go_on[0].set()
    with pytest.raises(Revoked, match="cannot add an action"):
        calls[0].result()
    assert log == []


def test_a_device_whose_attaching_is_refused_is_not_touched_by_a_removal_under_way(meeting):
    log: list[str] = []
    calls: list[Call] = []
    go_on: list[threading.Event] = []
    child = Device("port")
    [provider] = resources(child, log, "one")
    meeting.provide("r", interrupt=lambda _: go_on.append(held(meeting._children, calls, meeting.attach, child)))
    assert meeting.remove() is True
    go_on[0].set()
    with pytest.raises(Revoked, match="cannot attach a device"):
        calls[0].result()
    assert (child.state, provider.state, log) == ("live", "live", [])
    assert child.remove() is True
    assert log == ["interrupt one", "release one"]


def test_a_storm_of_registrations_and_one_removal_releases_each_resource_once():
    for _ in range(20):
        device, made, refused = Device("hub"), [], []
        begin = threading.Barrier(4)

        def register(made=made, refused=refused, device=device, begin=begin):
            begin.wait(20)
            for _ in range(200):
                resource = Resource()
                try:
                    device.provide(resource, release=Resource.release)
                except Revoked:
                    refused.append(resource)
                    return
                made.append(resource)

        calls = [Call(register) for _ in range(3)]
        begin.wait(20)
        device.remove()
        for call in calls:
            call.result()
        assert all(resource.log == ["released"] for resource in made)
        assert all(resource.log == [] for resource in refused)


def test_leaving_a_with_removes_it():
    log: list[str] = []
    with pytest.raises(ZeroDivisionError), Device("hub") as device:
        device.add_action(log.append, "action")
        raise ZeroDivisionError
    assert (log, device.state) == (["action"], "removed")


def test_dropped_while_live_it_warns_denies_and_is_taken_apart_after_the_last_section():
    log: list[str] = []
    device = Device("hub")
    child = device.attach(Device("port"))
    [provider] = resources(child, log, "one")
    device.add_action(log.append, "action")
    proxy = provider.proxy()
    holder = Holder(proxy)
    with pytest.warns(ResourceWarning, match="'hub'.* was dropped while live"):
        del device, child, provider
        gc.collect()
    assert proxy.revoked
    until(lambda: log == ["interrupt one"])
    holder.leave()
    until(lambda: "action" in log)
    assert log == ["interrupt one", "release one", "action"]


def test_misuse_is_loud(device):
    with pytest.raises(TypeError, match="a str"):
        Device(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be callable"):
        device.add_action("no function")
    with pytest.raises(TypeError, match="must be callable"):
        device.add_action_or_reset(None)
    with pytest.raises(TypeError, match="must be a Device"):
        device.attach(Resource())
    with pytest.raises(ValueError, match="hang on itself"):
        device.attach(device)
    child = device.attach(Device("port"))
    with pytest.raises(ValueError, match="hang on itself"):
        child.attach(device)
    with pytest.raises(ValueError, match="already"):
        Device("other").attach(child)
    with pytest.raises(TypeError, match="cannot be None"):
        device.provide(None)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            device.remove(timeout=timeout)
    with pytest.raises(TypeError, match="copy or pickle"):
        copy.copy(device)
    assert device.state == "live"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_not_held_up_by_the_parents_removal(device):
    acting, go_on = threading.Event(), threading.Event()
    device.add_action(lambda: (acting.set(), go_on.wait(20)))
    removal = Call(device.remove)
    assert acting.wait(20)

    def check():
        assert device.remove(timeout=5) is True

    in_child(check)
    go_on.set()
    assert removal.result() is True


def test_what_failed_does_not_keep_the_device_and_its_hub(device):
    def fail() -> None:
        raise KeyError

    port = device.attach(Device("port"))
    port.add_action(fail)
    seen = weakref.ref(port)
    gc.disable()  # no cycle is left for the collector
    try:
        with suppress(ExceptionGroup):
            port.remove()
        del port
        until(lambda: seen() is None)
    finally:
        gc.enable()
