"""A holder that was cut off, or closed, in the midst of a replacement: it has nothing any more, says why, and may attach anew."""

from __future__ import annotations

import logging
from threading import Event
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fcntl", reason="needs Unix sockets")

from ref_proxy import Revoked, remote
from ref_proxy.remote import worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOON = 10.0  # seconds


@pytest.fixture
def address(tmp_path: Path) -> str:
    tmp_path.chmod(0o700)
    return f"unix:{tmp_path}/s"


def test_a_holder_that_is_cut_off_while_it_follows_a_replacement_is_denied_for_good_and_told_so(address: str) -> None:
    removed = Event()
    shared = remote.announce(address, "old")
    handle = remote.attach(address, open=lambda _: ["mine"], interrupt=lambda _: removed.set())
    section = handle.proxy().access()
    section.detach()  # it keeps the holder from letting go
    _, outcome = shared.replace("new", timeout=SOON, fence_after=0.0)
    assert outcome.state == "fenced"
    assert removed.wait(SOON)
    assert "its owner has cut it off" in handle.reason
    with pytest.raises(Revoked):
        handle.proxy().access()
    section.end()
    handle.close()
    with remote.attach(address, open=lambda _: ["anew"]) as again, again.proxy().access() as resource:
        assert resource == ["anew"]
    assert shared.revoke(timeout=SOON).state == "drained"


def test_a_holder_that_closes_before_it_has_begun_to_follow_follows_no_more(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, closed, followed = Event(), Event(), Event()

    def start_late(job: Callable[[], object]) -> None:
        def late() -> None:
            begun.set()
            closed.wait(SOON)
            job()
            followed.set()

        start(late)

    start = worker.start
    monkeypatch.setattr(worker, "start", start_late)
    opened = []
    shared = remote.announce(address, "old")
    handle = remote.attach(address, open=lambda _: opened.append(1) or opened)
    start(lambda: shared.replace("new", timeout=SOON))
    assert begun.wait(SOON)
    handle.close()
    closed.set()
    assert followed.wait(SOON)
    assert shared.revoke(timeout=SOON).state == "drained"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
