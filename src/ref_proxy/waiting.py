"""What waits are made of: a bell that can be rung from anywhere, a claim on what one thread alone may do, a thread for a job."""

from __future__ import annotations

import _thread
import atexit
import errno
import os
import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bell", "Claim", "check_timeout", "spawn", "start"]


def check_timeout(timeout: float | None) -> None:
    """Refuse what is no number of seconds: before anything was changed."""
    if timeout is None:
        return
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout is a number of seconds, or None to wait without bound, not {type(timeout).__name__}")
    if not timeout >= 0:  # NaN too
        raise ValueError(f"a timeout must be 0 or more seconds, not {timeout!r}; None waits without bound")


class Bell:
    """Wakes whoever waits, from anywhere: also out of a signal handler or a finaliser that interrupts a waiter, or another ring.

    Each waiter hangs up a rope, and takes it off again; ringing pulls those that hang there. A rope is a callable that does not
    block, and that may be pulled twice. There is no lock: a dict's single methods are atomic. A cell calls it as it is: `bell()`.
    """

    __slots__ = ("_ropes",)

    def __init__(self) -> None:
        self._ropes: dict[object, Callable[[], object]] = {}

    def hang(self, rope: Callable[[], object]) -> object:
        """Have `rope()` called at the next ring. Returns what `unhang()` takes."""
        peg = object()
        self._ropes[peg] = rope  # [HANG]
        return peg

    def unhang(self, peg: object) -> None:
        self._ropes.pop(peg, None)

    def ring(self) -> None:
        if not self._ropes:  # [RING] what changed has changed before; who hangs one up now looks once more: see [LOOK]
            return
        try:
            self._pull()
        except BaseException:  # Ctrl-C in the midst of it: nobody else may come by to wake the rest
            self._pull()
            raise

    __call__ = ring  # a bound method would be one more object a provider

    def _pull(self) -> None:
        # Of a copy, which is one step: a list of items is none on 3.11, where the collector may run finalisers in between.
        for peg, rope in self._ropes.copy().items():
            rope()
            self.unhang(peg)  # not before: see above

    def wait(self, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block until `ready()`, looking again at each ring, or until `monotonic()` is past the deadline: then False."""
        while not ready():
            rung = _thread.allocate_lock()
            rung.acquire()

            def rope(release: Callable[[], object] = rung.release) -> None:
                try:
                    release()
                except RuntimeError:  # pulled twice
                    pass

            peg = self.hang(rope)
            try:
                if ready():  # [LOOK] after [HANG]: it may have rung before the rope hung there
                    return True
                left = -1.0 if deadline is None else min(max(deadline - monotonic(), 0), _thread.TIMEOUT_MAX)
                if not rung.acquire(timeout=left) and deadline is not None and monotonic() >= deadline:
                    return ready()
            finally:
                self.unhang(peg)
        return True


class Claim:
    """That one thread, and no other, does a thing. It is claimed with `claims.setdefault(what, Claim())`, which is atomic."""

    __slots__ = ("_ident", "_pid")

    def __init__(self) -> None:
        self._ident = _thread.get_ident()
        self._pid = os.getpid()

    @property
    def mine(self) -> bool:
        """Whether the calling thread made it."""
        return self._ident == _thread.get_ident()

    @property
    def left_behind(self) -> bool:
        """Whether it is that of a thread which this process, a forked child, does not have."""
        return self._pid != os.getpid() and not self.mine


_jobs: dict[object, None] = {}
_job_ended = Bell()
EXIT_PATIENCE = 5.0  # seconds


def spawn(job: Callable[[], object]) -> None:
    """Run `job()`, which reports its own failures, in a thread of its own. Raises `BlockingIOError` where none can be had.

    Never blocks for the job's sake, so a finaliser may call it: `threading.Thread` would wait for the new thread to come up. The
    end of the interpreter waits for jobs under way, but not for good.
    """

    def run() -> None:
        _jobs[run] = None
        try:
            job()
        finally:
            _jobs.pop(run, None)
            _job_ended.ring()

    try:
        _jobs[run] = None  # before it comes up: the end of the interpreter waits for it
        if sys.is_finalizing():
            raise RuntimeError("can't start new thread")  # 3.11 would start one that never comes to run
        _thread.start_new_thread(run, ())
    except BaseException as error:
        _jobs.pop(run, None)  # after Ctrl-C it may run all the same, and is in there by itself
        if isinstance(error, RuntimeError):
            raise BlockingIOError(
                errno.EAGAIN,
                f"no thread can be had in process {os.getpid()}: {error}: it is at its limit, or the interpreter on its way out",
            ) from None
        raise


def start(job: Callable[[], object]) -> None:
    """Do the same, where no thread can be had here and now: for what comes to its end."""
    try:
        spawn(job)
    except BlockingIOError:
        job()


@atexit.register
def _let_jobs_end() -> None:
    _job_ended.wait(lambda: not _jobs, monotonic() + EXIT_PATIENCE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_jobs.clear)  # they run in threads of the parent's
