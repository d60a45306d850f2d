"""What wakes the threads that listen for other processes: from anywhere, and also when nobody sleeps there any more."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ref_proxy.remote.hub import hub
from ref_proxy.remote.wake import Wake
from tests import PATIENCE
from tests.support import Call, in_child

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def wake() -> Iterator[Wake]:
    made = Wake()
    yield made
    made.close()


def readable(fd: int, timeout: float = 0) -> bool:
    return bool(select.select([fd], [], [], timeout)[0])


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_ring_wakes_who_sleeps_once_however_often_it_was_rung(wake: Wake) -> None:
    sleeping = Call(readable, wake.fd, PATIENCE)
    wake()
    wake()
    assert sleeping.result()
    wake.heard()
    wake.heard()  # which does not block either
    assert not readable(wake.fd)


def test_a_ring_that_finds_the_pipe_full_does_not_block(wake: Wake) -> None:
    with pytest.raises(BlockingIOError):
        while True:
            os.write(wake._writer, b"!" * 4096)
    Call(wake).result()
    assert readable(wake.fd)


def test_a_ring_may_come_in_the_midst_of_a_ring(wake: Wake, monkeypatch: pytest.MonkeyPatch) -> None:
    write, depth = os.write, []

    def interrupted(fd: int, data: bytes) -> int:
        if len(depth) < 2:  # a signal handler, just before it is written
            depth.append(fd)
            wake()
        return write(fd, data)

    monkeypatch.setattr("ref_proxy.remote.wake.os.write", interrupted)
    Call(wake).result()
    assert depth == [wake._writer] * 2
    assert os.read(wake.fd, 99) == b"!!!"


def test_a_ring_after_the_end_writes_nowhere(wake: Wake, request: pytest.FixtureRequest) -> None:
    ends = {wake.fd, wake._writer}
    wake.close()
    wake.close()
    reader, writer = request.getfixturevalue("pipe")  # not before: it is to get these numbers
    assert {reader, writer} == ends, "the numbers are somebody else's by now"
    wake()
    assert not readable(reader)


def test_a_forked_child_closes_it_also_while_another_thread_is_ringing(wake: Wake) -> None:
    ringing, forked = threading.Event(), threading.Event()

    def ring() -> None:
        with wake._lock:
            ringing.set()
            assert forked.wait(PATIENCE)

    def child() -> None:
        assert not is_open(wake.fd)
        assert not is_open(wake._writer)
        wake.abandon()  # does nothing
        done: Any = threading.Event()
        hub().post(done.set)  # by one of its own
        assert done.wait(PATIENCE)

    call = Call(ring)
    assert ringing.wait(PATIENCE)
    in_child(child)
    forked.set()
    call.result()
    wake()
    assert readable(wake.fd)
