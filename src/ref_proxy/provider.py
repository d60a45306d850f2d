"""Providers: who owns a resource, and how it is removed. All the policy is here; the mechanism is the cell's."""

from __future__ import annotations

import errno
import warnings
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from . import report
from ._backend import Cell, Proxy
from .errors import Revoked, RevokeDeadlock, RevokeTimeout
from .srcu import Bell, Claim, check_timeout, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Literal, NoReturn, Self

    from .report import Blocker

__all__ = ["Provider", "Revocation"]

T = TypeVar("T")
_numbers = count(1)


def _refuse_own_sections(cell: Cell, first: int, last: int) -> None:
    for proxy, _, mine, detached in cell.sections(first, last):
        if mine and not detached:
            who = "a proxy" if proxy.name is None else f"proxy {proxy.name!r}"
            raise RevokeDeadlock(
                f"{cell.name!r} cannot be removed in here: it would wait for a section of {who} that this very thread opened; "
                "end that section first, or detach() it if another thread or task is going to end it"
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

    __slots__ = ("_bell", "_cell", "_claims", "_final", "_first", "_interrupt", "_last", "_release", "_resource", "_since")

    def __init__(
        self,
        cell: Cell,
        bell: Bell,
        *,
        interrupt: Callable[[T], object] | None = None,
        release: Callable[[T], object] | None = None,
        replaced: tuple[int, T] | None = None,
    ) -> None:
        self._cell = cell
        self._bell = bell
        self._interrupt = interrupt
        self._release = release
        self._claims: dict[str, Claim] = {}
        self._since: float | None = None
        # What it waits for: the sections of one replaced publication, or, at the end, of all that there ever were.
        self._final = replaced is None
        self._first = self._last = 0
        self._resource: T | None = None
        if replaced is not None:
            self._first = self._last = replaced[0]
            self._resource = replaced[1]
            self._since = monotonic()

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
        _refuse_own_sections(self._cell, self._first, self._last or self._cell.number)
        for step in ("interrupt", "release"):
            claim = self._claims.get(step)
            if claim is not None and claim.mine and not self._over(step):
                raise RevokeDeadlock(f"{self._cell.name!r} cannot be removed in here: this very thread is running its {step}")

    def _deny(self) -> None:
        resource = self._cell.deny()
        self._last = self._cell.number
        if self._since is None:
            self._since = monotonic()
        self._resource = resource
        if "release over" in self._claims:  # meanwhile, by another thread
            self._resource = None

    def _over(self, step: str) -> bool:
        """Whether a hook has been run, or need not be. Each is run once, by the thread that claims it."""
        if f"{step} over" in self._claims:
            return True
        claim = self._claims.get(step)
        if claim is None or not claim.left_behind:
            return False
        self._claims[f"{step} over"] = claim  # this is a forked child: what the parent's thread is doing is the parent's affair
        return True

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
        return self.done or self._due() or (self._interrupt is not None and "interrupt" not in self._claims)

    def _run_release(self) -> bool:
        me, begun = Claim(), False
        try:
            if self._claims.setdefault("release", me) is not me:
                return False
            release, resource = self._release, self._resource
            begun = True  # from here on nobody releases it again, whatever happens
            if release is not None and resource is not None:
                release(resource)
            return True
        finally:
            if begun:
                self._claims["release over"] = me  # one store, first: Ctrl-C cannot come between
            elif self._claims.get("release") is me:
                self._claims.pop("release", None)
            try:
                if begun:
                    self._resource = None
                    self._cell.clear()
            finally:
                self._bell.ring()

    def _finish(self, deadline: float | None) -> bool | None:
        """Wait, and release: True for the one who did, False for all others, None when the time ran out."""
        while not self.done:
            if self._final:
                self._run_interrupt()
                if self._due() and self._run_release():
                    return True
            if not self._bell.wait(self._stirred if self._final else self._drained, deadline):
                return None
        return False

    # With nobody waiting: the release runs in a thread of its own, never in a reader's, a finaliser's or a signal handler's.

    def _finish_later(self) -> None:
        self._bell.hang(self._start_finish)
        if self._stirred():
            self._start_finish()

    def _start_finish(self) -> None:
        if self._release is None and self._due():
            self._run_release()  # nothing that could block
        elif not self.done:
            start(self._finish_here)

    def _finish_here(self) -> None:
        try:
            self._run_interrupt()
            if self._due():
                self._run_release()
        except BaseException:
            report.logger().exception("%r: release failed; the resource counts as released", self._cell.name)
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

    Guarantees: S1 to S15, S18, S20. Blocks: only `revoke()`, `replace()` and leaving a `with`, on open sections. Threads: any
    method from any thread. Fork: in a child only the forking thread's sections are open. A provider that is dropped while it is
    live warns (`ResourceWarning`), denies, and releases after the last section, in a thread of its own.
    Source: `struct ref_proxy_provider`, `ref_proxy_provider_alloc()`; unlike there, making one never waits.

    Args:
        resource: what is shared: any object but None, which means "gone".
        release: called with the resource, once, after the last section has ended: `Serial.close`.
        interrupt: called with the resource after the denial and before the wait, so that a blocked reader comes back:
            `Serial.cancel_read`. A failure of it is logged, and does not stop the removal.
        name: what messages and reports call it; the resource's type and a number where it is left out.

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

    __slots__ = ("__weakref__", "_bell", "_cell", "_removal")

    def __init__(
        self,
        resource: T,
        *,
        release: Callable[[T], object] | None = None,
        interrupt: Callable[[T], object] | None = None,
        name: str | None = None,
    ) -> None:
        if resource is None:
            raise TypeError("the resource of a Provider cannot be None: that is what a reader gets when it is gone")
        for what, hook in (("release", release), ("interrupt", interrupt)):
            if hook is not None and not callable(hook):
                raise TypeError(f"{what} must be callable with the resource, or None, not {type(hook).__name__}")
        if name is None:
            name = f"{type(resource).__name__}-{next(_numbers)}"
        elif not isinstance(name, str):
            raise TypeError(f"the name of a Provider must be a str or None, not {type(name).__name__}")
        self._bell = Bell()
        self._cell: Cell = Cell(resource, name, self._bell)
        self._removal: Revocation[T] = Revocation(self._cell, self._bell, interrupt=interrupt, release=release)

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
            RevokeDeadlock: one of the sections is this thread's own; nothing was changed.
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
        if new is None:
            raise TypeError("the resource of a Provider cannot be None: revoke() removes it")
        deadline = None if timeout is None else monotonic() + timeout
        number = self._cell.number
        _refuse_own_sections(self._cell, number, number)
        replaced = self._cell.publish(new)
        if replaced is None:
            raise Revoked(errno.ENODEV, f"{self.name!r} is revoked: nothing can be published any more; make a new Provider")
        pending: Revocation[T] = Revocation(self._cell, self._bell, replaced=replaced)
        self._outcome(pending, pending._finish(deadline), timeout)
        old: T = replaced[1]
        return old

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.revoke()

    def __del__(self) -> None:
        removal: Revocation[T] | None = getattr(self, "_removal", None)
        if removal is None or removal.done:
            return
        live = self._cell.live
        removal._deny()
        removal._finish_later()  # neither hook runs here: they are foreign code, which may block
        if live:
            warnings.warn(f"{self!r} was dropped while live: call revoke(), or use it in a `with`", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: it owns one resource in this process")

    def __repr__(self) -> str:
        return f"<ref_proxy.Provider {self.name!r}, {self.state}>"


Provider.__module__ = Revocation.__module__ = "ref_proxy"
