"""Devices: what has several resources, which all go away with it, and things to be undone after that."""

from __future__ import annotations

import errno
import warnings
from itertools import takewhile
from time import monotonic
from weakref import ref

from . import report
from ._typing import TypeVar
from .errors import Revoked, RevokeDeadlock, RevokeTimeout
from .provider import STALL_AFTER, Provider, refuse_deadlock, refuse_own_task
from .waiting import Bell, Claim, check_timeout, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, Literal, NoReturn, Self, TypeVarTuple

    from .provider import Revocation
    from .report import Blocker

    Args = TypeVarTuple("Args")

__all__ = ["Device"]

T = TypeVar("T")
_END = object()


def _nothing() -> None:
    """Stands for a weak reference to no hub."""


def _interrupt(removals: list[Revocation[Any]]) -> None:
    for removal in removals:
        removal._run_interrupt()


def _own(things: dict[Any, None]) -> list[Any]:
    """What was registered before `_END`, in that order."""
    return list(takewhile(lambda thing: thing is not _END, things.copy()))


class Device:
    """Remove several resources together: all are denied first, then drained, then released, and then the actions are run.

    What a driver's state is to the kernel: `provide()` ties a resource to the device, `add_action()` something to be undone,
    `attach()` a device that hangs on it, and `remove()` takes it all apart, whatever of it fails on the way:

        1. every provider, its own and those of the devices attached, denies its resource, and then interrupts its readers;
        2. they are drained together: one wait for the slowest, not one each;
        3. the devices attached are taken apart, the last one first; then its own resources are released and its actions run, each
           kind in the reverse order of its registration, and the actions when no resource is left.

    Guarantees: S2 to S9, S17, S19. Blocks: only `remove()` and leaving a `with`; leaving an `async with` awaits `aremove()`.
    Threads: any method from any thread. A device that is dropped while live warns (`ResourceWarning`), denies, and is taken apart
    after the last section, in a thread of its own. Source: `devres`, with `devm_ref_proxy_provider_alloc()`; unlike there, all
    users are out before anything is taken apart.

    Args:
        name: what messages and reports call it.

    >>> from ref_proxy import Device, Revoked
    >>> device = Device("ttyUSB0")
    >>> provider = device.provide(["a resource"], release=lambda _: print("released"))
    >>> device.add_action(print, "power off")
    >>> proxy = provider.proxy("reader")
    >>> device.remove(timeout=5)
    released
    power off
    True
    >>> proxy.access()
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'ttyUSB0: list' was refused: the resource is revoked; ...
    """

    __slots__ = (
        "__weakref__",
        "_actions",
        "_bell",
        "_children",
        "_claims",
        "_errors",
        "_hub",
        "_name",
        "_providers",
        "_sweep_at",
    )

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a Device must be a str, not {type(name).__name__}")
        self._name = name
        self._bell = Bell()
        self._claims: dict[str, Claim] = {}
        self._errors: list[Exception] = []
        self._hub: Callable[[], Device | None] = _nothing  # a weak reference: what is attached does not keep its hub
        # In the order of their registration: a removal puts `_END` there, and what comes after that is not the device's.
        self._providers: dict[Provider[Any], None] = {}
        self._actions: dict[Callable[[], object], None] = {}
        self._children: dict[Device, None] = {}
        self._sweep_at = 16
        report.note_making(self)

    @property
    def name(self) -> str:
        """What messages and reports call it."""
        return self._name

    @property
    def state(self) -> Literal["live", "draining", "removed"]:
        """`"live"`, `"draining"` from the denial on, `"removed"` once the last action has run."""
        return "removed" if "removed" in self._claims else "draining" if "removing" in self._claims else "live"

    def provide(
        self,
        resource: T,
        *,
        release: Callable[[T], object] | None = None,
        interrupt: Callable[[T], object] | None = None,
        name: str | None = None,
        stall_after: float | None = STALL_AFTER,
    ) -> Provider[T]:
        """Make a `Provider` of `resource` that is removed with the device, if it was not revoked before.

        Blocks: never. Args: `resource`, `release`, `interrupt`, `name`, `stall_after`: as `Provider` has them; a name that is
        left out is made of the device's and the resource's type. Raises: what `Provider` does; `Revoked` where the device is
        being removed, and the resource is still the caller's. Source: `devm_ref_proxy_provider_alloc()`.
        """
        self._refuse_removed("provide a resource")
        provider = Provider(
            resource,
            release=release,
            interrupt=interrupt,
            name=f"{self._name}: {type(resource).__name__}" if name is None else name,
            stall_after=stall_after,
        )
        if len(self._providers) >= self._sweep_at:  # so that one which is plugged in and out for ever does not keep them all
            for each in [each for each in _own(self._providers) if each.state == "revoked"]:
                self._providers.pop(each, None)
            self._sweep_at = max(16, 2 * len(self._providers))
        if not self._register(self._providers, provider):
            provider._disown()
            self._refuse_removed("provide a resource")
        return provider

    def add_action(self, fn: Callable[[*Args], object], *args: *Args) -> None:
        """Have `fn(*args)` called when the device is removed, after its resources are released, the last one added first.

        Blocks: never. Raises: `TypeError` where `fn` cannot be called; `Revoked` where the device is being removed, and it is not
        called. Source: `devm_add_action()`.
        """
        self._refuse_uncallable(fn)
        if not self._register(self._actions, lambda: fn(*args)):
            self._refuse_removed("add an action")

    def add_action_or_reset(self, fn: Callable[[*Args], object], *args: *Args) -> None:
        """Do as `add_action()` does, and where that fails call `fn(*args)` at once: what it undoes is undone in any case.

        Blocks: as `fn` does, when it is called at once. Raises: `Revoked` where the device is being removed, after the call; what
        `fn` raises then; `TypeError` where `fn` cannot be called. Source: `devm_add_action_or_reset()`.
        """
        self._refuse_uncallable(fn)
        try:
            self.add_action(fn, *args)
        except BaseException:
            fn(*args)
            raise

    def attach(self, child: Device) -> Device:
        """Have `child` removed with this device, and before it: a port with its hub. Returns the child.

        Blocks: never. Raises: `TypeError` where it is no device; `ValueError` where it is attached already, or would come to hang
        on itself; `Revoked` where either is being removed: the child is still the caller's then.
        """
        if not isinstance(child, Device):
            raise TypeError(
                f"what is attached to a device must be a Device, not {type(child).__name__}: provide() takes resources"
            )
        above: Device | None = self
        while above is not None:
            if above is child:
                raise ValueError(f"{child!r} cannot be attached to {self!r}: it would come to hang on itself")
            above = above._hub()
        child._refuse_removed("be attached")
        hub = child._hub()
        if hub is not None:
            raise ValueError(f"{child!r} is attached to {hub!r} already: remove it, or attach it only once")
        child._hub = ref(self)
        if not self._register(self._children, child):
            child._hub = _nothing
            self._refuse_removed("attach a device")
        return child

    def blockers(self) -> list[Blocker]:
        """Who is inside now, one record a section, of its own providers and those attached.

        Never blocks, and costs the sections nothing. Guarantees: S19.
        """
        return [blocker for provider in self._tree() for blocker in provider.blockers()]

    def remove(self, timeout: float | None = None) -> bool:
        """Take the device apart, in the steps of its class. True for the one caller that did it, False for all others.

        Guarantees: S2 to S9, S17. Blocks: until every section that was open has ended, at most `timeout` seconds (None: without
        bound), and then until the releases and actions have run, which are not cut short. All callers wait.

        Raises:
            ExceptionGroup: releases and actions failed, or those of a device attached, which then is a group in the group. To the
                one that ran them; all else was done, and the device is removed.
            RevokeTimeout: somebody was still inside; all is denied, nothing is released, no action has run, and a later call
                carries on.
            RevokeDeadlock: one of the sections is this thread's own, or this thread is running an action; nothing was changed.
            ValueError, TypeError: a bad timeout; nothing was changed.
            KeyboardInterrupt: heard while waiting, or out of an action, which is not run again; a later call carries on.

        Cost: linear in what is registered. Source: `devres_release_all()`.
        """
        check_timeout(timeout)
        if self.state == "removed":
            return False
        self._refuse_deadlock()
        refuse_deadlock(provider._removal for provider in self._tree())
        deadline = None if timeout is None else monotonic() + timeout
        self._deny()
        removals = [provider._removal for provider in self._tree()]
        _interrupt(removals)
        for removal in removals:
            if not removal._quiesce(deadline):
                raise self._timeout(removals, timeout)
        outcome = self._take_apart(deadline)
        if outcome is None:
            raise self._timeout(removals, timeout)
        return outcome

    async def aremove(self, timeout: float | None = None) -> bool:
        """Take the device apart as `remove()` does, blocking the calling task alone. Under asyncio and trio.

        Guarantees: S2 to S9, S16, S17. Blocks: no thread and no loop; the task, as `remove()`, at most `timeout` seconds. Hooks
        and actions run in a thread of their own. Raises: what `remove()` does, and `RuntimeError` without a loop of asyncio or
        trio. Cancelled, all is denied, what has begun goes on, and a later call carries on.
        """
        from . import loops

        check_timeout(timeout)
        loop = loops.running()
        if self.state == "removed":
            return False
        self._refuse_deadlock()
        for provider in self._tree():
            provider._removal._refuse_own_hook()
            await refuse_own_task(loop, provider._cell, 0, provider._cell.number)
        deadline = None if timeout is None else monotonic() + timeout
        self._deny()
        removals = [provider._removal for provider in self._tree()]
        await loops.in_thread(loop, lambda: _interrupt(removals), self._log)
        for removal in removals:
            if not await removal._aquiesce(loop, deadline):
                raise self._timeout(removals, timeout)
        outcome = await loops.in_thread(loop, lambda: self._take_apart(deadline), self._log)
        if outcome is None:
            raise self._timeout(removals, timeout)
        return outcome

    # Registration against removal: each puts something into the same dict, in one atomic step, and looks then what came first.

    def _register(self, things: dict[Any, None], thing: Any) -> bool:
        things.setdefault(thing, None)
        if _END in things:
            there = list(things.copy())
            if thing in there[there.index(_END) :]:  # what came before, and is there no more, a removal has seen to
                things.pop(thing, None)
                return False
        return True

    def _refuse_removed(self, what: str) -> None:
        if "removing" in self._claims:
            raise Revoked(errno.ENODEV, f"device {self._name!r} cannot {what}: it is {self.state}; make a new Device")

    def _refuse_uncallable(self, fn: object) -> None:
        if not callable(fn):
            raise TypeError(f"an action of device {self._name!r} must be callable, not {type(fn).__name__}")

    def _refuse_deadlock(self) -> None:
        for device in self._devices():
            claim = device._claims.get("taking apart")
            if claim is not None and claim.mine:
                raise RevokeDeadlock(
                    f"device {self._name!r} cannot be removed in here: this very thread is taking {device._name!r} apart"
                )

    def _everything(self) -> tuple[dict[Any, None], ...]:
        return self._providers, self._actions, self._children

    # The steps. Each may be taken again: it does what is left of it.

    def _devices(self) -> Iterator[Device]:
        """This one and all that hang on it."""
        yield self
        for child in _own(self._children):
            yield from child._devices()

    def _tree(self) -> list[Provider[Any]]:
        return [provider for device in self._devices() for provider in _own(device._providers) if provider.state != "revoked"]

    def _deny(self) -> None:
        """Take no registrations any more, and deny all resources, before any reader is told."""
        for device in self._devices():
            device._claims.setdefault("removing", Claim())
            for things in device._everything():
                things.setdefault(_END, None)
        for provider in self._tree():
            provider._removal._deny()

    def _take_apart(self, deadline: float | None = None) -> bool | None:
        """All is drained: release, and run the actions. True for the one who did it, None for one whose time ran out."""
        me = Claim()
        while self.state != "removed":
            holder = self._claims.setdefault("taking apart", me)
            if holder is me:
                try:
                    self._take_parts()
                    self._claims["removed"] = me
                finally:
                    self._claims.pop("taking apart", None)
                    self._bell.ring()
                hub = self._hub()
                if hub is not None:
                    hub._children.pop(self, None)
                if self._errors:
                    try:
                        raise ExceptionGroup(f"device {self._name!r} is removed, but not all of it went well", self._errors)
                    finally:
                        self._errors.clear()  # their tracebacks lead here: kept, they would keep the device and its hub
                return True
            if holder.left_behind:
                self._claims.pop("taking apart", None)
            elif not self._bell.wait(lambda: "taking apart" not in self._claims, deadline):
                return None
        return False

    def _take_parts(self) -> None:
        for child in reversed(_own(self._children)):
            self._attempt(child._take_apart)
        for provider in reversed(_own(self._providers)):
            self._attempt(provider._removal._finish)
            self._providers.pop(provider, None)
        for action in reversed(_own(self._actions)):
            self._actions.pop(action, None)
            self._attempt(action)

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            self._errors.append(error)

    def _timeout(self, removals: list[Revocation[Any]], timeout: float | None) -> RevokeTimeout:
        found = [blocker for removal in removals for blocker in removal.blockers()]
        inside = report.describe(found) if found else "nobody, but another thread is running a hook or an action"
        return RevokeTimeout(
            f"device {self._name!r} was denied to everybody, but not removed within {timeout} s; still inside: {inside}; "
            "call remove() again to carry on",
            blockers=found,
        )

    def _log(self, error: BaseException) -> None:
        report.logger().error("device %r: the removal goes on, but not all of it went well", self._name, exc_info=error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aremove()

    def __del__(self) -> None:
        claims: dict[str, Claim] | None = getattr(self, "_claims", None)
        if claims is None or "removed" in claims or not any(map(_own, self._everything())):
            return
        live = "removing" not in claims
        self._deny()
        start(self._interrupt_unwaited)  # the hooks are foreign code, which may block: not in a finaliser
        if live:
            report.note_dropping(id(self), f"device {self.name!r}")
            warnings.warn(f"{self!r} was dropped while live: call remove(), or use it in a `with`", ResourceWarning, source=self)

    # With nobody waiting: a thread does what is due, and none is kept waiting for what is not.

    def _interrupt_unwaited(self) -> None:
        _interrupt([provider._removal for provider in self._tree()])
        self._remove_when_drained()

    def _remove_when_drained(self) -> None:
        for provider in self._tree():
            removal = provider._removal
            if not removal._quiet():
                removal._bell.hang(self._remove_when_drained)
                removal._watch()
                if not removal._quiet():  # in between
                    return
        start(self._remove_unwaited)

    def _remove_unwaited(self) -> None:
        try:
            self._take_apart()
        except BaseException as error:
            self._log(error)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: it owns resources in this process")

    def __repr__(self) -> str:
        return f"<ref_proxy.Device {self._name!r}, {self.state}>"


Device.__module__ = "ref_proxy"
