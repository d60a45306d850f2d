"""What crosses: two ends of one hold that come at the same time, in either order. Each was found by the storm."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from ref_proxy import Provider, Revoked, remote
from ref_proxy.remote import worker
from ref_proxy.remote.hub import hub
from tests.support import Call, until


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
