"""The thread that listens: it is there when there is something to listen to, and a moment longer."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from ref_proxy.remote import hub as module
from ref_proxy.remote.hub import Hub
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.end()
    until(lambda: hub._ended)


def listened(hub: Hub, fd: int) -> int:
    """Listen to it, and no more, and return the thread that did."""
    idents: list[int] = []
    hub.post(lambda: hub.watch(fd, lambda _: None))
    hub.post(lambda: idents.append(threading.get_ident()))
    hub.post(lambda: hub.unwatch(fd))
    until(lambda: bool(idents))
    return idents[0]


def test_it_stays_for_whoever_comes_next(hub, pipe, monkeypatch):
    monkeypatch.setattr(module, "LINGER", 3600.0)
    first = listened(hub, pipe[0])
    assert all(listened(hub, pipe[0]) == first for _ in range(20))


def test_it_ends_by_itself_when_nobody_comes(hub, pipe, monkeypatch):
    monkeypatch.setattr(module, "LINGER", 0.01)
    for _ in range(3):  # and is there again for the next
        listened(hub, pipe[0])
        until(lambda: not hub._running)
        assert hub._selector is None, "it listens to nothing any more"


def test_it_stays_for_as_long_as_there_is_something_to_listen_to(hub, pipe, monkeypatch):
    monkeypatch.setattr(module, "LINGER", 0.0)
    reader, writer = pipe
    heard: list[bytes] = []
    hub.post(lambda: hub.watch(reader, lambda _: heard.append(os.read(reader, 1))))
    for count in range(1, 4):
        os.write(writer, b"!")
        until(lambda count=count: len(heard) == count)
        assert hub._running
    hub.post(lambda: hub.unwatch(reader))
    until(lambda: not hub._running)


def test_the_end_of_the_interpreter_does_not_wait_for_it(hub, pipe, monkeypatch):
    monkeypatch.setattr(module, "LINGER", 3600.0)
    listened(hub, pipe[0])
    hub.end()
    until(lambda: not hub._running)
    assert hub._ended and hub._selector is None, "the thread has ended, and is not merely left behind"


def test_of_two_that_are_made_at_once_one_is_kept_and_the_other_closed(monkeypatch):
    made: list[Hub] = []

    class Overtaken(Hub):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)
            if len(made) == 1:
                module.hub()

    monkeypatch.setattr(module, "_hubs", {})
    monkeypatch.setattr(module, "Hub", Overtaken)
    assert module.hub() is module.hub() is made[1]
    late, kept = made
    os.fstat(kept._wake.fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(late._wake.fd)
    kept.forget()
