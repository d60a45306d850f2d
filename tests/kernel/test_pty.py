"""A terminal line whose other end hangs up, or that is removed, while consumers are blocked in it."""

from __future__ import annotations

import os
import select
import tty

import pytest

from ref_proxy import Provider, Revoked
from ref_proxy.adapters import files
from tests import PATIENCE
from tests.support import Call, until

from .support import asleep

REMOVED = select.POLLHUP | select.POLLERR
TIOCVHANGUP = 0x5437  # what the kernel does to a serial line that is unplugged

pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")


class Line:
    """One end of a pseudo-terminal, provided; the other end; and who has been told that it went away."""

    def __init__(self, ends: tuple[int, int]) -> None:
        mine, self.other = ends
        for end in ends:
            tty.setraw(end)
        self.told: list[Provider[files.Descriptor]] = []
        self.provider = files.provide(mine, name="line", on_gone=self._on_gone)
        self.file = files.open(self.provider.proxy())

    def _on_gone(self, provider: Provider[files.Descriptor]) -> None:
        self.told.append(provider)
        provider.revoke_soon()

    def blocked(self, call, *args) -> Call:
        """Begin a call, and wait until it has come to poll, with nothing there to bring it back."""
        begun = Call(call, *args)
        until(lambda: begun.returned or asleep(self.provider))
        assert not begun.returned
        return begun

    def hang_up(self) -> None:
        os.close(self.other)
        self.other = -1

    def pour(self) -> None:
        while True:  # the kernel makes more room, in its own time, until the other end's buffer is full as well
            self.file.write(bytes(4096))


@pytest.fixture(params=["slave", "master"])
def line(request):
    master, slave = os.openpty()
    line = Line((slave, master) if request.param == "slave" else (master, slave))
    yield line
    line.provider.revoke(timeout=PATIENCE)
    if line.other >= 0:
        os.close(line.other)


def check_told_once(line: Line) -> None:
    assert line.told == [line.provider]
    with pytest.raises(Revoked, match="was refused"):
        line.file.read(1)
    assert line.told == [line.provider]


def test_a_reader_that_is_blocked_when_the_other_end_hangs_up_learns_that_it_is_gone(line):
    reading = line.blocked(line.file.read, 1)
    line.hang_up()
    with pytest.raises(Revoked, match="'line' went away by itself") as caught:
        reading.result()
    assert isinstance(caught.value.__cause__, OSError)
    check_told_once(line)


def test_a_reader_that_comes_after_the_hang_up_learns_it_too(line):
    line.hang_up()
    assert line.file.poll() & select.POLLHUP
    with pytest.raises(Revoked, match="'line' went away by itself"):
        line.file.readall()
    check_told_once(line)


def test_many_are_blocked_and_the_owner_is_told_once(line):
    readers = [Call(line.file.read, 1) for _ in range(5)]
    until(lambda: asleep(line.provider, 5))
    line.hang_up()
    for reading in readers:
        with pytest.raises(Revoked):
            reading.result()
    check_told_once(line)


def test_a_poll_that_is_waiting_at_the_hang_up_reports_it(line):
    polling = line.blocked(line.file.poll)
    line.hang_up()
    assert polling.result() & select.POLLHUP
    assert line.told == []  # it asked, and nothing has failed


def test_a_writer_who_waits_for_room_at_the_hang_up_learns_that_it_is_gone():
    master, slave = os.openpty()
    line = Line((slave, master))
    writing = line.blocked(line.pour)
    line.hang_up()
    with pytest.raises(Revoked, match="went away by itself"):
        writing.result()
    check_told_once(line)


@pytest.mark.parametrize("use", ["read", "write", "ioctl"])
def test_an_unplugged_line_reads_as_an_end_of_file_and_is_gone_all_the_same(use):
    master, slave = os.openpty()
    line = Line((slave, master))
    try:
        line.file.ioctl(TIOCVHANGUP)
    except PermissionError:
        line.provider.revoke()
        os.close(master)
        pytest.skip("needs to be root, to hang up a terminal")
    with line.provider.proxy().access() as file:
        assert os.read(file.fileno(), 1) == b""  # so says the kernel, for good
    with pytest.raises(Revoked, match="went away by itself"):
        {
            "read": lambda: line.file.read(1),
            "write": lambda: line.file.write(b"x"),
            "ioctl": lambda: line.file.ioctl(0x5401, bytes(60)),  # TCGETS
        }[use]()
    check_told_once(line)
    os.close(master)


def test_an_end_of_file_that_is_typed_is_only_that():
    master, slave = os.openpty()
    told: list[object] = []
    with files.provide(slave, on_gone=told.append) as provider:
        file = files.open(provider.proxy())
        os.write(master, b"ping\n\x04")  # Ctrl-D
        assert file.readall() == b"ping\n"
        os.write(master, b"pong\n")
        assert file.readline() == b"pong\n"
    assert told == []
    os.close(master)


def test_a_removal_brings_a_blocked_reader_back(line):
    reading = line.blocked(line.file.read, 1)
    assert line.provider.revoke(timeout=PATIENCE) is True
    with pytest.raises(Revoked, match="was refused"):
        reading.result()
    assert line.told == []


def test_a_removal_brings_a_writer_back_who_waits_for_room(line):
    writing = line.blocked(line.pour)
    assert line.provider.revoke(timeout=PATIENCE) is True
    with pytest.raises(Revoked, match="was refused"):
        writing.result()


def test_a_removal_hangs_up_on_whoever_polls(line):
    polling = line.blocked(line.file.poll, select.POLLPRI)
    assert line.provider.revoke(timeout=PATIENCE) is True
    assert polling.result() == REMOVED == line.file.poll(0)


def test_the_other_end_learns_of_the_removal_though_handles_are_still_open(line):
    """No handle keeps the line open: that it was released is seen from outside."""
    if hasattr(select, "epoll"):
        line.file.watch()
    line.provider.revoke(timeout=PATIENCE)
    poll = select.poll()
    poll.register(line.other, 0)
    assert poll.poll(PATIENCE * 1000)[0][1] & select.POLLHUP
    line.file.close()
