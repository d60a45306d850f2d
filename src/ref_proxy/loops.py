"""Waiting in an event loop: what asyncio and trio have in common, as far as a removal needs it.

A `Loop` is for one task, which finds it with `running()`. It loads neither library: whichever runs is loaded already.
"""

from __future__ import annotations

import math
import os
from time import monotonic

from . import tasks
from ._typing import TypeVar
from .waiting import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .waiting import Bell

__all__ = ["Loop", "at_rest", "in_thread", "running", "wait"]

T = TypeVar("T")


class Loop:
    """The event loop that runs the calling task."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def post(self, fn: Callable[[], object]) -> None:
        """Have `fn()` called by the loop. From anywhere, also a signal handler; a loop that has ended does nothing.

        Nor does one in a forked child: the loop runs in the parent. Its lock may be held for good here by a thread that is not,
        and what wakes it is shared with the parent.
        """
        if os.getpid() == self._process:
            self._post(fn)

    def _post(self, fn: Callable[[], object]) -> None:
        raise NotImplementedError

    def event(self) -> Event:
        """What a task of this loop can wait for."""
        raise NotImplementedError

    def scope(self) -> Scope:
        """A part of this task that can be cancelled."""
        raise NotImplementedError


class Event:
    """Set once, in the loop's thread, and waited for by one task."""

    def set(self) -> None:
        """Let the task go on. May be called again."""
        raise NotImplementedError

    async def wait(self, deadline: float | None) -> None:
        """Suspend the task until it is set, or `monotonic()` is past the deadline."""
        raise NotImplementedError


class Scope:
    """A part of one task: cancelled, it ends at the `await` where it stands, and an outside cancellation goes on outwards."""

    def enter(self) -> None:
        """Begin it."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End it, from the loop's own thread, while the task is inside."""
        raise NotImplementedError

    def leave(self, kind: Any, error: Any, trace: Any) -> bool:
        """Be told how the body was left: whether by this scope's own cancellation, which goes no further."""
        raise NotImplementedError


def running() -> Loop:
    """The event loop that runs this task. Raises `RuntimeError` where there is none of asyncio or trio."""
    trio = tasks.trio_here()
    if trio is not None and trio.in_trio_task():
        return _Trio()
    if tasks.asyncio_here() is not None:
        return _Asyncio()
    raise RuntimeError("there is no event loop of asyncio or trio running here: await this in a task, or use what blocks instead")


def _poster(loop: Loop, rung: Event) -> Callable[[], object]:
    return lambda: loop.post(rung.set)  # functools.partial is slow to be imported


async def wait(loop: Loop, bell: Bell, ready: Callable[[], bool], deadline: float | None = None) -> bool:
    """Wait as `Bell.wait()` does, but blocking this task alone. Cancelled, it leaves nothing behind."""
    while not ready():
        if deadline is not None and monotonic() >= deadline:
            return False
        rung = loop.event()
        peg = bell.hang(_poster(loop, rung))
        try:
            if not ready():  # it may have rung before the rope hung there
                await rung.wait(deadline)
        finally:
            bell.unhang(peg)
    return True


async def at_rest(loop: Loop, look: Callable[[], T]) -> T:
    """Return what `look()` sees in the loop while this task is suspended: only then its frames can be looked into."""
    seen: list[T] = []
    looked = loop.event()

    def run() -> None:
        try:
            seen.append(look())
        finally:
            looked.set()

    loop.post(run)
    await looked.wait(None)
    return seen[0]


async def in_thread(loop: Loop, job: Callable[[], T], unheard: Callable[[BaseException], object]) -> T:
    """Run `job()`, which may block, in a thread of its own, and return or raise what it does.

    Cancelled, the task does not wait for it any more; the job goes on, and `unheard(error)` is called if it fails.
    """
    done = loop.event()
    # Whoever comes first, the job with its outcome or the task that goes away, decides who hears of a failure.
    box: dict[str, tuple[list[T], BaseException | None]] = {}
    gone: tuple[list[T], BaseException | None] = ([], None)

    def run() -> None:
        try:
            outcome: tuple[list[T], BaseException | None] = ([job()], None)
        except BaseException as error:
            outcome = ([], error)
        if box.setdefault("", outcome) is gone and outcome[1] is not None:
            unheard(outcome[1])
        loop.post(done.set)

    start(run)
    try:
        await done.wait(None)
    except BaseException:
        error = box.setdefault("", gone)[1]
        if error is not None:
            unheard(error)
        raise
    values, error = box[""]
    if error is not None:
        raise error
    return values[0]


class _Asyncio(Loop):
    def __init__(self) -> None:
        import asyncio

        super().__init__()
        self._asyncio = asyncio
        self._loop = asyncio.get_running_loop()

    def _post(self, fn: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(fn)
        except RuntimeError:  # closed: nobody waits there any more
            pass

    def event(self) -> Event:
        return _AsyncioEvent(self._loop)

    def scope(self) -> Scope:
        return _AsyncioScope()


class _AsyncioEvent(Event):
    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._set = loop.create_future()

    def set(self) -> None:
        if not self._set.done():
            self._set.set_result(None)

    async def wait(self, deadline: float | None) -> None:
        timer = None if deadline is None else self._loop.call_later(max(deadline - monotonic(), 0), self.set)
        try:
            await self._set
        finally:
            if timer is not None:
                timer.cancel()


class _AsyncioScope(Scope):
    """The manner of `asyncio.timeout()`: it counts the requests to cancel its task, and takes back no other's."""

    def __init__(self) -> None:
        import asyncio

        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be cancelled, and this is none: use it in a coroutine that a task runs")
        self._task = task
        self._error = asyncio.CancelledError
        self._cancelled = False

    def enter(self) -> None:
        self._before = self._task.cancelling()

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._task.cancel("the resource was revoked")

    def leave(self, kind: Any, error: Any, trace: Any) -> bool:
        if not self._cancelled:
            return False
        return self._task.uncancel() <= self._before and kind is not None and issubclass(kind, self._error)


class _Trio(Loop):
    def __init__(self) -> None:
        import trio

        super().__init__()
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()

    def _post(self, fn: Callable[[], object]) -> None:
        try:
            self._token.run_sync_soon(fn)
        except self._trio.RunFinishedError:
            pass

    def event(self) -> Event:
        return _TrioEvent(self._trio)

    def scope(self) -> Scope:
        return _TrioScope(self._trio.CancelScope())


class _TrioEvent(Event):
    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, deadline: float | None) -> None:
        with self._trio.move_on_after(math.inf if deadline is None else max(deadline - monotonic(), 0)):
            await self._event.wait()


class _TrioScope(Scope):
    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def enter(self) -> None:
        self._scope.__enter__()

    def cancel(self) -> None:
        self._scope.cancel()

    def leave(self, kind: Any, error: Any, trace: Any) -> bool:
        raised = self._scope.__exit__(kind, error, trace)
        return bool(raised) and self._scope.cancelled_caught
