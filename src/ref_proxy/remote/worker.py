"""The side of those who attach: a local provider of what this process has opened, removed when the owner says so."""

from __future__ import annotations

import atexit
import os
import warnings
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from .. import report
from ..errors import Revoked
from ..provider import STALL_AFTER, Provider
from ..waiting import Claim, check_timeout, start
from . import address as addresses
from .gate import Gate
from .hub import ending, outlived
from .records import Announced, NotAnnounced, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import Literal, NoReturn, Self

    from .._backend import Proxy
    from ..provider import Revocation
    from ..report import Blocker
    from .backend import Backend, Registration

__all__ = ["Handle", "attach", "removals_here"]

T = TypeVar("T")
ANSWER = 10.0  # seconds that an owner may take to answer
MOST_REPORTED = 32

_attached: WeakSet[_Attachment[Any]] = WeakSet()


def attach(
    address: str,
    *,
    open: Callable[[Announced], T],  # noqa: A002
    release: Callable[[T], object] | None = None,
    interrupt: Callable[[T], object] | None = None,
    name: str | None = None,
    patience: float = 0.0,
    stall_after: float | None = STALL_AFTER,
) -> Handle[T]:
    """Attach this process to what is announced by an address: become one of its holders.

    What `open` returns belongs to this process, and its sections cost what they cost in one process. When the owner removes the
    resource, or is gone, this process runs deny -> interrupt -> drain -> release on it, and then acknowledges.

    Blocks: on the owner's answer, on `open`. Threads: any.

    Args:
        address: as `announce()` has it.
        open: called with the owner's `info`, a dict whose `epoch` is the fencing token of what is opened; returns the resource
            here: any object but None. It is called again for what replaces that.
        release, interrupt: as those of a `Provider`, for what `open` returned.
        name: what messages and reports call it; the address where it is left out.
        patience: how many seconds to try again where nobody announces that name, or the server is away.
        stall_after: as that of a `Provider`.

    Raises: `NotAnnounced` (a `Revoked`) where nobody announces it; `PermissionError` where it is another user's; `ProtocolError`
    where who answers does not speak this protocol; `TimeoutError` where the owner does not answer, or has no descriptor left for
    one more; `ConnectionError` for a server; `BlockingIOError` where no thread can be had; what `open` raises, `TypeError`,
    `ValueError`: this process holds nothing then.
    Cost: a thread that sleeps until it hears something, one for all that this process announces and attaches to.

    >>> from ref_proxy import remote
    >>> remote.attach("unix:doctest-nobody", open=lambda info: info)
    Traceback (most recent call last):
    ref_proxy.remote.NotAnnounced: [Errno 19] nobody announces 'unix:doctest-nobody'...
    """
    check_timeout(patience)
    if not callable(open):
        raise TypeError(f"open must be callable with the owner's info, not {type(open).__name__}")
    attachment = _Attachment(address, open, release)
    try:
        attachment.attach(monotonic() + patience, interrupt, name or addresses.shown(address), stall_after)
        return Handle(attachment)
    except BaseException:  # Ctrl-C may come at any moment of it
        attachment.take_back()
        raise


def removals_here(backend: Backend, place: str) -> list[Revocation[Any]]:
    """What a removal of what is announced there would wait for in this very process."""
    which = backend.key(place)
    return [
        each.provider._removal
        for each in _living(_attached)
        if not each.left and each.backend is backend and backend.key(each.place) == which
    ]


def _living(things: WeakSet[T]) -> list[T]:
    """Those that are there. Other threads may be adding some: then `list()` alone would fail now and then."""
    while True:
        try:
            return list(things)
        except RuntimeError:
            pass


class _Stay:
    """This process as a holder, under one epoch: what the back end knows of an attachment."""

    def __init__(self, attachment: _Attachment[Any]) -> None:
        self._attachment: _Attachment[Any] | None = attachment
        self.over: tuple[str, bool] | None = None  # why, and whether something else has taken its place
        self.until = 0  # when it is over by itself; 0: never
        self.claims: dict[str, Claim] = {}
        self.registration: Registration
        self.info: Announced

    def gone(self, reason: str, *, replaced: bool) -> None:
        attachment, self.over = self._attachment, (reason, replaced)
        if attachment is not None:
            attachment.recalled(self)

    def renewed(self, until: int) -> bool:
        self.until = until
        provider: Provider[Any] | None = getattr(self._attachment, "provider", None)
        return provider is None or provider._cell.lease(until)

    def report(self) -> Report:
        attachment = self._attachment
        return Report() if attachment is None else attachment.report()

    def leave(self) -> None:
        """Say that it has let go. What it was part of is no cycle for the collector any more: a descriptor hangs on that."""
        self._attachment = None
        self.registration.acknowledge()


class _Attachment(Generic[T]):
    """What a `Handle` stands for. The back end keeps it for as long as this process holds the resource."""

    def __init__(
        self,
        address: str,
        open: Callable[[Announced], T],  # noqa: A002
        release: Callable[[T], object] | None,
    ) -> None:
        self.address = address
        self.pid = os.getpid()
        self.reason = ""
        self.left = False  # nobody is inside any more, and it is released
        self.over = False  # and that was said
        self.backend, self.place = addresses.find(address)
        self._open = open
        self._release = release  # of what is replaced
        self._following: dict[object, None] = {}  # one for each replacement under way
        self._proxies: WeakSet[Proxy[T]] = WeakSet()
        self._gate: Gate | None = None

    def attach(self, deadline: float, interrupt: Callable[[T], object] | None, name: str, stall_after: float | None) -> None:
        """Become a holder, and open it. What fails, or is broken off, is to be taken back."""
        if self.backend.gates:
            self._gate = Gate.make()
        self.stay = self._register(deadline)
        resource = self._opened(self.stay)
        try:
            provider: Provider[T] = Provider(
                resource, release=self._release, interrupt=interrupt, name=name, stall_after=stall_after
            )
        except Exception:  # a bad argument
            self._let_go(resource)
            raise
        try:
            if self._gate is not None:
                provider._cell.watch(self._gate.memory)
            if self.stay.until:
                provider._cell.lease(self.stay.until)
        except BaseException:
            provider.revoke()  # nobody has seen it
            raise
        self.provider = provider  # not before: a recall finds it ready
        _attached.add(self)
        # What has come before the provider was there to hear of it:
        if self.stay.until:
            self.stay.renewed(self.stay.until)
        self.recalled(self.stay)

    def take_back(self) -> None:
        """Hold nothing, however far it has come."""
        if hasattr(self, "provider"):
            self.deny("its attach() was broken off")
            start(self.remove)
        else:
            if hasattr(self, "stay"):
                self.stay.leave()
            self.give_up()

    def _register(self, deadline: float) -> _Stay:
        stay, pause = _Stay(self), 0.001
        while True:
            try:
                stay.registration = self.backend.register(self.place, stay, self._gate, ANSWER)
                stay.info = Announced(stay.registration.info, epoch=stay.registration.epoch)
                return stay
            except BaseException as error:
                if hasattr(stay, "registration"):
                    stay.leave()
                if not isinstance(error, (NotAnnounced, ConnectionError)) or monotonic() + pause > deadline:
                    raise
            sleep(pause)  # there is nothing that would tell of an announcement
            pause = min(2 * pause, 0.1)

    def _opened(self, stay: _Stay) -> T:
        resource = self._open(stay.info)
        if resource is None:
            where = addresses.shown(self.address)
            raise TypeError(f"what `open` returned for {where!r} cannot be None: that is what a reader gets when it is gone")
        return resource

    def recalled(self, stay: _Stay) -> None:
        """Do what a recall asks for, once: what replaces concerns what is published now, and an end all of it. Never blocks."""
        if stay.over is None or not hasattr(self, "provider"):
            return
        reason, replaced = stay.over
        if replaced and stay is not self.stay:
            return
        me = Claim()
        if stay.claims.setdefault("replaced" if replaced else "gone", me) is not me:
            return
        if replaced:
            self._following[me] = None  # from now on, so that a close in between leaves the rest to it
            start(lambda: self._follow(me))
        else:
            self.deny(reason)
            start(self.remove)

    def deny(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.provider._removal._deny()

    def remove(self) -> None:
        """Remove it from this process, and acknowledge: in a thread of its own."""
        removal = self.provider._removal
        while True:
            interrupt = removal._interrupt
            try:
                with self.acknowledging():
                    self.provider.revoke()
                return
            except BaseException as error:  # no Ctrl-C, which never comes here; but a hook may raise what ends a thread
                report.logger().error(
                    "%r: its removal in this process failed: %s", self.provider.name, self.reason, exc_info=error
                )
                if self.left or interrupt is None:
                    return
                removal._interrupt = None  # it was run, and nobody else would go on

    @contextmanager
    def acknowledging(self) -> Generator[None]:
        """The body removes it: acknowledge, if that came to its end."""
        try:
            yield
        finally:
            if self.provider._removal.done:
                self.left = True
                if not self._following:  # whoever follows a replacement looks at `left` when he is done: one of us sees the other
                    self._leave()

    def _leave(self) -> None:
        self.stay.leave()
        self.give_up()
        self.over = True  # last: what Ctrl-C has broken off is done again when the handle is dropped

    def give_up(self) -> None:
        """Nothing is registered with it any more."""
        if self._gate is not None:
            self._gate.give_up()

    def _follow(self, me: object) -> None:
        """Open what has taken the place of the resource, swap it in, and release the old one after its last section."""
        retired = self.stay
        try:
            if self.left:
                return
            fresh = self._register(monotonic())
            try:
                new = self._opened(fresh)
            except BaseException:
                fresh.leave()
                raise
            try:
                pending, old = self.provider._publish(new)
            except Revoked:  # removed meanwhile, with what was published then; or about to be, where a gate or a lease says so
                self._let_go(new)
                fresh.leave()
                self.deny("its owner has taken it back, or its lease is over")  # unless it is known better
                self.remove()  # not before its last section has ended is the old one acknowledged, below
                return
            # Not before: what replaces this one in its turn would be published first, and this one in its place, for good.
            self.stay = fresh
            retired.registration.denied()
            self.recalled(fresh)  # which may have come already
            pending._finish()
            self._let_go(old)
        except BaseException as error:
            if not isinstance(error, Revoked):
                report.logger().error(
                    "%r: what replaces it cannot be had; it is revoked here", self.provider.name, exc_info=error
                )
            self.deny(f"what replaces it cannot be had: {error}")
            self.remove()
        finally:
            retired.leave()
            self._following.pop(me, None)
            if self.left and not self._following:
                self._leave()

    def _let_go(self, resource: T) -> None:
        try:
            if self._release is not None:
                self._release(resource)
        except Exception as error:
            report.logger().error("%r: release failed; the old resource counts as released", self.provider.name, exc_info=error)

    def proxy(self, name: str | None) -> Proxy[T]:
        proxy = self.provider.proxy(name)
        self._proxies.add(proxy)
        return proxy

    def report(self) -> Report:
        names = sorted({proxy.name or "(unnamed)" for proxy in _living(self._proxies)})
        provider: Provider[T] | None = getattr(self, "provider", None)
        inside = [] if provider is None else [str(blocker) for blocker in provider.blockers()]
        return Report(tuple(names[:MOST_REPORTED]), tuple(inside[:MOST_REPORTED]))

    def after_fork(self) -> None:
        """In a forked child, which is no holder: what it has inherited is denied, and not released."""
        if hasattr(self, "provider"):
            self.reason = f"it was attached by process {self.pid}, and this is a forked child"
            inside = [section for section in self.provider._cell.sections(0, self.provider._cell.number) if section[2]]
            self.provider._cell.deny()
            self.provider._removal._interrupt = self.provider._removal._release = None
            if inside:
                report.logger().warning(
                    "%r: process %d forked inside a section; its child %d has that section, and the owner does not know of it: "
                    "end sections before a fork, and attach() in the child",
                    self.provider.name,
                    self.pid,
                    os.getpid(),
                )


class Handle(Generic[T]):
    """This process's hold on what another one announces: a source of proxies. Made by `attach()`.

    Guarantees: S1 to S10, S13 to S16, S18 to S20, as a `Provider`'s; what is removed is what `open` returned. Threads: any method
    from any thread. Fork: a forked child is no holder, and is refused: it attaches for itself. Dropped while live, it warns
    (`ResourceWarning`), and is removed from this process in a thread of its own.

    >>> from ref_proxy import remote
    >>> with remote.announce("unix:doctest-handle", ["a resource"], info={"number": 7}):
    ...     with remote.attach("unix:doctest-handle", open=lambda info: [info["number"]]) as handle:
    ...         with handle.proxy("reader").access() as resource:
    ...             print(resource, handle.state)
    ...     print(handle.state, "-", handle.reason)
    [7] live
    revoked - this process has closed its handle
    """

    __slots__ = ("__weakref__", "_attachment")

    def __init__(self, attachment: _Attachment[T]) -> None:
        self._attachment = attachment

    @property
    def address(self) -> str:
        """What it is attached to."""
        return self._attachment.address

    @property
    def name(self) -> str:
        """What messages and reports call it."""
        return self._attachment.provider.name

    @property
    def info(self) -> Announced:
        """What `open` was called with last, and the epoch of that."""
        return self._attachment.stay.info

    @property
    def epoch(self) -> int:
        """The epoch under which this process holds what it has opened last.

        A section may be inside what that has replaced, whose epoch is another one: the token to be sent with each use is the
        `epoch` of the `info` that the resource was opened with.
        """
        return self._attachment.stay.info.epoch

    @property
    def state(self) -> Literal["live", "draining", "revoked"]:
        """As that of a `Provider`."""
        return self._attachment.provider.state

    @property
    def reason(self) -> str:
        """Why it is gone; empty while it is live."""
        return self._attachment.reason

    def proxy(self, name: str | None = None) -> Proxy[T]:
        """Make a weak handle on the resource, as `Provider.proxy()` does. Never blocks.

        Raises: `TypeError` where the name is no str.
        """
        return self._attachment.proxy(name)

    def blockers(self) -> list[Blocker]:
        """Who is inside in this process, one record a section."""
        return self._attachment.provider.blockers()

    def close(self, timeout: float | None = None) -> bool:
        """Remove it from this process alone: deny, interrupt, drain, release, and tell the owner. True for the one that did it.

        Blocks: as `Provider.revoke()`, at most `timeout` seconds. Raises: as that. May be called again.
        """
        attachment = self._attachment
        attachment.reason = attachment.reason or "this process has closed its handle"
        with attachment.acknowledging():
            return attachment.provider.revoke(timeout)

    async def aclose(self, timeout: float | None = None) -> bool:
        """Close it as `close()` does, blocking the calling task alone, at most `timeout` seconds. Under asyncio and trio.

        Blocks: no loop. Raises: as `Provider.arevoke()`.
        """
        attachment = self._attachment
        attachment.reason = attachment.reason or "this process has closed its handle"
        with attachment.acknowledging():
            return await attachment.provider.arevoke(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __del__(self) -> None:
        attachment: _Attachment[T] | None = getattr(self, "_attachment", None)
        if attachment is None or ending() or not hasattr(attachment, "provider") or attachment.pid != os.getpid():
            return
        live = attachment.provider.state == "live"
        if not attachment.over:
            attachment.deny("its handle was dropped")
            start(attachment.remove)
        if live:
            warnings.warn(f"{self!r} was dropped while live: call close(), or use it in a `with`", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: it is this process's; pass its address, and attach() to that")

    def __repr__(self) -> str:
        return f"<ref_proxy.remote.Handle {self.name!r}, epoch {self.epoch}, {self.state}>"


Handle.__module__ = "ref_proxy.remote"


def _after_fork() -> None:
    for attachment in list(_attached):
        attachment.after_fork()
    _attached.clear()


@atexit.register
def _at_end() -> None:
    if outlived():
        for attachment in list(_attached):
            attachment.give_up()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
