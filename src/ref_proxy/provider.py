"""Providers: who owns a resource, and how it is removed. All the policy is here; the mechanism is the cell's."""

from __future__ import annotations

import errno
import os
import warnings
from itertools import count
from math import inf
from time import monotonic

from . import alarm, report, tasks
from ._backend import Cell, Proxy, trace
from ._typing import Generic, TypeVar
from .errors import Revoked, RevokeDeadlock, RevokeTimeout
from .waiting import Bell, Claim, check_timeout, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Literal, NoReturn, Self

    from .loops import Loop
    from .report import Blocker

__all__ = ["STALL_AFTER", "Provider", "Revocation", "refuse_deadlock", "refuse_own_task"]

T = TypeVar("T")
_numbers = count(1)


STALL_AFTER = 10.0  # seconds

if os.environ.get("REF_PROXY_DEBUG") == "1":  # the face loads this module, before anybody can make a cell
    report.noting = True
    trace(report.note_access)


def refuse_deadlock(removals: Iterable[Revocation[Any]]) -> None:
    """Raise, before anything is changed, where a blocking wait for all of these would keep one of them from ending."""
    removals = list(removals)
    _refuse_own_sections((removal._cell, removal._first, removal._last or removal._cell.number) for removal in removals)
    for removal in removals:
        removal._refuse_own_hook()


def _refuse_own_sections(publications: Iterable[tuple[Cell, int, int]]) -> None:
    """Raise where the sections that would be waited for could not end meanwhile: this thread's, and those of its event loop.

    Each task is looked into once, for the sections of all cells: there may be thousands of either.
    """
    here: list[Any] | None = None  # the tasks, as soon as there is anything that they could hold
    theirs: dict[int, tuple[Cell, Proxy[Any]]] = {}
    own = not tasks.in_loop()  # where no task could hold any, those of others are not even listed: there may be a million
    for cell, first, last in publications:
        sections = cell.sections(first, last, own)
        if sections and here is None:
            here = tasks.here()
        for proxy, _, mine, detached, token in sections:
            if detached:
                continue
            if mine:
                raise _deadlock(cell, proxy, "this very thread", "thread or task")
            if here:
                theirs[token] = cell, proxy
    for task in here or ():
        for token in tasks.holds(task, theirs):
            raise _deadlock(*theirs[token], f"task {tasks.name(task)!r}, of the event loop that runs here,", "thread")


async def refuse_own_task(loop: Loop, cell: Cell, first: int, last: int) -> None:
    """The same for a task, which blocks only itself."""
    from . import loops

    mine = {token: proxy for proxy, _, _, _, token in cell.sections(first, last, True)}
    if mine:
        task = tasks.current()
        for token in await loops.at_rest(loop, lambda: tasks.holds(task, mine)):
            raise _deadlock(cell, mine[token], "this very task", "thread or task")


def _deadlock(cell: Cell, proxy: Proxy[Any], whose: str, others: str) -> RevokeDeadlock:
    who = "a proxy" if proxy.name is None else f"proxy {proxy.name!r}"
    return RevokeDeadlock(
        f"{cell.name!r} cannot be removed in here: it would wait for a section of {who} that {whose} is inside; end that section "
        f"first, detach() it if another {others} is going to end it, or, in an event loop, await arevoke() in a task of its own"
    )


class Revocation(Generic[T]):
    """The removal of one resource: under way, or done. Made by `revoke_soon()`, or carried by a `RevokeTimeout` as its `pending`.

    Every step may be begun by one thread and finished by another, and may be broken off by Ctrl-C at any instruction: what has
    been done is recorded by single atomic steps, and whoever comes next carries on from there.

    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> section = provider.proxy("reader").access()
    >>> removal = provider.revoke_soon()
    >>> removal.done
    False
    >>> section.end()
    >>> removal.wait(timeout=5)
    True
    """

    __slots__ = ("_bell", "_cell", "_claims", "_first", "_interrupt", "_last", "_release", "_resource", "_since", "_stall_after")

    def __init__(
        self,
        cell: Cell,
        bell: Bell,
        *,
        interrupt: Callable[[T], object] | None = None,
        release: Callable[[T], object] | None = None,
        replaced: tuple[int, T] | None = None,
        stall_after: float | None,
    ) -> None:
        self._cell = cell
        self._bell = bell
        self._interrupt = interrupt
        self._release = release
        self._claims: dict[str, Claim] = {}
        self._since: float | None = None
        self._stall_after = stall_after
        # What it waits for: the sections of one replaced publication, or, at the end, of all that there ever were.
        self._first = self._last = 0
        self._resource: T | None = None
        if replaced is not None:
            self._first = self._last = replaced[0]
            self._resource = replaced[1]
            self._since = monotonic()

    @property
    def _final(self) -> bool:
        return self._first == 0

    @property
    def done(self) -> bool:
        """Whether the sections have ended, and the resource, where this removal is to release it, has been released."""
        return self._over("release") if self._final else self._drained()

    @property
    def resource(self) -> T | None:
        """The resource that is being removed, for its owner; None once it was released."""
        return self._resource

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the removal is done, and carry it on if nobody else does: False if that takes longer than `timeout` seconds.

        Blocks: on the open sections, then on the release, which this thread may come to run. Raises: what the release raises;
        `RevokeDeadlock` where it would wait for its own thread; `ValueError` for a bad timeout. Cost: no polling, one wake-up.
        """
        check_timeout(timeout)
        self._refuse_deadlock()
        return self._finish(None if timeout is None else monotonic() + timeout) is not None

    def blockers(self) -> list[Blocker]:
        """Who is still inside, one record a section."""
        waiting = None if self._since is None else monotonic() - self._since
        return report.blockers(self._cell, self._first, self._last or self._cell.number, waiting)

    # The steps, in their order. Each may be taken again: it does what is left of it.

    def _refuse_deadlock(self) -> None:
        _refuse_own_sections([(self._cell, self._first, self._last or self._cell.number)])
        self._refuse_own_hook()

    def _refuse_own_hook(self) -> None:
        for step in ("interrupt", "release"):
            claim = self._claims.get(step)
            if claim is not None and claim.mine and not self._over(step):
                raise RevokeDeadlock(f"{self._cell.name!r} cannot be removed in here: this very thread is running its {step}")

    def _deny(self) -> None:
        try:
            resource = self._cell.deny()
        finally:
            if self._since is None:
                self._bell.ring()  # for those who wait to hear of it
        self._last = self._cell.number
        if self._since is None:
            self._since = monotonic()
        self._resource = resource
        if "release over" in self._claims:  # meanwhile, by another thread
            self._resource = None

    def _over(self, step: str) -> bool:
        """Whether a hook has been run, or need not be. Each is run once, by the thread that claims it."""
        if f"{step} over" in self._claims:  # [OVER]
            return True
        claim = self._claims.get(step)
        if claim is None or not claim.left_behind:
            return False
        self._claims[f"{step} over"] = claim  # this is a forked child: what the parent's thread is doing is the parent's affair
        return True

    def _uninterrupted(self) -> bool:
        """Whether there is an interrupt that nobody has run, or begun to."""
        return self._interrupt is not None and "interrupt" not in self._claims

    def _run_interrupt(self) -> None:
        interrupt, resource = self._interrupt, self._resource
        if interrupt is None or "interrupt" in self._claims:
            return
        me = Claim()
        try:
            if self._claims.setdefault("interrupt", me) is not me:
                return
            if resource is not None:
                interrupt(resource)
            self._claims["interrupt over"] = me
        except Exception:
            self._claims["interrupt over"] = me  # first: Ctrl-C may come while it is reported
            report.logger().exception("%r: interrupt failed; the removal goes on", self._cell.name)
        except BaseException:  # Ctrl-C: readers may still be blocked, so whoever carries on interrupts them again
            if self._claims.get("interrupt") is me:
                self._claims.pop("interrupt", None)
            raise
        finally:
            self._bell.ring()

    def _drained(self) -> bool:
        return self._cell.drained(self._first, self._last)

    def _due(self) -> bool:
        """Whether the release may run: nobody is inside, nor in the interrupt, and nobody has taken it upon himself."""
        return "release" not in self._claims and self._drained() and (self._interrupt is None or self._over("interrupt"))

    def _stirred(self) -> bool:
        """Whether there is something to be done, or nothing any more."""
        if not self._final:
            return self._drained()
        return self.done or self._due() or self._uninterrupted()

    def _run_release(self) -> bool:
        me, begun = Claim(), False
        try:
            if self._claims.setdefault("release", me) is not me:  # [CLAIM] lets one in
                return False
            release, resource = self._release, self._resource
            begun = True  # from here on nobody releases it again, whatever happens
            if release is not None and resource is not None:
                release(resource)
            return True
        finally:
            if begun:
                self._claims["release over"] = me  # [OVER] one store, after the release: Ctrl-C cannot come between
            elif self._claims.get("release") is me:
                self._claims.pop("release", None)
            try:
                if begun:
                    self._resource = None
                    self._cell.clear()
                    alarm.cancel(self)
            finally:
                self._bell.ring()

    def _finish(self, deadline: float | None = None) -> bool | None:
        """Wait, and release: True for the one who did, False for all others, None when the time ran out."""
        while not self.done:
            if self._final and self._take_steps():
                return True
            if not self._bell.wait(self._stirred, self._next_look(deadline)) and self._too_late(deadline):
                return None
        return False

    async def _afinish(self, loop: Loop, deadline: float | None) -> bool | None:
        """The same for a task. The hooks run in a thread of their own, for they may block, and are waited for to their end."""
        from . import loops

        while not self.done:
            if self._final and self._stirred():
                blocking = self._release is not None or self._uninterrupted()
                if await loops.in_thread(loop, self._take_steps, self._log_failure) if blocking else self._take_steps():
                    return True
            elif not await loops.wait(loop, self._bell, self._stirred, self._next_look(deadline)) and self._too_late(deadline):
                return None
        return False

    def _take_steps(self) -> bool:
        """Do what can be done now, without waiting for anybody. True for the one that released."""
        self._run_interrupt()
        return self._due() and self._run_release()

    def _log_failure(self, error: BaseException) -> None:
        report.logger().error("%r: release failed; the resource counts as released", self._cell.name, exc_info=error)

    # For a device, which drains all before it releases any.

    def _quiet(self) -> bool:
        """Whether the release could be run, or another thread has begun to."""
        return self.done or self._due() or "release" in self._claims

    def _quiet_or_uninterrupted(self) -> bool:
        return self._quiet() or self._uninterrupted()

    def _quiesce(self, deadline: float | None) -> bool:
        """Wait until it is quiet: False when the time ran out."""
        while not self._quiet():
            self._run_interrupt()
            if not self._bell.wait(self._quiet_or_uninterrupted, self._next_look(deadline)) and self._too_late(deadline):
                return False
        return True

    async def _aquiesce(self, loop: Loop, deadline: float | None) -> bool:
        from . import loops

        while not self._quiet():
            if self._uninterrupted():
                await loops.in_thread(loop, self._run_interrupt, self._log_failure)
            look = self._next_look(deadline)
            if not await loops.wait(loop, self._bell, self._quiet_or_uninterrupted, look) and self._too_late(deadline):
                return False
        return True

    # Who waits reports what stalls: so nothing else need be awake for that.

    def _report_due(self) -> float:
        """When to say next that it stalls."""
        if self._since is None or self._stall_after is None:
            return inf
        return report.stall_due(self._since, self._stall_after, self._reports())

    def _reports(self) -> int:
        return sum(1 for key in list(self._claims) if key.startswith("report"))

    def _next_look(self, deadline: float | None) -> float | None:
        """When to stop waiting, at the latest."""
        due = self._report_due() if deadline is None else min(deadline, self._report_due())
        return None if due == inf else due

    def _too_late(self, deadline: float | None) -> bool:
        if deadline is not None and monotonic() >= deadline:
            return True
        self._report_stall()
        return False

    def _report_stall(self) -> None:
        me, number = Claim(), self._reports()
        # Others may wait for the same, and have said it already: then the next report is not due.
        if monotonic() < self._report_due() or self._claims.setdefault(f"report {number}", me) is not me:
            return
        found = self.blockers()
        report.logger().warning(
            "%r: the removal has been waiting for %.1f s; still inside: %s\n%s",
            self._cell.name,
            monotonic() - (self._since or 0),
            report.describe(found) if found else "nobody, but a thread is running a hook",
            report.show(found),
        )

    # With nobody waiting: the release runs in a thread of its own, never in a reader's, a finaliser's or a signal handler's.

    def _finish_later(self) -> None:
        self._bell.hang(self._start_finish)
        if self._stirred():
            self._start_finish()
        else:
            self._watch()

    def _watch(self) -> None:
        due = self._next_look(None)
        if due is not None:
            alarm.call_at(self, due, self._report_unwaited)
            if self.done:  # in between
                alarm.cancel(self)

    def _report_unwaited(self) -> None:
        if not self.done:
            self._report_stall()
            self._watch()

    def _start_finish(self) -> None:
        if self._release is None and self._due():
            self._run_release()  # nothing that could block
        elif not self.done:
            start(self._finish_here)

    def _finish_here(self) -> None:
        try:
            self._take_steps()
        except BaseException as error:
            self._log_failure(error)
        if not self.done:
            self._finish_later()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: it stands for one removal in this process")

    def __repr__(self) -> str:
        return f"<ref_proxy.Revocation of {self._cell.name!r}, {'done' if self.done else 'waiting'}>"


class Provider(Generic[T]):
    """Own a resource that others use, and that can go away while they do.

    Consumers reach it through `proxy()`. Removal always runs deny -> interrupt -> drain -> release: no access is granted any
    more, blocked readers are told, those inside come out, and only then is the resource released.

    Guarantees: S1 to S16, S18 to S20. Blocks: only `revoke()`, `replace()` and leaving a `with`, on open sections; leaving an
    `async with` awaits `arevoke()`. Threads: any method from any thread. Fork: in a child only the forking thread's sections are
    open. A provider that is dropped while it is live warns (`ResourceWarning`), denies, and releases after the last section, in a
    thread of its own.
    Source: `struct ref_proxy_provider`, `ref_proxy_provider_alloc()`; unlike there, making one never waits.

    Args:
        resource: what is shared: any object but None, which means "gone".
        release: called with the resource, once, after the last section has ended: `Serial.close`.
        interrupt: called with the resource after the denial and before the wait, so that a blocked reader comes back:
            `Serial.cancel_read`. It is called once, so it must reach a reader too that is only about to block. A failure of it is
            logged, and does not stop the removal.
        name: what messages and reports call it; the resource's type and a number where it is left out.
        stall_after: a removal that has waited for so many seconds logs who is inside, as a warning of the logger "ref_proxy", and
            again after twice the time, and so on. None: it never does.

    Both hooks are plain functions, and may run in any thread. What belongs to an event loop is released there with
    `lambda writer: loop.call_soon_threadsafe(writer.close)`.

    >>> import io
    >>> from ref_proxy import Provider, Revoked
    >>> provider = Provider(io.StringIO("ping"), release=io.StringIO.close, name="line")
    >>> proxy = provider.proxy("reader")
    >>> with proxy.access() as line:
    ...     line.read()
    'ping'
    >>> provider.revoke()
    True
    >>> proxy.access()
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'line' was refused: the resource is revoked; ...
    """

    __slots__ = ("__weakref__", "_cell", "_removal")

    def __init__(
        self,
        resource: T,
        *,
        release: Callable[[T], object] | None = None,
        interrupt: Callable[[T], object] | None = None,
        name: str | None = None,
        stall_after: float | None = STALL_AFTER,
    ) -> None:
        if resource is None:
            raise TypeError("the resource of a Provider cannot be None: that is what a reader gets when it is gone")
        for what, hook in (("release", release), ("interrupt", interrupt)):
            if hook is not None and not callable(hook):
                raise TypeError(f"{what} must be callable with the resource, or None, not {type(hook).__name__}")
            if tasks.is_async(hook):
                raise TypeError(
                    f"{what} cannot be a coroutine function, for it runs where there may be no event loop: pass a function that "
                    "hands the resource to its loop, with loop.call_soon_threadsafe()"
                )
        check_timeout(stall_after)
        if stall_after == 0:
            raise ValueError("stall_after must be more than 0 seconds; None never reports")
        if name is None:
            name = f"{type(resource).__name__}-{next(_numbers)}"
        elif not isinstance(name, str):
            raise TypeError(f"the name of a Provider must be a str or None, not {type(name).__name__}")
        bell = Bell()
        self._cell: Cell = Cell(resource, name, bell)
        self._removal: Revocation[T] = Revocation(self._cell, bell, interrupt=interrupt, release=release, stall_after=stall_after)
        report.note_making(self)

    @property
    def name(self) -> str:
        """What messages and reports call it."""
        return self._cell.name

    @property
    def state(self) -> Literal["live", "draining", "revoked"]:
        """`"live"`, `"draining"` from the denial on, `"revoked"` once the resource has been released."""
        return "live" if self._cell.live else "revoked" if self._removal.done else "draining"

    def proxy(self, name: str | None = None) -> Proxy[T]:
        """Make a weak handle on the resource, for one consumer or for many.

        Never blocks, and never fails for a provider that is revoked: the proxy's accesses are refused then.
        Raises: `TypeError` where the name is no str. Cost: under 80 bytes. Source: `ref_proxy_alloc()`.
        """
        return Proxy(self._cell, name)

    def revoke(self, timeout: float | None = None) -> bool:
        """Remove the resource: deny, interrupt, drain, release. True for the one caller that did it, False for all others.

        Guarantees: S2 to S9. Blocks: until every section that was open has ended and the release has run, at most `timeout`
        seconds (None: without bound); the release itself is not cut short. All callers wait, also those that get False.

        Raises:
            RevokeTimeout: the time ran out; denied, not released, and a later call carries on.
            RevokeDeadlock: one of the sections is this thread's own, or a task's of the event loop that runs in it; nothing was
                changed.
            ValueError, TypeError: a bad timeout; nothing was changed.
            What `release` raises, to the one that ran it; the provider is revoked then.
            KeyboardInterrupt: heard while waiting; denied, and a later call carries on.

        Cost: a few microseconds where nobody is inside, however many proxies there are. Source: `ref_proxy_provider_free()`.

        >>> provider = Provider(["a resource"])
        >>> provider.revoke(), provider.revoke()
        (True, False)
        """
        check_timeout(timeout)
        removal = self._removal
        if removal.done:
            return False
        removal._refuse_deadlock()
        deadline = None if timeout is None else monotonic() + timeout
        removal._deny()
        removal._run_interrupt()
        return self._outcome(removal, removal._finish(deadline), timeout)

    async def arevoke(self, timeout: float | None = None) -> bool:
        """Remove the resource as `revoke()` does, blocking the calling task alone. Under asyncio and trio.

        Guarantees: S2 to S9, S16. Blocks: no thread and no loop; the task, as `revoke()`, at most `timeout` seconds. Threads: any
        loops in any threads, mixed with blocking callers; one of all gets True. The hooks run in a thread of their own.

        Raises:
            RevokeTimeout, ValueError, TypeError, what `release` raises: as `revoke()`.
            RevokeDeadlock: this task itself is inside; nothing was changed.
            RuntimeError: there is no event loop of asyncio or trio; nothing was changed.
            The cancellation of the task: denied, and a later call carries on.

        Cost: a thread where there is a hook to be run.

        >>> import asyncio
        >>> provider = Provider(["a resource"])
        >>> asyncio.run(provider.arevoke(timeout=5))
        True
        """
        from . import loops

        check_timeout(timeout)
        loop = loops.running()
        removal = self._removal
        if removal.done:
            return False
        deadline = None if timeout is None else monotonic() + timeout
        removal._refuse_own_hook()
        await refuse_own_task(loop, self._cell, 0, self._cell.number)
        removal._deny()
        return self._outcome(removal, await removal._afinish(loop, deadline), timeout)

    def revoke_soon(self) -> Revocation[T]:
        """Deny and interrupt now, and return; the release follows, in a thread of its own, when the last section has ended.

        Guarantees: S2, S4, S6, S7. Blocks: never, but for what `interrupt` does: fit for event loops, signal handlers, sections.
        Source: none; the kernel's removal waits without bound.

        >>> provider = Provider(["a resource"])
        >>> provider.revoke_soon().wait(timeout=5)
        True
        """
        removal = self._removal
        if not removal.done:
            removal._deny()
            removal._run_interrupt()
            removal._finish_later()
        return removal

    def replace(self, new: T, timeout: float | None = None) -> T:
        """Publish `new` at once, wait for the sections that hold the old resource, and return that, ready to be closed.

        Guarantees: S8, S9, S11, S12. Blocks: on the sections of the old resource alone, however many newer ones there are, at
        most `timeout` seconds. Nothing is interrupted or released: the old resource is the caller's again.

        Raises:
            Revoked: the provider is revoked, or about to be; `new` is still the caller's.
            RevokeTimeout: the time ran out; `new` is published, and the exception's `pending` is the removal of the old one:
                after `pending.wait()`, that is `pending.resource`.
            RevokeDeadlock: one of the sections is this thread's own; nothing was changed.
            ValueError, TypeError: a bad timeout, or None for a resource; nothing was changed.
            KeyboardInterrupt: heard while waiting; `new` is published, and a later `revoke()` waits for the old one's sections.

        Source: `rcu_assign_pointer()` and `synchronize_srcu()`.

        >>> provider = Provider("the old one")
        >>> provider.replace("the new one")
        'the old one'
        >>> provider.revoke()
        True
        """
        check_timeout(timeout)
        number = self._cell.number
        _refuse_own_sections([(self._cell, number, number)])
        deadline = None if timeout is None else monotonic() + timeout
        pending, old = self._publish(new)
        self._outcome(pending, pending._finish(deadline), timeout)
        return old

    async def areplace(self, new: T, timeout: float | None = None) -> T:
        """Publish `new` and return the old resource, as `replace()` does, blocking the calling task alone.

        Guarantees: S8, S9, S11, S12, S16. Blocks: no thread and no loop; the task, as `replace()`, at most `timeout` seconds.
        Raises: what `replace()` does, `RevokeDeadlock` where this task itself is inside, and `RuntimeError` without a loop of
        asyncio or trio. Cancelled, `new` stays published, and a later removal waits for the old one's sections.
        """
        from . import loops

        check_timeout(timeout)
        loop = loops.running()
        number = self._cell.number
        await refuse_own_task(loop, self._cell, number, number)
        deadline = None if timeout is None else monotonic() + timeout
        pending, old = self._publish(new)
        self._outcome(pending, await pending._afinish(loop, deadline), timeout)
        return old

    def _publish(self, new: T) -> tuple[Revocation[T], T]:
        """Put `new` in the place of the old resource, and return that with its removal."""
        if new is None:
            raise TypeError("the resource of a Provider cannot be None: revoke() removes it")
        replaced = self._cell.publish(new)
        if replaced is None:
            raise Revoked(errno.ENODEV, f"{self.name!r} is revoked: nothing can be published any more; make a new Provider")
        removal = self._removal
        return Revocation(self._cell, removal._bell, replaced=replaced, stall_after=removal._stall_after), replaced[1]

    def _outcome(self, removal: Revocation[T], finished: bool | None, timeout: float | None) -> bool:
        if finished is not None:
            return finished
        found = removal.blockers()
        if removal._final:
            what, carry_on = "was denied to everybody, but not released", "call revoke() again to carry on"
        else:
            what, carry_on = "was replaced, but the old resource was not free", "the exception's pending.wait() carries on"
        inside = report.describe(found) if found else "nobody, but another thread is running a hook"
        message = f"{self.name!r} {what} within {timeout} s; still inside: {inside}; {carry_on}"
        raise RevokeTimeout(message, blockers=found, pending=removal)

    def blockers(self) -> list[Blocker]:
        """Who is inside now, one record a section: whom a removal waits for, or would wait for.

        Never blocks, and costs the sections nothing. Guarantees: S19.
        """
        return self._removal.blockers()

    def _disown(self) -> None:
        """Give the resource back to its owner, as if there had never been a provider: of one that nobody else has seen."""
        self._removal._interrupt = self._removal._release = None
        self.revoke()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.revoke()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.arevoke()

    def __del__(self) -> None:
        removal: Revocation[T] | None = getattr(self, "_removal", None)
        if removal is None or removal.done:
            return
        live = self._cell.live
        removal._deny()
        removal._finish_later()  # neither hook runs here: they are foreign code, which may block
        if live:
            report.note_dropping(id(self), f"provider {self.name!r}")
            warnings.warn(f"{self!r} was dropped while live: call revoke(), or use it in a `with`", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: it owns one resource in this process")

    def __repr__(self) -> str:
        return f"<ref_proxy.Provider {self.name!r}, {self.state}>"


Provider.__module__ = Revocation.__module__ = "ref_proxy"
