"""What crosses: two ends of one hold that come at the same time, in either order. Each was found by the storm."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from ref_proxy import Provider, Revoked, RevokeDeadlock, RevokeTimeout, remote
from ref_proxy.remote import unix_owner, worker
from ref_proxy.remote.hub import hub
from tests import PATIENCE
from tests.support import Call, in_child, until


@pytest.fixture
def address(name: str) -> str:
    return f"unix:{name}"


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """The jobs that the holder's side would start a thread for: the test runs them when it likes."""
    jobs: list[Callable[[], object]] = []
    monkeypatch.setattr(worker, "start", jobs.append)
    return jobs


def test_one_who_hangs_up_before_he_said_what_he_wanted_leaves_nothing_to_wait_for(directory, name, address):
    shared = remote.announce(address, "resource")
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(directory / name))
        until(lambda: hub()._due)
    until(lambda: not hub()._due)
    assert shared.revoke(timeout=10).state == "drained"
    until(lambda: not hub()._running)


def test_who_is_cut_off_from_what_was_replaced_is_cut_off_from_what_has_replaced_it(address):
    shared = remote.announce(address, "old")
    handle = remote.attach(address, open=lambda info: "opened")
    proxy = handle.proxy()
    with proxy.access():
        replacing = Call(shared.replace, "new", timeout=10)
        until(lambda: handle.epoch == shared.epoch)  # it has followed, and is not out of the old one
        replacing.assert_waits()
        shared._sharing.announcements[0].fence()
        assert replacing.result()[1].state == "fenced"
        until(lambda: handle.reason)
        assert "cut it off" in handle.reason
    with pytest.raises(Revoked):
        proxy.access()
    until(lambda: handle.state == "revoked")
    until(lambda: not shared.holders())
    assert shared.revoke(timeout=10).state == "drained"


def test_a_replacement_that_is_itself_replaced_before_it_is_published_is_not_published_last(address, held_back, monkeypatch):
    publish = Provider._publish

    def publish_late(self, new):
        if self is handle._attachment.provider and new == 2:
            replacing.append(Call(shared.replace, 3, info={"number": 3}, timeout=10))
            until(lambda: shared.epoch > second)
            shared.holders(timeout=10)  # who has answered has heard what was said before
            for job in held_back:  # nothing, for it would publish the third first
                Call(job)
                until(lambda: handle.epoch == shared.epoch)
            held_back.clear()
        return publish(self, new)

    shared = remote.announce(address, 1, info={"number": 1})
    handle = remote.attach(address, open=lambda info: info["number"])
    replacing = [Call(shared.replace, 2, info={"number": 2}, timeout=10)]
    until(lambda: held_back)
    second = shared.epoch
    with monkeypatch.context() as patched:
        patched.setattr(Provider, "_publish", publish_late)
        held_back.pop()()
    until(lambda: held_back or replacing[1].returned)
    for job in held_back:
        job()
    held_back.clear()
    assert [each.result()[1].state for each in replacing] == ["drained", "drained"]
    with handle.proxy().access() as resource:
        assert resource == 3
    assert handle.epoch == shared.epoch
    handle.close()
    assert shared.revoke(timeout=10).state == "drained"
    monkeypatch.undo()  # what was patched in, and what was held back, know the handle, which keeps a descriptor
    held_back.clear()


@pytest.mark.parametrize(("what", "step"), [("replace", "succeed"), ("replace", "recall"), ("revoke", "recall")])
def test_a_signal_handler_that_removes_what_its_thread_is_about_to_is_told_so(what, step, address, monkeypatch):
    done, told = getattr(unix_owner._Announcement, step), []

    def interrupted(announcement, *args, **kwargs):
        signal.raise_signal(signal.SIGUSR1)
        return done(announcement, *args, **kwargs)

    def handler(*_):
        for wish in (shared.revoke, lambda: shared.replace("newest")):
            with pytest.raises(RevokeDeadlock, match="in the midst of its revoke") as refused:
                wish()
            told.append(refused.value)

    shared = remote.announce(address, "old")
    monkeypatch.setattr(unix_owner._Announcement, step, interrupted)
    old = signal.signal(signal.SIGUSR1, handler)
    try:
        if what == "replace":
            assert shared.replace("new", timeout=PATIENCE)[1].state == "drained"
            assert shared.state == "live", "who is refused has changed nothing"
        else:
            assert shared.revoke(timeout=PATIENCE).state == "drained"
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert told
    monkeypatch.undo()
    shared.revoke(timeout=PATIENCE)


def test_a_timeout_is_kept_beside_a_replacement_that_hangs_and_what_was_denied_is_recalled_behind_that(address, monkeypatch):
    succeed, there, go_on = unix_owner._Announcement.succeed, threading.Event(), threading.Event()

    def slow(announcement, info):
        there.set()
        assert go_on.wait(PATIENCE)
        return succeed(announcement, info)

    shared = remote.announce(address, "old")
    handle = remote.attach(address, open=lambda info: "opened")
    monkeypatch.setattr(unix_owner._Announcement, "succeed", slow)
    replacing = Call(shared.replace, "new")
    assert there.wait(PATIENCE)
    with pytest.raises(TimeoutError, match="is being announced anew") as late:
        shared.replace("newer", timeout=0.01)
    assert not isinstance(late.value, RevokeTimeout)
    assert shared.state == "live"
    with pytest.raises(RevokeTimeout):
        shared.revoke(timeout=0.01)
    assert shared.state == "draining"
    go_on.set()
    with pytest.raises(Revoked):
        replacing.result()
    until(lambda: handle.state == "revoked")
    assert shared.revoke(timeout=PATIENCE).state == "drained"


def test_who_is_here_is_found_while_others_come():
    class Growing(worker.WeakSet):
        grown = False

        def __iter__(self):
            for each in super().__iter__():
                yield each
                if not self.grown:
                    self.grown = True
                    self.add(other)

    class Thing:
        pass

    one, other = Thing(), Thing()
    assert one in worker._living(Growing([one]))  # and the other, or not: it came meanwhile


def test_a_forked_child_takes_no_part_in_a_removal_and_cuts_nobody_off(address):
    shared = remote.announce(address, "old")
    handle = remote.attach(address, open=lambda info: "opened")
    section = handle.proxy().access()
    section.detach()
    with pytest.raises(RevokeTimeout) as late:
        shared.replace("new", timeout=0)
    pending = late.value.pending

    def child():
        with pytest.raises(RuntimeError, match="forked child"):
            pending.wait(timeout=1, fence_after=0)

    in_child(child)
    assert handle.state == "live"
    section.end()
    assert pending.wait(timeout=PATIENCE).state == "drained"
    assert shared.revoke(timeout=PATIENCE).state == "drained"
