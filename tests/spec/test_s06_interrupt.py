"""S6, interrupt: after the denial and before the wait it brings blocked readers back; its failure stops nothing."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from ref_proxy import Provider, RevokeDeadlock, RevokeTimeout
from tests.support import Call, Holder, Resource


def test_a_blocked_reader_comes_back():
    read, write = os.pipe()
    provider = Provider(read, interrupt=lambda _: os.write(write, b"!"), release=os.close, name="pipe")
    proxy = provider.proxy()
    inside = threading.Event()

    def reader():
        with proxy.access() as descriptor:
            inside.set()
            return os.read(descriptor, 1)  # blocks: nobody ever sends anything else

    call = Call(reader)
    assert inside.wait(20)
    assert provider.revoke(timeout=20) is True
    assert call.result() == b"!"
    os.close(write)


def test_it_runs_once_before_the_wait_and_with_the_resource(provider, proxy, resource):
    holder = Holder(proxy)
    calls = [Call(provider.revoke).assert_waits() for _ in range(3)]
    assert resource.log == ["interrupted"]
    holder.leave()
    for call in calls:
        call.result()
    assert resource.log == ["interrupted", "released"]


def test_it_runs_once_though_the_removal_is_carried_on(provider, proxy, resource):
    holder = Holder(proxy)
    for _ in range(3):
        with pytest.raises(RevokeTimeout):
            provider.revoke(timeout=0)
    assert resource.log == ["interrupted"]
    holder.leave()
    assert provider.revoke() is True


def test_its_failure_is_logged_and_does_not_stop_the_removal(caplog, resource):
    def interrupt(_):
        raise OSError("no such ioctl")

    provider = Provider(resource, interrupt=interrupt, release=Resource.release, name="line")
    assert provider.revoke() is True
    assert resource.log == ["released"]
    assert "'line': interrupt failed; the removal goes on" in caplog.text
    assert "no such ioctl" in caplog.text


def test_nothing_is_released_while_the_interrupt_still_runs(resource):
    interrupting, go_on = threading.Event(), threading.Event()

    def interrupt(resource):
        interrupting.set()
        assert go_on.wait(20)
        resource.use()

    provider = Provider(resource, interrupt=interrupt, release=Resource.release)
    first = Call(provider.revoke)
    assert interrupting.wait(20)
    second = Call(provider.revoke).assert_waits()
    assert resource.log == []
    go_on.set()
    assert sorted([first.result(), second.result()]) == [False, True]
    assert resource.log == ["used", "released"]


def test_ctrl_c_in_it_is_heard_and_whoever_carries_on_interrupts_again(resource):
    def interrupt(_):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    calls: list[int] = []
    provider = Provider(resource, interrupt=interrupt, release=Resource.release)
    with pytest.raises(KeyboardInterrupt):
        provider.revoke()
    assert provider.state == "draining"
    assert resource.log == []
    assert provider.revoke() is True
    assert len(calls) == 2


def test_ctrl_c_while_its_failure_is_reported_leaves_the_removal_resumable(resource):
    class Struck(logging.Handler):
        def emit(self, record):
            raise KeyboardInterrupt

    def interrupt(_):
        raise OSError("no such ioctl")

    provider = Provider(resource, interrupt=interrupt, release=Resource.release)
    handler = Struck()
    logging.getLogger("ref_proxy").addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            provider.revoke()
    finally:
        logging.getLogger("ref_proxy").removeHandler(handler)
    assert provider.state == "draining"
    assert provider.revoke(timeout=20) is True
    assert resource.log == ["released"]


def test_an_interrupt_that_revokes_is_told_so(caplog, resource):
    provider = Provider(resource, interrupt=lambda _: provider.revoke(), release=Resource.release, name="line")
    assert provider.revoke() is True
    assert RevokeDeadlock.__name__ in caplog.text
    assert resource.log == ["released"]


def test_replace_does_not_interrupt(provider, resource):
    provider.replace(Resource("new"))
    assert resource.log == []
