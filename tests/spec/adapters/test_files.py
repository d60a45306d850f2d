"""Files that may vanish: blocked calls come back, nothing is closed under anybody, and a handle is a raw file like any other."""

from __future__ import annotations

import asyncio
import copy
import errno
import gc
import io
import os
import pickle
import select
import signal
import subprocess
import sys
import termios
import threading
import time

import pytest

from ref_proxy import Provider, Revoked, RevokeDeadlock, RevokeTimeout
from ref_proxy.adapters import files, waking
from ref_proxy.adapters.gone import Departure
from tests import PATIENCE
from tests.support import Call, Holder, in_child, until

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="needs epoll(7)")
REMOVED = select.POLLHUP | select.POLLERR


@pytest.fixture(params=["eventfd", "sockets"])
def waker(request, monkeypatch):
    """What wakes those who are blocked: what this system has, and what serves where there is no eventfd."""
    if request.param == "eventfd" and not hasattr(os, "eventfd"):
        pytest.skip("needs eventfd(2)")
    if request.param == "sockets":
        monkeypatch.setattr(waking, "_ENDS", 2)
    return request.param


@pytest.fixture
def pipe(request):
    """The provider of a pipe's read end, and its write end."""
    if "waker" in request.fixturenames:
        request.getfixturevalue("waker")  # first
    ours, theirs = os.pipe()
    provider = files.provide(ours, name="pipe")
    yield provider, theirs
    provider.revoke(timeout=0)
    os.close(theirs)


@pytest.fixture
def full():
    """The provider of the write end of a pipe that is full, and its read end."""
    theirs, ours = os.pipe()
    provider = files.provide(ours, name="full pipe")
    with files.open(provider.proxy(), blocking=False) as line:
        while line.write(bytes(4096)) is not None:
            pass
    yield provider, theirs
    provider.revoke(timeout=0)
    os.close(theirs)


@pytest.fixture
def document(tmp_path):
    """The provider of a regular file that holds 'one' and 'two', a line each."""
    path = tmp_path / "document"
    path.write_bytes(b"one\ntwo\n")
    with files.provide(path) as provider:
        yield provider


def descriptors() -> list[int]:
    """What this process has open."""
    gc.collect()
    found = []
    for number in range(256):
        try:
            os.fstat(number)
            found.append(number)
        except OSError:
            pass
    return found


class Sleepers:
    """`sleepers(n)` waits until poll(2) has been begun n times, by whoever, to sleep."""

    def __init__(self) -> None:
        self._begun: list[object] = []
        self._rivals: list[object] = []

    def __call__(self, number: int) -> None:
        until(lambda: len(self._begun) >= number)

    def before_it_returns(self, rival) -> None:
        """Have `rival()` done once, between the moment at which poll(2) is ready and that at which its caller hears of it."""
        self._rivals.append(rival)

    def poll(self, poll, timeout):
        if timeout == 0:
            return poll(timeout)
        self._begun.append(timeout)
        found = poll(timeout)
        if self._rivals:
            self._rivals.pop()()
        return found


@pytest.fixture
def sleepers(monkeypatch):
    sleepers, real = Sleepers(), select.poll

    class Poll:
        def __init__(self):
            self._poll = real()
            self.register = self._poll.register

        def poll(self, timeout):
            return sleepers.poll(self._poll.poll, timeout)

    monkeypatch.setattr(select, "poll", Poll)
    return sleepers


# What a blocked call does at the removal


@pytest.mark.parametrize("number", [1, 5])
def test_blocked_readers_all_come_back_at_once(waker, pipe, number, sleepers):
    provider, _ = pipe
    line = files.open(provider.proxy("reader"))
    calls = [Call(line.read, 10) for _ in range(number)]
    sleepers(number)
    assert not any(call.returned for call in calls)
    assert provider.revoke(timeout=PATIENCE) is True
    for call in calls:
        with pytest.raises(Revoked, match="proxy 'reader' of 'pipe' was refused"):
            call.result()


def test_a_blocked_writer_comes_back_at_once(full, sleepers):
    provider, _ = full
    call = Call(files.open(provider.proxy()).write, b"more")
    sleepers(1)
    assert provider.revoke(timeout=PATIENCE) is True
    with pytest.raises(Revoked):
        call.result()


def test_a_poll_that_is_waiting_says_that_it_has_hung_up(pipe, sleepers):
    provider, _ = pipe
    line = files.open(provider.proxy())
    calls = [Call(line.poll), Call(line.poll, select.POLLIN, 1e9), Call(line.poll, 0)]
    sleepers(3)
    provider.revoke(timeout=PATIENCE)
    assert [call.result() for call in calls] == [REMOVED] * 3


def test_a_poll_after_the_removal_says_so_too_and_never_raises_revoked(pipe):
    provider, _ = pipe
    line = files.open(provider.proxy())
    provider.revoke()
    assert line.poll() == line.poll(0) == line.poll(select.POLLOUT, 0) == REMOVED


def test_whoever_comes_to_wait_only_after_the_interrupt_is_woken_too(pipe):
    """Nobody takes the wake-up off the waker. A section that was begun before the denial can still come to wait after it."""
    provider, _ = pipe
    entered, go_on = threading.Event(), threading.Event()

    def late():
        with provider.proxy().access() as file:
            entered.set()
            assert go_on.wait(PATIENCE)
            for _ in range(3):
                with pytest.raises(files._Woken):
                    file._poll(select.POLLIN, None)

    call = Call(late)
    assert entered.wait(PATIENCE)
    removal = provider.revoke_soon()
    go_on.set()
    call.result()
    assert removal.wait(PATIENCE)


def test_an_interrupt_of_ones_own_is_called_too_and_its_failure_wakes_no_less(caplog, sleepers):
    ours, theirs = os.pipe()

    def interrupt(file):
        seen.append(file)
        raise OSError("no such abort file")

    seen: list[files.Descriptor] = []
    provider = files.provide(ours, interrupt=interrupt, name="pipe")
    with provider.proxy().access() as file:
        pass
    call = Call(files.open(provider.proxy()).read, 1)
    sleepers(1)
    provider.revoke(timeout=PATIENCE)
    with pytest.raises(Revoked):
        call.result()
    assert seen == [file]
    assert "no such abort file" in caplog.text
    os.close(theirs)


def test_a_signal_handler_that_raises_is_heard_at_once_and_one_that_does_not_changes_nothing(pipe, sleepers):
    class Struck(Exception):
        pass

    def on_signal(*_):
        struck.append(1)
        if len(struck) > 2:
            raise Struck

    struck: list[int] = []
    provider, _ = pipe
    line = files.open(provider.proxy())
    old = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(Struck):
            line.read(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert provider.blockers() == []
    provider.revoke(timeout=0)


# Reading and writing while it is there


def test_a_read_blocks_until_there_is_data_and_then_returns_what_there_is(pipe, sleepers):
    provider, theirs = pipe
    call = Call(files.open(provider.proxy()).read, 100)
    sleepers(1)
    assert not call.returned
    os.write(theirs, b"ping")
    assert call.result() == b"ping"


def test_a_reader_whose_data_another_one_took_goes_on_waiting_where_the_removal_can_wake_it(pipe, sleepers):
    provider, theirs = pipe
    with provider.proxy().access() as file:
        sleepers.before_it_returns(lambda: os.read(file.fileno(), 1))  # poll(2) has promised the data, and it is gone
    call = Call(files.open(provider.proxy()).read, 1)
    sleepers(1)
    os.write(theirs, b"x")
    sleepers(2)
    assert not call.returned
    assert provider.revoke(timeout=PATIENCE) is True
    with pytest.raises(Revoked):
        call.result()


def test_the_end_of_a_pipe_is_an_end_of_file_and_not_a_removal():
    ours, theirs = os.pipe()
    os.close(theirs)
    with files.provide(ours) as provider:
        line = files.open(provider.proxy())
        assert line.read(1) == b""
        assert line.poll() & select.POLLHUP
        assert line.readall() == b""
        assert not provider.proxy().revoked


def test_a_write_returns_what_there_was_room_for_and_waits_where_there_is_none(full, sleepers):
    provider, theirs = full
    line = files.open(provider.proxy())
    call = Call(line.write, bytes(1 << 20))
    sleepers(1)
    os.read(theirs, 1 << 20)
    assert 0 < call.result() < 1 << 20


def test_a_handle_that_does_not_block_says_none_where_another_would_wait(pipe, full):
    assert files.open(pipe[0].proxy(), blocking=False).read(1) is None
    assert files.open(full[0].proxy(), blocking=False).write(b"x") is None
    os.write(pipe[1], b"x")
    assert files.open(pipe[0].proxy(), blocking=False).read(1) == b"x"


def test_poll_says_what_it_is_ready_for_and_nothing_when_the_time_is_up(pipe):
    provider, theirs = pipe
    line = files.open(provider.proxy())
    began = time.monotonic()
    assert line.poll(timeout=0.05) == 0
    assert time.monotonic() - began >= 0.05
    assert line.poll(timeout=0) == 0
    os.write(theirs, b"x")
    assert line.poll() == line.poll(timeout=float("inf")) == select.POLLIN


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_a_bad_timeout_is_refused(pipe, timeout, error):
    with pytest.raises(error):
        files.open(pipe[0].proxy()).poll(timeout=timeout)
    with pytest.raises(error):
        files.replace(pipe[0], os.devnull, timeout=timeout)


def test_a_regular_file_is_read_written_and_wound_like_any_other(document):
    with files.open(document.proxy()) as file:
        assert file.readable() and file.writable() and file.seekable() and not file.isatty()
        assert list(file) == [b"one\n", b"two\n"]
        assert file.seek(4) == file.tell() == 4
        assert file.readall() == b"two\n"
        assert file.seek(-1, os.SEEK_END) == 7
        assert file.write(b" more\n") == 6
        assert file.truncate(6) == 6
        assert file.seek(3) == file.truncate() == 3
        assert file.seek(0) == 0
        buffer = bytearray(10)
        assert file.readinto(buffer) == 3
        assert buffer[:3] == b"one"
        assert file.readinto(bytearray()) == 0
        assert file.poll(select.POLLIN | select.POLLOUT) == select.POLLIN | select.POLLOUT


def test_it_may_be_wrapped_and_the_wrappers_say_revoked_too(document):
    text = io.TextIOWrapper(io.BufferedReader(files.open(document.proxy())), encoding="ascii")
    assert text.readline() == "one\n"
    assert list(text) == ["two\n"]
    buffered = io.BufferedWriter(files.open(document.proxy()))
    buffered.write(b"three\n")
    buffered.flush()
    document.revoke()
    with pytest.raises(Revoked):
        text.buffer.raw.read(1)
    buffered.write(b"lost")
    with pytest.raises(Revoked):
        buffered.close()
    assert buffered.closed
    text.close()


def test_only_what_it_was_opened_for_can_be_done(tmp_path):
    path = tmp_path / "new"
    with files.provide(path, flags=os.O_WRONLY | os.O_CREAT) as provider:
        assert path.stat().st_mode & 0o111 == 0
        file = files.open(provider.proxy())
        assert file.writable() and not file.readable()
        with pytest.raises(io.UnsupportedOperation, match="not open for reading"):
            file.read(1)
    with files.provide(os.fsencode(path), flags=os.O_RDONLY) as provider:
        file = files.open(provider.proxy())
        with pytest.raises(io.UnsupportedOperation, match="not open for writing"):
            file.write(b"x")


def test_an_ioctl_takes_a_number_bytes_or_a_buffer():
    ours, theirs = os.openpty()
    with files.provide(theirs) as provider:
        line = files.open(provider.proxy())
        assert line.isatty() and not line.seekable()
        assert len(line.ioctl(termios.TIOCGWINSZ, bytes(8))) == 8
        size = bytearray(8)
        assert line.ioctl(termios.TIOCGWINSZ, size) == 0
        assert line.ioctl(termios.TCFLSH, termios.TCIFLUSH) == 0
        with pytest.raises(OSError) as caught:
            line.ioctl(0x0BAD, 0)
        assert caught.value.errno == errno.ENOTTY
    os.close(ours)


def test_a_failure_that_says_nothing_about_the_device_is_raised_as_it_is(pipe):
    with pytest.raises(OSError, match="Illegal seek") as caught:
        files.open(pipe[0].proxy()).seek(0)
    assert not isinstance(caught.value, Revoked)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENXIO])
def test_a_transfer_that_failed_on_a_device_that_is_still_there_is_no_removal(document, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    told: list[object] = []
    file = files.open(document.proxy())
    monkeypatch.setattr(os, "readv", fail)
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == code and not isinstance(caught.value, Revoked)
    assert told == []


def test_another_revoked_that_comes_out_of_a_call_is_not_taken_for_ones_own(monkeypatch):
    """A signal handler uses a resource of its own in the midst of a read, and is refused."""

    def fail(*_):
        raise Revoked(errno.ENODEV, "another one")

    told: list[object] = []
    with files.provide(os.devnull, on_gone=told.append) as provider:
        file = files.open(provider.proxy())
        monkeypatch.setattr(os, "readv", fail)
        with pytest.raises(Revoked, match="another one"):
            file.read(1)
    assert told == []


# A device that goes away by itself, as the system calls tell it; tests/kernel has the devices


@pytest.fixture
def failing(monkeypatch):
    """A provider of a device that has gone away, and the list of those who were told."""

    def fail(*_):
        raise OSError(errno.ENODEV, "No such device")

    told: list[Provider] = []
    with files.provide(os.devnull, name="ttyUSB0", on_gone=told.append) as provider:
        with monkeypatch.context() as patch:
            patch.setattr(os, "readv", fail)
            yield provider, told


def test_its_error_is_raised_as_revoked_from_it_and_the_owner_is_told_once(failing):
    provider, told = failing
    file = files.open(provider.proxy())
    for _ in range(3):
        with pytest.raises(Revoked, match="'ttyUSB0' went away by itself") as caught:
            file.read(1)
        assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENODEV
    assert told == [provider]


def test_the_owner_is_told_outside_of_any_section_and_may_revoke_there(failing):
    states: list[object] = []

    def on_gone(provider):
        states.append((provider.blockers(), provider.revoke(timeout=0)))

    with files.provide(os.devnull, on_gone=on_gone) as other:
        file = files.open(other.proxy())
        with pytest.raises(Revoked, match="went away by itself"):
            file.read(1)
        assert states == [([], True)]
        with pytest.raises(Revoked, match="was refused"):
            file.read(1)


def test_an_owner_who_fails_to_be_told_is_logged_and_the_consumer_learns_that_it_is_gone(failing, caplog):
    def on_gone(provider):
        raise LookupError("nobody at home")

    with files.provide(os.devnull, name="line", on_gone=on_gone) as other, pytest.raises(Revoked):
        files.open(other.proxy()).read(1)
    assert "<ref_proxy.Provider 'line', live>: on_gone failed" in caplog.text
    assert "nobody at home" in caplog.text


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.EIO])
def test_a_close_that_fails_is_the_removers_to_hear_of_unless_the_device_is_gone_anyhow(monkeypatch, code):
    def close(number):
        real(number)
        if number == mine:
            raise OSError(code, os.strerror(code))

    real = os.close
    provider = files.provide(os.devnull)
    with provider.proxy().access() as file:
        mine = file.fileno()
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        if code == errno.EIO:  # what was written could not be saved
            with pytest.raises(OSError, match="Input/output error"):
                provider.revoke()
        else:
            assert provider.revoke() is True
    assert provider.state == "revoked"


# The handle


def test_a_closed_handle_says_so_and_closing_is_free_to_come_at_any_time(pipe, sleepers):
    provider, theirs = pipe
    line, other = files.open(provider.proxy()), files.open(provider.proxy())
    call = Call(line.read, 1)
    sleepers(1)
    closings = [Call(line.close) for _ in range(3)]
    for closing in closings:
        closing.result()
    for use in (line.read, line.readall, line.tell, line.poll, line.watch, line.readable, line.isatty, line.__enter__):
        with pytest.raises(ValueError, match="closed"):
            use()
    os.write(theirs, b"xy")
    assert call.result() == b"x"  # who was in it is not disturbed
    assert other.read(1) == b"y"  # and the file is the provider's
    provider.revoke()
    other.close()
    other.close()
    line.close()


def test_a_proxy_that_is_closed_says_so(pipe):
    proxy = pipe[0].proxy("reader")
    line = files.open(proxy)
    proxy.close()
    with pytest.raises(ValueError, match="proxy 'reader' of 'pipe' is closed"):
        line.read(1)


def test_a_file_that_is_removed_already_cannot_be_opened(pipe):
    pipe[0].revoke()
    with pytest.raises(Revoked):
        files.open(pipe[0].proxy())


def test_only_the_proxy_of_a_file_can_be_opened():
    with Provider(io.BytesIO(), name="bytes") as provider:
        with pytest.raises(
            TypeError, match=r"the resource of <ref_proxy.Proxy of 'bytes', live> is a BytesIO, which files.provide"
        ):
            files.open(provider.proxy())
        with pytest.raises(TypeError, match="BytesIO"):
            files.replace(provider, os.devnull)
        with pytest.raises(TypeError, match="not by a Provider"):
            files.open(provider)
    with pytest.raises(TypeError, match="not by a str"):
        files.open(os.devnull)


def test_a_handle_gives_no_descriptor_away_and_says_what_to_take_instead(pipe):
    line = files.open(pipe[0].proxy())
    with pytest.raises(io.UnsupportedOperation, match=r"watch\(\); for all else there is `with proxy.access\(\)"):
        line.fileno()
    with pytest.raises(io.UnsupportedOperation):
        select.select([line], [], [], 0)


def test_neither_a_handle_nor_what_it_is_of_can_be_copied(pipe):
    with pipe[0].proxy().access() as file:
        pass
    for each in (file, files.open(pipe[0].proxy())):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot copy or pickle"):
                attempt(each)


def test_everything_has_a_name(document):
    with document.proxy("reader").access() as file:
        assert repr(file) == f"<ref_proxy.adapters.files.Descriptor {document.name!r}, {file.fileno()}>"
    handle = files.open(document.proxy("reader"))
    assert handle.name == document.name and document.name.endswith("/document")
    document.revoke()
    assert repr(file).endswith("/document', released>")
    assert repr(handle) == f"<ref_proxy.adapters.files.File of {handle._proxy!r}>"


# Who owns the descriptor


def test_nothing_is_left_open(document, waker):
    before = descriptors()
    with files.provide(document.name) as provider:
        files.open(provider.proxy()).read(1)  # dropped without a close
        if hasattr(select, "epoll"):
            files.open(provider.proxy()).watch()
    del provider
    assert descriptors() == before


def test_a_provider_that_is_dropped_closes_its_file(document):
    before = descriptors()
    provider = files.provide(document.name)
    line = files.open(provider.proxy())
    with pytest.warns(ResourceWarning, match="was dropped while live"):
        del provider
        gc.collect()
    until(lambda: descriptors() == before)
    with pytest.raises(Revoked):
        line.read(1)


def test_the_interpreter_may_end_while_consumers_are_blocked():
    program = """
import os, threading
from ref_proxy.adapters import files, waking
ours, theirs = os.pipe()
provider = files.provide(ours)
line = files.open(provider.proxy())
if hasattr(os, "eventfd"):
    line.watch()
reader = threading.Thread(target=line.read, args=(1,), daemon=True)
reader.start()
while not provider.blockers():
    pass
print("end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("file", "options", "error", "message"),
    [
        (None, {}, TypeError, "not by a NoneType"),
        (True, {}, TypeError, "not by a bool"),
        (1.0, {}, TypeError, "not by a float"),
        (io.BytesIO(), {}, TypeError, r"hand over os.dup\(it.fileno\(\)\)"),
        (-1, {}, OSError, "descriptor -1 is not open"),
        (10**6, {}, OSError, "descriptor 1000000 is not open"),
        ("/nonexistent/device", {}, FileNotFoundError, "/nonexistent/device"),
        ("/", {}, IsADirectoryError, "/"),
        (os.devnull, {"name": 5}, TypeError, "the name of a file must be a str or None, not int"),
        (os.devnull, {"interrupt": "abort"}, TypeError, "interrupt must be callable"),
        (os.devnull, {"on_gone": "revoke"}, TypeError, "on_gone must be callable"),
    ],
)
def test_misuse_is_refused_and_leaves_nothing_open(file, options, error, message):
    before = descriptors()
    with pytest.raises(error, match=message) as caught:
        files.provide(file, **options)
    if error is OSError:
        assert caught.value.errno == errno.EBADF
    del caught
    assert descriptors() == before


def test_what_was_opened_is_closed_when_something_fails_later(monkeypatch):
    def fail(*_):
        raise MemoryError

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "set_blocking", fail)
        with pytest.raises(MemoryError) as caught:
            files.provide(os.devnull)
    del caught
    assert descriptors() == before


def test_a_descriptor_that_could_not_be_taken_over_is_the_callers_still():
    ours, theirs = os.pipe()
    with pytest.raises(TypeError):
        files.provide(ours, name=5)
    with Provider(os) as foreign, pytest.raises(TypeError):
        files.replace(foreign, ours)
    revoked = files.provide(os.devnull)
    revoked.revoke()
    with pytest.raises(Revoked):
        files.replace(revoked, ours)
    with files.provide(os.devnull) as busy, busy.proxy().access(), pytest.raises(RevokeDeadlock):
        files.replace(busy, ours)
    assert os.get_blocking(ours)
    os.write(theirs, b"x")
    assert os.read(ours, 1) == b"x"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_descriptor_that_was_handed_over_blocks_again_as_it_did_after_the_release(blocking):
    ours, theirs = os.pipe()
    shared = os.dup(ours)
    os.set_blocking(ours, blocking)
    with files.provide(ours):
        assert not os.get_blocking(shared)
    assert os.get_blocking(shared) is blocking
    with pytest.raises(OSError):
        os.fstat(ours)
    os.close(shared)
    os.close(theirs)


def test_a_terminal_that_is_opened_does_not_become_the_controlling_one():
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)

    def check():
        os.setsid()  # without a controlling terminal, whatever one opens becomes it
        with files.provide(path), pytest.raises(OSError):
            os.open("/dev/tty", os.O_RDWR)

    in_child(check)
    os.close(ours)
    os.close(theirs)


# The descriptor's number is not used after it was closed


def storm(provide, rounds: int) -> list[str]:
    """What consumers saw, or did, that they must not have: while numbers are used again as fast as they are closed."""
    wrong: list[str] = []
    stop = threading.Event()

    def reuse():
        # Whoever reads from, or writes to, a number that he has no right to any more does it here.
        while not stop.is_set():
            traps = [os.memfd_create("trap") for _ in range(4)]
            for trap in traps:
                os.write(trap, b"poison" * 100)
                os.lseek(trap, 0, os.SEEK_SET)
            os.sched_yield()
            for trap in traps:
                if os.lseek(trap, 0, os.SEEK_CUR) != 0:
                    wrong.append("a file of somebody else's was used")
                os.close(trap)

    def consume(proxy, going):
        try:
            line = files.open(proxy, blocking=False)
            while True:
                if line.read(8) not in {None, b"fine"} or line.write(b"fine") not in {None, 4}:
                    wrong.append("read what somebody else wrote")
                going.set()
        except Revoked:
            going.set()
        except OSError as error:
            wrong.append(f"{error}")
            going.set()

    storming = Call(reuse)
    for _ in range(rounds):
        ours, theirs = socket_pair()
        provider = provide(ours)
        going = [threading.Event() for _ in range(2)]
        calls = [Call(consume, provider.proxy(), each) for each in going]
        os.write(theirs, b"fine")
        assert all(each.wait(PATIENCE) for each in going)
        provider.revoke(timeout=PATIENCE)
        for call in calls:
            call.result()
        os.close(theirs)
        if wrong:
            break
    stop.set()
    storming.result()
    return wrong


def socket_pair() -> tuple[int, int]:
    import socket

    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one.detach(), other.detach()


needs_memfd = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create(2)")


@needs_memfd
def test_a_number_is_never_used_after_it_was_closed():
    assert storm(files.provide, rounds=20) == []


@needs_memfd
def test_the_storm_catches_a_provider_that_closes_the_descriptor_under_its_users():
    def careless(number):
        file = files.Descriptor(number, os.O_RDWR, None, Departure(None))
        return Provider(file, interrupt=lambda _: os.close(number), release=lambda file: setattr(file, "_number", -1))

    assert storm(careless, rounds=2000) != []


# Event loops


@needs_epoll
def test_a_watch_is_readable_when_there_is_data_and_for_good_from_the_removal_on(pipe, waker):
    ours, theirs = os.pipe()
    provider = files.provide(ours)
    line = files.open(provider.proxy(), blocking=False)
    number = line.watch()
    assert line.watch() == number
    assert select.select([number], [], [], 0) == ([], [], [])
    os.write(theirs, b"x")
    assert select.select([number], [], [], PATIENCE)[0] == [number]
    assert line.read(1) == b"x"
    assert select.select([number], [], [], 0)[0] == []
    provider.revoke()
    assert select.select([number], [], [], PATIENCE)[0] == [number]  # though it was not looked at before the release
    with pytest.raises(Revoked):
        line.read(1)
    with pytest.raises(Revoked):
        line.watch()
    assert os.fstat(number)
    line.close()
    with pytest.raises(OSError):
        os.fstat(number)
    os.close(theirs)


@needs_epoll
def test_a_watch_for_room_to_write_is_another_one(full):
    provider, theirs = full
    line = files.open(provider.proxy())
    room = line.watch(select.POLLOUT)
    assert room != line.watch()
    assert select.select([room], [], [], 0)[0] == []
    os.read(theirs, 1 << 20)
    assert select.select([room], [], [], PATIENCE)[0] == [room]


@needs_epoll
def test_a_regular_file_is_always_ready_to_a_watch(document):
    with files.open(document.proxy()) as file:
        number = file.watch()
        assert select.select([number], [], [], 0)[0] == [number]


@needs_epoll
def test_asyncio_reads_and_hears_of_the_removal(pipe):
    provider, theirs = pipe

    async def consume():
        loop = asyncio.get_running_loop()
        with files.open(provider.proxy(), blocking=False) as line:
            heard: asyncio.Future[None] = loop.create_future()

            def on_ready():
                try:
                    seen.append(line.read(100))
                except Revoked as gone:
                    loop.remove_reader(number)
                    heard.set_exception(gone)

            number = line.watch()
            loop.add_reader(number, on_ready)
            os.write(theirs, b"ping")
            while not seen:
                await asyncio.sleep(0)
            await loop.run_in_executor(None, provider.revoke)
            async with asyncio.timeout(PATIENCE):
                await heard

    seen: list[bytes | None] = []
    with pytest.raises(Revoked):
        asyncio.run(consume())
    assert seen == [b"ping"]


def test_where_there_is_no_epoll_a_watch_says_so(pipe, monkeypatch):
    monkeypatch.delattr(select, "epoll", raising=False)
    with pytest.raises(io.UnsupportedOperation, match="epoll"):
        files.open(pipe[0].proxy()).watch()


# Another file in its place


@pytest.mark.parametrize("call", ["read", "poll"])
def test_who_is_blocked_in_a_file_that_is_replaced_goes_on_in_the_new_one(pipe, waker, sleepers, call):
    provider, _ = pipe
    blocked = Call(getattr(files.open(provider.proxy()), call), 1)
    sleepers(1)
    with provider.proxy().access() as old:
        pass
    ours, theirs = os.pipe()
    files.replace(provider, ours, timeout=PATIENCE)
    with pytest.raises(ValueError, match="'pipe' has been released"):
        old.fileno()
    sleepers(2)
    assert not blocked.returned
    os.write(theirs, b"ping")
    assert blocked.result() == {"read": b"p", "poll": select.POLLIN}[call]
    provider.revoke()
    os.close(theirs)


@needs_epoll
def test_a_watch_follows_the_file_that_was_put_in_the_place(pipe):
    provider, old = pipe
    with files.open(provider.proxy(), blocking=False) as line:
        number = line.watch()
        shared = os.dup(old)
        ours, theirs = os.pipe()
        files.replace(provider, ours)
        assert select.select([number], [], [], PATIENCE)[0] == [number]  # look: something has changed
        assert line.read(1) is None
        assert select.select([number], [], [], 0)[0] == []
        os.write(theirs, b"x")
        assert select.select([number], [], [], PATIENCE)[0] == [number]
        assert line.read(1) == b"x"
        provider.revoke()
        assert select.select([number], [], [], PATIENCE)[0] == [number]
    for each in (shared, theirs):
        os.close(each)


def test_files_are_replaced_again_and_again_while_others_read_poll_and_watch():
    rounds = 20
    ours, theirs = os.pipe()
    provider = files.provide(ours, name="pipe")
    lines = [files.open(provider.proxy(), blocking=blocking) for blocking in (True, True, False)]
    took: list[bytes] = []

    def read(line):
        while True:
            took.append(line.read(1))

    def watch(line):
        number = line.watch() if hasattr(select, "epoll") else None
        while True:
            if number is None:
                line.poll()
            else:
                assert select.select([number], [], [], PATIENCE)[0] == [number]
            took.append(line.read(1) or b"")

    calls = [Call(read, lines[0]), Call(read, lines[1]), Call(watch, lines[2])]
    for number in range(rounds):
        os.write(theirs, b"x")
        until(lambda: took.count(b"x") == number + 1)  # noqa: B023 - it is done with before the next
        ours, fresh = os.pipe()
        files.replace(provider, ours, timeout=PATIENCE)
        os.close(theirs)
        theirs = fresh
    provider.revoke(timeout=PATIENCE)
    for call in calls:
        with pytest.raises(Revoked):
            call.result()
    os.close(theirs)


def test_a_replacement_that_takes_too_long_says_who_is_inside_and_can_be_carried_on(pipe):
    provider, _ = pipe
    holder = Holder(provider.proxy("reader"))
    with pytest.raises(RevokeTimeout, match=r"'pipe' was replaced, but .* within 0 s; .*proxy 'reader'") as caught:
        files.replace(provider, os.devnull, timeout=0)
    assert files.open(provider.proxy()).read(1) == b""
    [blocker] = caught.value.blockers
    assert blocker.proxy == "reader"
    holder.leave()
    pending = caught.value.pending
    assert pending.wait(PATIENCE) is True
    assert pending.resource is holder.seen[0]
    pending.resource.close()


def test_the_new_file_has_an_owner_to_be_told_of_its_own(failing):
    provider, told = failing
    others: list[object] = []
    files.replace(provider, os.devnull, on_gone=others.append)
    with pytest.raises(Revoked):
        files.open(provider.proxy()).read(1)
    assert (told, others) == ([], [provider])


def test_a_file_that_is_dropped_open_is_closed_with_a_warning():
    before = descriptors()
    file = files.Descriptor(os.devnull, os.O_RDWR, None, Departure(None))
    with pytest.warns(ResourceWarning, match="'/dev/null' was dropped while open"):
        del file
        gc.collect()
    assert descriptors() == before


# Fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

    def test_a_removal_in_the_child_wakes_nobody_in_the_parent(self, waker, pipe, sleepers):
        provider, theirs = pipe
        line = files.open(provider.proxy())
        call = Call(line.read, 1)
        sleepers(1)

        def check():
            assert provider.revoke(timeout=5) is True
            with pytest.raises(Revoked):
                line.read(1)

        in_child(check)
        with provider.proxy().access() as file:
            assert file._poll(select.POLLIN, time.monotonic()) == 0  # its waker is asleep
        os.write(theirs, b"x")
        assert call.result() == b"x"

    def test_a_removal_in_the_parent_is_the_parents_affair(self, waker, pipe):
        provider, theirs = pipe
        line = files.open(provider.proxy())
        gone_r, gone_w = os.pipe()
        ready_r, ready_w = os.pipe()

        def check():
            os.write(ready_w, b"x")
            assert os.read(gone_r, 1) == b"x"
            assert line.poll(timeout=0) == 0
            os.write(theirs, b"y")
            assert line.read(1) == b"y"
            assert provider.revoke(timeout=5) is True

        child = Call(in_child, check)
        assert os.read(ready_r, 1) == b"x"
        provider.revoke(timeout=PATIENCE)
        os.write(gone_w, b"x")
        child.result()
        for each in (gone_r, gone_w, ready_r, ready_w):
            os.close(each)

    def test_a_removal_that_is_under_way_still_wakes_in_the_child(self, waker, pipe):
        provider, _ = pipe
        section = provider.proxy().access()
        section.detach()
        removal = provider.revoke_soon()

        def check():
            with pytest.raises(files._Woken):
                section.resource._poll(select.POLLIN, None)
            section.end()

        in_child(check)
        section.end()
        assert removal.wait(PATIENCE)

    @needs_epoll
    def test_a_watch_of_the_childs_does_not_disturb_that_of_the_parent(self, pipe):
        provider, theirs = pipe
        with files.open(provider.proxy(), blocking=False) as line:
            number = line.watch()

            def check():
                assert line.watch() == number
                provider.revoke(timeout=5)
                assert select.select([number], [], [], 5)[0] == [number]
                line.close()

            in_child(check)
            assert select.select([number], [], [], 0)[0] == []
            os.write(theirs, b"x")
            assert select.select([number], [], [], PATIENCE)[0] == [number]

    @needs_epoll
    def test_a_watch_that_was_closed_and_is_still_referred_to_is_no_hindrance(self, pipe):
        line = files.open(pipe[0].proxy())
        line.watch()
        [watch] = line._watches.values()
        line.close()
        in_child(waking._after_fork)  # what a fork runs; once more, because a failure is only printed there
        assert watch._outer.closed

    def test_the_parents_descriptor_goes_on_not_to_block_whatever_the_child_releases(self, pipe):
        provider, _ = pipe
        in_child(lambda: provider.revoke(timeout=5))
        with provider.proxy().access() as file:
            assert not os.get_blocking(file.fileno())
