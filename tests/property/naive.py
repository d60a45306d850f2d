"""The package once more, naively: lists of open sections, one thread, no mechanism. To be read as the specification.

A *gate* is what sections are open on: a provider, or a domain. Its publications are counted from 1; a section holds the one that
was the newest when it began, and a removal waits for the sections of those that it covers. Nothing here can wait: a call that
would have to has run out of time. Nothing is garbage-collected: `dropped()` says what happens when the last reference is gone.
"""

from __future__ import annotations

import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from logging import getLogger
from math import inf
from typing import Any

Blocker = namedtuple("Blocker", "proxy detached waiting")


class Revoked(Exception):
    pass


class RevokeDeadlock(Exception):
    pass


class RevokeTimeout(Exception):
    def __init__(self, blockers: list[Blocker], pending: Revocation | None = None) -> None:
        self.blockers, self.pending = blockers, pending


class Gate:
    def __init__(self, resource: Any, name: str) -> None:
        self.resource, self.name = resource, name
        self.live, self.number = True, 1
        self.open: list[Section] = []  # in the order in which they began

    def inside(self, first: float = 0, last: float = inf) -> list[Section]:
        return [section for section in self.open if first <= section.number <= last]

    def refuse_own(self, first: float = 0, last: float = inf) -> None:
        """There is but one thread: whatever it has not handed over it would wait for itself."""
        if any(not section.detached for section in self.inside(first, last)):
            raise RevokeDeadlock

    def publish(self, resource: Any) -> int:
        """Retire what is published; return its number."""
        self.resource, self.number = resource, self.number + 1
        return self.number - 1

    def carry_on(self) -> None:
        """A section has ended: do what was to follow on its own."""


class Proxy:
    def __init__(self, gate: Gate, name: str | None) -> None:
        self.gate, self.name, self.closed = gate, name, False

    @property
    def revoked(self) -> bool:
        return not self.gate.live

    def access(self) -> Section:
        section = self.try_access()
        if section.refused:
            raise Revoked
        return section

    def try_access(self) -> Section:
        if self.closed:
            raise ValueError
        return Section(self)

    def close(self) -> None:
        self.closed = True

    def __str__(self) -> str:
        return f"{'a proxy' if self.name is None else f'proxy {self.name!r}'} of {self.gate.name!r}"

    def __repr__(self) -> str:
        state = "closed" if self.closed else "revoked" if self.revoked else "live"
        return f"<ref_proxy.Proxy {'' if self.name is None else f'{self.name!r} '}of {self.gate.name!r}, {state}>"


class Section:
    def __init__(self, proxy: Proxy) -> None:
        self.proxy, self.detached, self.refused = proxy, False, proxy.revoked
        self.held, self.number = proxy.gate.resource, proxy.gate.number
        if not self.refused:
            proxy.gate.open.append(self)

    @property
    def state(self) -> str:
        return "refused" if self.refused else "open" if self in self.proxy.gate.open else "ended"

    @property
    def resource(self) -> Any:
        if self.state == "ended":
            raise ValueError
        return None if self.refused else self.held

    def detach(self) -> None:
        self.resource  # noqa: B018  (raises where it has ended)
        self.detached = True

    def end(self) -> None:
        if self.state == "open":
            self.proxy.gate.open.remove(self)
            self.proxy.gate.carry_on()

    def __enter__(self) -> Any:
        return self.resource

    def __exit__(self, *_: object) -> None:
        self.end()

    def dropped(self) -> None:
        if self.state == "open":
            warnings.warn("a section", ResourceWarning)
        self.end()

    def __repr__(self) -> str:
        return f"<ref_proxy.Section of {self.proxy}, {self.state}>"


class Provider(Gate):
    def __init__(
        self, resource: Any, *, interrupt: Callable[[Any], Any], release: Callable[[Any], Any], name: str, stall_after: None
    ) -> None:
        super().__init__(resource, name)
        self.interrupt, self.release = interrupt, release
        self.interrupted = self.released = False
        self.unwaited = False  # the release is to follow on its own

    @property
    def state(self) -> str:
        return "live" if self.live else "revoked" if self.released else "draining"

    def proxy(self, name: str | None = None) -> Proxy:
        return Proxy(self, name)

    def blockers(self) -> list[Blocker]:
        return Revocation(self).blockers()

    def deny(self) -> None:
        self.live = False

    def tell(self) -> None:
        """Interrupt, once."""
        if not self.interrupted:
            self.interrupted = True
            try:
                self.interrupt(self.resource)
            except KeyError:
                getLogger("ref_proxy").error("%r: interrupt failed; the removal goes on", self.name)

    def let_go(self) -> bool:
        """Release, once."""
        if self.released:
            return False
        self.released = True
        self.release(self.resource)
        return True

    def revoke(self, timeout: float | None) -> bool:
        if self.released:
            return False
        self.refuse_own()
        self.deny()
        self.tell()
        if self.open:
            raise RevokeTimeout(self.blockers(), Revocation(self))
        return self.let_go()

    def revoke_soon(self) -> Revocation:
        if not self.released:
            self.deny()
            self.tell()
            self.unwaited = True
            self.carry_on()
        return Revocation(self)

    def carry_on(self) -> None:
        if self.unwaited and not self.open and not self.released:
            try:
                self.let_go()
            except KeyError:
                getLogger("ref_proxy").error("%r: release failed; the resource counts as released", self.name)

    def replace(self, new: Any, timeout: float | None) -> Any:
        self.refuse_own(self.number, self.number)
        if not self.live:
            raise Revoked
        old = self.resource
        removal = Revocation(self, self.publish(new), old)
        if not removal.done:
            raise RevokeTimeout(removal.blockers(), removal)
        return old

    def dropped(self) -> None:
        if self.live:
            warnings.warn("a provider", ResourceWarning)
        self.revoke_soon()

    def __repr__(self) -> str:
        return f"<ref_proxy.Provider {self.name!r}, {self.state}>"


class Revocation:
    """The removal of one publication that was replaced; or, where that is left out, of all that there ever were."""

    def __init__(self, provider: Provider, number: int | None = None, old: Any = None) -> None:
        self.provider, self.final, self.old = provider, number is None, old
        self.first, self.last = (0, inf) if number is None else (number, number)

    @property
    def done(self) -> bool:
        return self.provider.released if self.final else not self.blockers()

    @property
    def resource(self) -> Any:
        if not self.final:
            return self.old
        return None if self.done else self.provider.resource

    def blockers(self) -> list[Blocker]:
        waiting = None if self.final and self.provider.live else True
        return [Blocker(each.proxy.name, each.detached, waiting) for each in self.provider.inside(self.first, self.last)]

    def wait(self, timeout: float | None) -> bool:
        self.provider.refuse_own(self.first, self.last)
        if self.blockers():
            return False
        if self.final:
            self.provider.let_go()
        return True

    def __repr__(self) -> str:
        return f"<ref_proxy.Revocation of {self.provider.name!r}, {'done' if self.done else 'waiting'}>"


class Domain(Gate):
    def __init__(self, name: str) -> None:
        super().__init__(None, name)
        self.calls: list[tuple[int, Callable[[], Any]]] = []

    def read(self) -> Section:
        return Section(Proxy(self, self.name))

    def start_poll(self) -> int:
        return self.publish(None)

    def poll(self, cookie: int) -> bool:
        return not self.inside(0, cookie)

    def synchronize(self, timeout: float | None) -> None:
        self.refuse_own()
        number = self.publish(None)
        if self.open:
            raise RevokeTimeout([Blocker(each.proxy.name, each.detached, True) for each in self.inside(0, number)])

    def call(self, fn: Callable[..., Any], *args: Any) -> None:
        self.calls.append((self.publish(None), lambda: fn(*args)))
        self.carry_on()

    def carry_on(self) -> None:
        while self.calls and self.poll(self.calls[0][0]):
            try:
                self.calls.pop(0)[1]()
            except KeyError:
                getLogger("ref_proxy").error("domain %r: a callback failed", self.name)

    def barrier(self) -> None:
        self.refuse_own()
        self.call(int)

    def __repr__(self) -> str:
        return f"<ref_proxy.srcu.Domain {self.name!r}>"


class Device:
    def __init__(self, name: str) -> None:
        self.name, self.state = name, "live"
        self.providers: list[Provider] = []
        self.actions: list[Callable[[], Any]] = []
        self.children: list[Device] = []
        self.hub: Device | None = None

    @property
    def live(self) -> bool:
        return self.state == "live"

    def refuse_removed(self) -> None:
        if not self.live:
            raise Revoked

    def provide(self, resource: Any, **about: Any) -> Provider:
        self.refuse_removed()
        provider = Provider(resource, **about)
        provider.dropped = lambda: None  # type: ignore[method-assign]  (the device keeps it)
        self.providers.append(provider)
        return provider

    def add_action(self, fn: Callable[..., Any], *args: Any) -> None:
        self.refuse_removed()
        self.actions.append(lambda: fn(*args))

    def add_action_or_reset(self, fn: Callable[..., Any], *args: Any) -> None:
        try:
            self.add_action(fn, *args)
        except Revoked:
            fn(*args)
            raise

    def attach(self, child: Device) -> None:
        above: Device | None = self
        while above is not None:
            if above is child:
                raise ValueError
            above = above.hub
        child.refuse_removed()
        if child.hub is not None:
            raise ValueError
        self.refuse_removed()
        child.hub = self
        self.children.append(child)

    def all(self) -> Iterator[Device]:
        yield self
        for child in self.children:
            yield from child.all()

    def blockers(self) -> list[Blocker]:
        return [blocker for device in self.all() for provider in device.providers for blocker in provider.blockers()]

    def remove(self, timeout: float | None) -> bool:
        if self.state == "removed":
            return False
        providers = [provider for device in self.all() for provider in device.providers if not provider.released]
        for provider in providers:
            provider.refuse_own()
        for device in self.all():
            device.state = "draining"
        for step in (Provider.deny, Provider.tell):  # all are denied before any reader is told
            for provider in providers:
                step(provider)
        if self.blockers():
            raise RevokeTimeout(self.blockers())
        self.take_apart()
        return True

    def take_apart(self) -> None:
        """Everything in reverse: what was attached, then the resources, then the actions; whatever of it fails."""
        steps: list[Callable[[], Any]] = [child.take_apart for child in self.children[::-1]]
        steps += [provider.let_go for provider in self.providers[::-1]] + self.actions[::-1]
        failed: list[Exception] = []
        for step in steps:
            try:
                step()
            except (KeyError, ExceptionGroup) as error:
                failed.append(error)
        self.state = "removed"
        if self.hub is not None:
            self.hub.children.remove(self)
        if failed:
            raise ExceptionGroup("not all of it went well", failed)

    def __repr__(self) -> str:
        return f"<ref_proxy.Device {self.name!r}, {self.state}>"


class guarded:  # noqa: N801  (it stands for a function)
    """An object every use of which is a section. Where it came from the resource, it is refused once that was replaced."""

    def __init__(self, proxy: Proxy, cursor: Section | None = None) -> None:
        self.proxy, self.cursor, self.closed = proxy, cursor, False
        if cursor is None:
            proxy.access().end()

    def begin(self) -> Section:
        if self.closed:
            raise ValueError
        section = self.proxy.access()
        if self.cursor is not None and section.number != self.cursor.number:
            section.end()
            raise Revoked
        return section

    def use(self) -> Any:
        section = self.begin()
        section.end()
        return section.held.use()

    def steps(self) -> Section:
        """A generator that was begun: one section, until it is dropped."""
        section = self.begin()
        section.dropped = section.end  # type: ignore[method-assign]  (which is no mistake here)
        return section

    def part(self) -> guarded:
        section = self.begin()
        section.end()
        return guarded(self.proxy, section)

    def close(self) -> None:
        self.closed = True

    def __repr__(self) -> str:
        state = "closed" if self.closed else "revoked" if self.proxy.revoked else "live"
        return f"<guarded {'Resource' if self.cursor is None else 'Part'} of {self.proxy.gate.name!r}, {state}>"
