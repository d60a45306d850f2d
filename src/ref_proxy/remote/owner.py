"""The owner's side: a resource that other processes attach to, and that is removed from all of them."""

from __future__ import annotations

import errno
import json
import os
import warnings
from _thread import RLock, get_ident
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from .. import report
from ..errors import RevokeDeadlock
from ..provider import STALL_AFTER, Provider, refuse_deadlock, refuse_own_task
from ..waiting import check_timeout, start
from . import address as addresses
from . import worker
from .hub import ending
from .recall import Recall
from .records import TO_REPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from types import TracebackType
    from typing import Literal, NoReturn, Self

    from .._backend import Proxy
    from ..provider import Revocation
    from .backend import Announcement, Info
    from .records import Holder, Outcome

__all__ = ["Shared", "announce"]

T = TypeVar("T")
R = TypeVar("R")
MOST_INFO = 32 * 1024  # bytes

_sharings: WeakSet[_Sharing[Any]] = WeakSet()


def announce(
    address: str,
    resource: T,
    *,
    release: Callable[[T], object] | None = None,
    interrupt: Callable[[T], object] | None = None,
    info: Mapping[str, Any] | None = None,
    name: str | None = None,
    stall_after: float | None = STALL_AFTER,
) -> Shared[T]:
    """Announce a resource by an address, for other processes to attach to. This process is its owner, and alone removes it.

    Guarantees: S2 to S7, across processes. Blocks: on the back end: the file system, or the server. Threads: any.

    Args:
        address: `"unix:NAME"` on this host, `"postgresql://...#NAME"` between hosts. A name has letters, digits, and `._-`.
        resource: what this process itself uses through `shared.proxy()`: any object but None.
        release: called with it once, when no process uses it any more: unlink the segment, close the connection.
        interrupt: called with it after the denial, as that of a `Provider`, for the readers of this process.
        info: what others need to open theirs: what JSON can say, 32 KiB at most.
        name: what messages and reports call it; the address where it is left out.
        stall_after: as that of a `Provider`: it also reports processes that do not let go.

    Raises: `ValueError`, `TypeError` for a bad address, resource or info; `FileExistsError` where another owner is alive, which
    is named; `PermissionError` where the place of the name is not this user's own; `ConnectionError` where the server cannot be
    reached; `BlockingIOError` where no thread can be had. Nothing is announced then (where only the answer was lost, as soon as
    the server ends the session), and the resource is still the caller's.
    Cost: a thread that sleeps until it hears something, one for all that this process announces and attaches to.

    >>> from ref_proxy import remote
    >>> shared = remote.announce("unix:doctest-announce", ["a resource"], info={"path": "/dev/shm/x"})
    >>> handle = remote.attach("unix:doctest-announce", open=lambda info: info["path"])
    >>> with handle.proxy().access() as path:
    ...     path
    '/dev/shm/x'
    >>> shared.revoke(timeout=5).state
    'drained'
    >>> handle.proxy().access()
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] a proxy of 'unix:doctest-announce' was refused: the resource is revoked; ...
    """
    sharing = _Sharing(address, resource, release, interrupt, info, name, stall_after)
    try:
        sharing.announce()
        return Shared(sharing)
    except BaseException:  # Ctrl-C may come at any moment of it
        sharing.take_back()
        raise


class _Sharing(Generic[T]):
    """What a `Shared` stands for. It outlives that one, where the removal does."""

    def __init__(
        self,
        address: str,
        resource: T,
        release: Callable[[T], object] | None,
        interrupt: Callable[[T], object] | None,
        info: Mapping[str, Any] | None,
        name: str | None,
        stall_after: float | None,
    ) -> None:
        self.backend, self.place = addresses.find(address)
        self.address = address
        self.info = _checked(info)
        self.pid = os.getpid()
        self.stall_after = stall_after
        self.provider = Provider(
            resource,
            release=release,
            interrupt=interrupt,
            name=addresses.shown(address) if name is None else name,
            stall_after=stall_after,
        )
        # Held while another epoch is announced, or the last one is recalled. Reentrant, for a signal handler that comes right
        # before or after that: in the midst of it there is `_changes_in`, the thread that has it.
        self._changing = RLock()
        self._changes_in = 0
        self.announcements: list[Announcement] = []  # all that may have holders, the current one last
        self.final: Recall[T] = Recall(self.provider.name, self.provider._removal, self.announcements, stall_after)
        self.over = False  # it is removed, and the name given up

    def announce(self) -> None:
        """Take the name. What fails, or is broken off, is to be taken back."""
        self.announcements.append(self.backend.announce(self.place, self.info, self))
        _sharings.add(self)

    def take_back(self) -> None:
        """Announce nothing, however far it has come; the resource is its owner's again."""
        self.provider._disown()
        for announcement in self.announcements:
            try:
                announcement.recall(replaced=False)  # somebody may have come already
            finally:
                announcement.withdraw()

    @property
    def current(self) -> Announcement:
        return self.announcements[-1]

    def waited_for_here(self) -> list[Revocation[Any]]:
        """What its removal waits for in this very process: its own part, and those of handles."""
        return [self.provider._removal, *worker.removals_here(self.backend, self.place)]

    @contextmanager
    def _change(self, deadline: float | None) -> Generator[None]:
        """The body announces, or recalls: one at a time. Raises: `TimeoutError`."""
        if not self._changing.acquire(timeout=-1 if deadline is None else max(deadline - monotonic(), 0)):
            raise TimeoutError(
                errno.ETIMEDOUT, f"{self.provider.name!r} is being announced anew, or recalled, and the server is slow"
            )
        try:
            self._changes_in = get_ident()
            yield
        finally:
            self._changes_in = 0
            self._changing.release()

    def _refuse_own_change(self) -> None:
        if self._changes_in == get_ident():
            raise RevokeDeadlock(
                f"{self.provider.name!r}: this thread is in the midst of its revoke() or replace(), which goes on when what has "
                "interrupted it, a signal handler or a finaliser, returns: do it after that, or in another thread"
            )

    def deny(self, deadline: float | None = None) -> None:
        """Deny it in all processes. Raises: `TimeoutError`, where who replaces it will recall it."""
        self.provider._removal._deny()  # before the lock: see `replace()`
        with self._change(deadline):
            for announcement in list(self.announcements):
                announcement.recall(replaced=False)

    def revoke(self, timeout: float | None, fence_after: float | None) -> Outcome:
        check_timeout(timeout)
        check_timeout(fence_after)
        self.refuse_child()
        removal, deadline = self.provider._removal, None if timeout is None else monotonic() + timeout
        if not self.final.done:
            self._refuse_own_change()
            refuse_deadlock(self.waited_for_here())
            try:
                self.deny(deadline)
            except TimeoutError:
                raise self.final._late(timeout) from None
            removal._run_interrupt()
        try:
            return self.final.wait(timeout, fence_after=fence_after)
        finally:
            if removal.done and not self.over:
                self._withdraw()

    def replace(self, new: T, info: Info | None, timeout: float | None, fence_after: float | None) -> tuple[T, Outcome]:
        check_timeout(timeout)
        check_timeout(fence_after)
        self.refuse_child()
        self._refuse_own_change()
        checked = self.info if info is None else _checked(info)
        refuse_deadlock(self.waited_for_here())
        try:
            with self._change(None if timeout is None else monotonic() + timeout):
                if new is None or self.provider.state != "live":
                    self.provider._publish(new)  # which says what is wrong
                retired = self.current
                self.announcements.append(retired.succeed(checked))
                pending, old = self.provider._publish(new)  # or it was denied in between, which this says
                self.info = checked
                for each in self.announcements[:-1]:  # with those of which a replace() was broken off
                    each.recall(replaced=True)
        finally:
            # Who denied it meanwhile may have given up waiting for the lock: before we gave it back, so it is seen here.
            if self.provider.state != "live":
                self.deny()
        recall = Recall(self.provider.name, pending, [retired], self.stall_after, lambda: self.announcements.remove(retired))
        return old, recall.wait(timeout, fence_after=fence_after)

    def _withdraw(self) -> None:
        self.current.withdraw()
        self.over = True  # last: what Ctrl-C has broken off is done again when it is dropped

    def asked(self, timeout: float | None, fence_after: float | None) -> Outcome:
        return self.revoke(timeout, fence_after)

    def renewed(self, until: int) -> bool:
        return self.provider._cell.lease(until)

    def lost(self, reason: str) -> None:
        report.logger().error(
            "%r is denied, for its name is lost: %s; revoke() it, and announce() it again", self.provider.name, reason
        )
        self.provider._removal._deny()

    def refuse_child(self) -> None:
        if os.getpid() != self.pid:
            raise RuntimeError(f"{self.provider.name!r} is process {self.pid}'s, which announced it: only that one can remove it")

    def after_fork(self) -> None:
        """In a forked child, of which nobody knows: what it has inherited is denied, and not released."""
        self.provider._cell.deny()
        self.provider._removal._interrupt = self.provider._removal._release = None

    def dropped(self) -> None:
        """Nobody can remove it any more, so this does, in a thread of its own."""
        try:
            self.deny()
            self.provider._removal._run_interrupt()
            self.final.wait()
        except BaseException as error:
            report.logger().error("%r: its removal failed", self.provider.name, exc_info=error)
        self._withdraw()


class Shared(Generic[T]):
    """A resource that this process owns, and that others attach to. Made by `announce()`.

    Removal runs deny -> interrupt -> drain -> release in all of them: each process that is attached does so with what it has
    opened, and acknowledges; when all have, the owner's own release runs. A process that is killed counts as gone as soon as the
    kernel says so, on another host when its lease is over; one that is merely silent is waited for, or cut off.

    Guarantees: S2 to S9, S11, S18, S19. Threads: any method from any thread. Fork: it stays the parent's; in the child, of which
    nobody knows, it is denied. Dropped while live, it warns (`ResourceWarning`), and is removed in a thread of its own. The end
    of the process, however it comes, denies it to all others. Source: none; it is the recall of a lease (Gray and Cheriton, 1989;
    the delegations of NFSv4).

    >>> from ref_proxy import remote
    >>> with remote.announce("unix:doctest-shared", ["a resource"]) as shared:
    ...     with shared.proxy("owner").access() as resource:
    ...         print(resource, shared.holders())
    ['a resource'] []
    >>> shared.proxy().access()
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] a proxy of 'unix:doctest-shared' was refused: the resource is revoked; ...
    """

    __slots__ = ("__weakref__", "_sharing")

    def __init__(self, sharing: _Sharing[T]) -> None:
        self._sharing = sharing

    @property
    def address(self) -> str:
        """Where others attach."""
        return self._sharing.address

    @property
    def name(self) -> str:
        """What messages and reports call it."""
        return self._sharing.provider.name

    @property
    def info(self) -> Info:
        """What others are told."""
        return self._sharing.info

    @property
    def epoch(self) -> int:
        """The number under which it is announced: higher than any before it. The fencing token."""
        return self._sharing.current.epoch

    @property
    def state(self) -> Literal["live", "draining", "revoked"]:
        """As that of a `Provider`: `"revoked"` when no process uses it, and it has been released."""
        return self._sharing.provider.state

    def proxy(self, name: str | None = None) -> Proxy[T]:
        """Make a weak handle for this process itself, as `Provider.proxy()` does.

        Raises: `TypeError` where the name is no str.
        """
        return self._sharing.provider.proxy(name)

    def holders(self, timeout: float = TO_REPORT) -> list[Holder]:
        """Who is attached, with their proxies and open sections.

        Guarantees: S19. Blocks: until each has answered, at most `timeout` seconds; those that have not are called silent.
        Raises: `ValueError` for a bad timeout; `RuntimeError` in a forked child.
        """
        check_timeout(timeout)
        sharing = self._sharing
        sharing.refuse_child()
        return [holder for announcement in list(sharing.announcements) for holder in announcement.holders(ask=timeout)]

    def revoke(self, timeout: float | None = None, *, fence_after: float | None = None) -> Outcome:
        """Remove it from every process: deny, interrupt, drain, release.

        Guarantees: S2 to S9. Blocks: until every holder has acknowledged, or is dead, and the release has run; at most `timeout`
        seconds (None: without bound), and a quarter more to ask who still holds it. All callers wait, and get the same outcome.

        Args:
            timeout: in seconds.
            fence_after: after so many seconds, whoever has not let go is cut off: every further access there is refused as soon
                as the process runs at all, and the outcome names it. What it has taken out of the resource before cannot be
                taken back: let the resource's own side refuse its epoch.

        Raises:
            RevokeTimeout: with the `holders`; denied, not released, and a later call carries on.
            RevokeDeadlock, ValueError, TypeError: nothing was changed. The first also in a signal handler that has interrupted
                this thread's own `revoke()` or `replace()`.
            What `release` raises, to the one that ran it.
            RuntimeError: in a forked child.
            BlockingIOError: where no thread can be had to wait for a server; denied, and a later call carries on.
            ConnectionError: at the very end of the interpreter, when nobody can be heard any more.

        Cost: on one host one message to each holder, and one back.
        """
        return self._sharing.revoke(timeout, fence_after)

    async def arevoke(self, timeout: float | None = None, *, fence_after: float | None = None) -> Outcome:
        """Remove it from every process as `revoke()` does, blocking the calling task alone. Under asyncio and trio.

        Guarantees: S16. Blocks: no loop; the task, at most `timeout` seconds. Args: `timeout` and `fence_after` as there.
        Raises: what that does; `RuntimeError` without a loop.
        Cancelled, it is denied, and a thread goes on with it; a later call waits for the same. Cost: a thread.
        """
        return await self._awaited(lambda: self._sharing.revoke(timeout, fence_after))

    def replace(
        self, new: T, *, info: Mapping[str, Any] | None = None, timeout: float | None = None, fence_after: float | None = None
    ) -> tuple[T, Outcome]:
        """Announce `new` under a new epoch at once, wait until no process uses the old resource, and return that and the outcome.

        Whoever attaches from now on finds the new one. Each holder opens it, swaps it in for the same proxies, and releases its
        old one after the last section of that. Guarantees: S8, S9, S11. Blocks: as `revoke()`, on sections of the old one alone.

        Args:
            new: the resource that takes its place, for this process; any object but None.
            info: what others need to open the new one; as before, where it is left out.
            timeout, fence_after: as those of `revoke()`.

        Raises: what `revoke()` does; `RevokeTimeout.pending.wait()` carries on. `Revoked` where it is being removed, a plain
        `TimeoutError` where another `replace()` takes that long to announce: `new` is still the caller's.
        """
        return self._sharing.replace(new, info, timeout, fence_after)

    async def areplace(
        self, new: T, *, info: Mapping[str, Any] | None = None, timeout: float | None = None, fence_after: float | None = None
    ) -> tuple[T, Outcome]:
        """Replace it as `replace()` does, blocking the calling task alone. Under asyncio and trio.

        Blocks: no loop; the task, at most `timeout` seconds. Args: `new`, `info`, `timeout`, `fence_after`: as there.
        Raises: what that does; `RuntimeError` without a loop. Cost: a thread.
        """
        return await self._awaited(lambda: self._sharing.replace(new, info, timeout, fence_after))

    async def _awaited(self, job: Callable[[], R]) -> R:
        from .. import loops

        loop = loops.running()
        for removal in self._sharing.waited_for_here():
            await refuse_own_task(loop, removal._cell, 0, removal._cell.number)
        return await loops.in_thread(loop, job, self._unheard)

    def _unheard(self, error: BaseException) -> None:
        report.logger().error("%r: the removal that nobody awaits any more failed", self.name, exc_info=error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.revoke()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.arevoke()

    def __del__(self) -> None:
        sharing: _Sharing[T] | None = getattr(self, "_sharing", None)
        if sharing is None or ending() or sharing.over or sharing.pid != os.getpid():
            return
        live = sharing.provider.state == "live"
        start(sharing.dropped)
        if live:
            warnings.warn(f"{self!r} was dropped while live: call revoke(), or use it in a `with`", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: pass its address, and attach() to that")

    def __repr__(self) -> str:
        return f"<ref_proxy.remote.Shared {self.name!r}, epoch {self.epoch}, {self.state}>"


Shared.__module__ = "ref_proxy.remote"


def _after_fork() -> None:
    for sharing in list(_sharings):
        sharing.after_fork()
    _sharings.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _checked(info: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of it, as others will get it."""
    if info is None:
        return {}
    try:
        text = json.dumps(dict(info), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"info must be a mapping of what JSON can say: {error}") from None
    if len(text) > MOST_INFO:
        raise ValueError(
            f"info takes {len(text)} bytes as JSON; it may have {MOST_INFO}: put the rest where its path or key says"
        )
    copy: dict[str, Any] = json.loads(text)
    return copy
