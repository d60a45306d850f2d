"""What the tests share: a resource that notices its misuse, and calls in threads whose waiting can be proved."""

from __future__ import annotations

import faulthandler
import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ref_proxy import BACKEND, waiting
from tests import PATIENCE

# What takes a minute, and stands on the twins' common promises alone, runs with one of them: the C twin, where there is that.
one_twin = pytest.mark.skipif(
    BACKEND == "py" and find_spec("ref_proxy._core") is not None, reason="what it tests is above the twins: run with the C one"
)


class Resource:
    """Keeps a log of what was done to it, and must not be used after its release."""

    def __init__(self, name: str = "resource") -> None:
        self.name = name
        self.log: list[str] = []

    def use(self) -> str:
        assert "released" not in self.log, f"{self.name} was used after its release"
        self.log.append("used")
        return self.name

    def interrupt(self) -> None:
        self.log.append("interrupted")

    def release(self) -> None:
        assert "released" not in self.log, f"{self.name} was released twice"
        self.log.append("released")


class Call(threading.Thread):
    """A call in a thread of its own. `result()` is what it returned, or raises what it raised."""

    def __init__(self, fn: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call = lambda: fn(*args, **kwargs)
        self._outcome: list[Any] = []
        self.start()

    def run(self) -> None:
        try:
            self._outcome = [self._call(), None]
        except BaseException as error:
            self._outcome = [None, error]

    @property
    def returned(self) -> bool:
        return bool(self._outcome)

    def assert_waits(self) -> Call:
        """Prove that it has come to wait, and has not returned."""
        until(lambda: self.returned or is_waiting(self.ident))
        assert not self.returned, f"it did not wait, but came back with {self._outcome}"
        return self

    def result(self) -> Any:
        self.join(PATIENCE)
        assert self._outcome, "the call did not come back"
        value, error = self._outcome
        if error is not None:
            raise error
        return value


def _line_of_the_wait() -> int:
    lines, first = inspect.getsourcelines(waiting.Bell.wait)
    [offset] = [i for i, line in enumerate(lines) if "rung.acquire(timeout=" in line]
    return first + offset


_LINE_OF_THE_WAIT = _line_of_the_wait()


def is_waiting(ident: int | None) -> bool:
    """Whether a thread is in the very line of `Bell.wait()` that waits, past its last look: nothing but a ring brings it on."""
    return _waits(sys._current_frames().get(ident or 0))


def _waits(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is waiting.Bell.wait.__code__:
            return frame.f_lineno == _LINE_OF_THE_WAIT
        frame = frame.f_back
    return False


@contextmanager
def struck_while_waiting(handler: Any) -> Iterator[None]:
    """Have the main thread run `handler()` out of a signal, once, while it waits in the body.

    The signal comes again and again, until it finds the thread waiting: one that comes in the instant before does not wake it.
    """
    heard = False

    def on_signal(_: int, frame: FrameType | None) -> None:
        nonlocal heard
        if not heard and _waits(frame):
            heard = True
            handler()

    old = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert heard


def until(condition: Any) -> None:
    """Look until it holds, less and less often: other threads and processes are to run meanwhile."""
    deadline, pause = time.monotonic() + PATIENCE, 0.0
    while not condition():
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(sys.__stderr__)
            raise AssertionError("what ought to have happened did not; the standard error shows where the threads are")
        time.sleep(pause)
        pause = min(2 * pause + 1e-6, 0.005)


class Holder:
    """A thread that opens a section, says so, and ends it when it is told to."""

    def __init__(self, proxy: Any) -> None:
        self._inside, self._leave = threading.Event(), threading.Event()
        self.seen: list[Any] = []
        self.call = Call(self._hold, proxy)
        assert self._inside.wait(PATIENCE)

    def _hold(self, proxy: Any) -> None:
        with proxy.access() as resource:
            self.seen.append(resource)
            self._inside.set()
            assert self._leave.wait(PATIENCE)

    def leave(self) -> None:
        self._leave.set()
        self.call.result()


def in_child(check):
    """Fork; run `check()` there; fail with what it printed unless it came to its end."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PATIENCE))  # a child that hangs says nothing, which is not "fine"
            check()
            os.write(write, b"fine")
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said == "fine", said


def sleeps_in_call_on(thread: threading.Thread, argument: int) -> bool:
    """Whether a thread is asleep in a system call with this first argument, which is a descriptor for most calls.

    The kernel says so. A thread that waits for a lock, be it the GIL, has the lock's address there.
    """
    try:
        fields = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
    except OSError:  # it has not begun, or has ended
        return False
    return fields[0].isdigit() and int(fields[1], 16) == argument  # not "running", and not -1: in no call
