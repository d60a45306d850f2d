"""All that can be done with the package, step by step, in several worlds at once: after every step they must be alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.property import naive
from tests.property.worlds import Cookie, Resource, World

FEW = 4
which = st.integers(0, FEW)  # of the newest ones
flag = st.booleans()
rarely = st.integers(0, 7).map(lambda n: n == 7)
# With which of them something can still happen. A step is to meet what earlier ones did, not what they did away with.
LIVE: dict[str, Callable[[Any], bool]] = {
    "proxy": lambda proxy: not proxy.closed and not proxy.revoked,
    "section": lambda section: section.state == "open",
    "removal": lambda removal: not removal.done,
    "provider": lambda provider: provider.live,
    "domain": lambda domain: True,
    "device": lambda device: device.live,
}


def where(kind: str) -> Any:
    """A rule for where there is such a thing."""
    return precondition(lambda machine: machine.all(kind))


def where_few_are_live(kind: str, few: int) -> Any:
    """A rule that makes one more."""
    return precondition(lambda machine: len(machine.live(kind)) < few)


class Machine(RuleBasedStateMachine):
    """Compares worlds with the naive model, and with each other. A subclass says with which packages they are made."""

    packages: ClassVar[Sequence[ModuleType]]
    patient: ClassVar[bool] = True  # whether a call that need not wait may be told to wait without bound

    def __init__(self) -> None:
        super().__init__()
        self.naive = World(naive)
        self.worlds = [World(package) for package in self.packages]
        self.made = 0

    def teardown(self) -> None:
        for world in self.worlds:
            world.end()

    def step(self, operation: Callable[[World], Any]) -> Any:
        """Take it in every world: what it comes to, and all that can be seen then, must be alike. Returns that."""
        expected = self.naive.step(operation), self.naive.log, self.naive.view()
        for world in self.worlds:
            world.words.clear()
            assert (world.step(operation), world.log, world.view()) == expected
            assert world.words == self.worlds[0].words
        return expected[0]

    def make(self, kind: str, call: Callable[[World, int], Any]) -> None:
        number = self.new()
        self.step(lambda world: world.make(number, kind, call, world, number))

    def new(self) -> int:
        self.made += 1
        return self.made

    def all(self, kind: str) -> list[int]:
        return [number for number, (found, _) in self.naive.things.items() if found == kind]

    def pick(self, kind: str, which: int) -> int:
        found = (self.live(kind) if which < FEW else []) or self.all(kind)
        return found[-1 - which % len(found)]

    def live(self, kind: str) -> list[int]:
        return [each for each in self.all(kind) if kind not in LIVE or LIVE[kind](self.naive[each])]

    def enter(self, inside: bool, gate: int) -> None:
        """If so, have a section open on a provider or a domain, that is going to be ended elsewhere."""
        if inside:
            self.make("section", lambda w, n: w[gate].read() if isinstance(w[gate], w.Domain) else w[gate].proxy().access())
            if self.made in self.naive.things:
                self.detach(0)

    def timeout(self, patient: bool, inside: list[Any]) -> float | None:
        """None, where that does not wait: for nobody is inside, or it is refused since this very thread is."""
        return None if patient and self.patient and (not inside or not all(each.detached for each in inside)) else 0

    # Providers

    @initialize()
    def begin(self) -> None:
        self.provider(False, False)

    @where_few_are_live("provider", 2)
    @rule(interrupt_fails=rarely, release_fails=rarely)
    def provider(self, interrupt_fails: bool, release_fails: bool) -> None:
        self.make("provider", lambda w, n: w.package.Provider(Resource(f"r{n}"), **w.about(n, interrupt_fails, release_fails)))
        self.proxy(0, True)

    @where("provider")
    @rule(p=which, inside=flag, patient=flag)
    def revoke(self, p: int, inside: bool, patient: bool) -> None:
        p = self.pick("provider", p)
        self.enter(inside, p)
        n = self.new()
        timeout = self.timeout(patient, self.naive[p].blockers())
        self.step(lambda w: w.late(n, w[p].revoke, timeout))

    @where("provider")
    @rule(p=which, inside=flag)
    def revoke_soon(self, p: int, inside: bool) -> None:
        p = self.pick("provider", p)
        self.enter(inside, p)
        self.make("removal", lambda w, n: w[p].revoke_soon())

    @where("provider")
    @rule(p=which, inside=flag, patient=flag)
    def replace(self, p: int, inside: bool, patient: bool) -> None:
        p = self.pick("provider", p)
        self.enter(inside, p)
        n = self.new()
        newest = self.naive[p].number
        timeout = self.timeout(patient, self.naive[p].inside(newest, newest))
        self.step(lambda w: w.late(n, w[p].replace, Resource(f"r{n}"), timeout))

    @where("removal")
    @rule(r=which, patient=flag)
    def wait(self, r: int, patient: bool) -> None:
        r = self.pick("removal", r)
        timeout = self.timeout(patient, self.naive[r].blockers())
        self.step(lambda w: w[r].wait(timeout))

    @where("provider")
    @rule(p=which, sure=rarely)
    def drop_provider(self, p: int, sure: bool) -> None:
        if sure:
            p = self.pick("provider", p)
            self.step(lambda w: w.drop(p))

    # Proxies and sections

    @where("provider")
    @rule(p=which, named=flag)
    def proxy(self, p: int, named: bool) -> None:
        p = self.pick("provider", p)
        self.make("proxy", lambda w, n: w[p].proxy(f"x{n}" if named else None))

    @where("proxy")
    @rule(x=which, sure=rarely)
    def close(self, x: int, sure: bool) -> None:
        if sure:
            x = self.pick("proxy", x)
            self.step(lambda w: w[x].close())

    @where("proxy")
    @rule(x=which, detached=flag)
    def access(self, x: int, detached: bool) -> None:
        x = self.pick("proxy", x)
        self.make("section", lambda w, n: w[x].access())
        if detached and self.made in self.naive.things:
            self.detach(0)

    @where("proxy")
    @rule(x=which)
    def try_access(self, x: int) -> None:
        x = self.pick("proxy", x)
        self.make("section", lambda w, n: w[x].try_access())

    @where("section")
    @rule(s=which)
    def in_a_with(self, s: int) -> None:
        s = self.pick("section", s)
        self.step(lambda w: w[s].__enter__())
        self.step(lambda w: w[s].__exit__(None, None, None))

    @where("section")
    @rule(s=which)
    def end(self, s: int) -> None:
        s = self.pick("section", s)
        self.step(lambda w: w[s].end())

    @where("section")
    @rule(s=which)
    def detach(self, s: int) -> None:
        s = self.pick("section", s)
        self.step(lambda w: w[s].detach())

    @where("section")
    @rule(s=which)
    def drop_section(self, s: int) -> None:
        s = self.pick("section", s)
        self.step(lambda w: w.drop(s))

    # Guarded calls

    @where("proxy")
    @rule(x=which)
    def guard(self, x: int) -> None:
        x = self.pick("proxy", x)
        self.make("guarded", lambda w, n: w.package.guarded(w[x]))

    @where("guarded")
    @rule(g=which)
    def use(self, g: int) -> None:
        g = self.pick("guarded", g)
        self.step(lambda w: w[g].use())

    @where("guarded")
    @rule(g=which)
    def part(self, g: int) -> None:
        g = self.pick("guarded", g)
        self.make("part", lambda w, n: w[g].part())

    @where("part")
    @rule(g=which)
    def use_part(self, g: int) -> None:
        g = self.pick("part", g)
        self.step(lambda w: w[g].use())

    @where("guarded")
    @rule(g=which)
    def steps(self, g: int) -> None:
        g = self.pick("guarded", g)
        self.make("generator", lambda w, n: w[g].steps())

    @where("generator")
    @rule(g=which)
    def drop_generator(self, g: int) -> None:
        g = self.pick("generator", g)
        self.step(lambda w: w.drop(g))

    @where("guarded")
    @rule(g=which, sure=rarely)
    def give_up(self, g: int, sure: bool) -> None:
        if sure:
            g = self.pick("guarded", g)
            self.step(lambda w: w[g].close())

    # Devices

    @where_few_are_live("device", 3)
    @rule()
    def device(self) -> None:
        self.make("device", lambda w, n: w.package.Device(f"d{n}"))

    @where("device")
    @rule(d=which, interrupt_fails=rarely, release_fails=rarely)
    def provide(self, d: int, interrupt_fails: bool, release_fails: bool) -> None:
        d = self.pick("device", d)
        self.make("provider", lambda w, n: w[d].provide(Resource(f"r{n}"), **w.about(n, interrupt_fails, release_fails)))
        if self.made in self.naive.things:
            self.proxy(0, True)

    @where("device")
    @rule(d=which, or_reset=flag, fails=flag)
    def add_action(self, d: int, or_reset: bool, fails: bool) -> None:
        d, n = self.pick("device", d), self.new()
        add = "add_action_or_reset" if or_reset else "add_action"
        self.step(lambda w: getattr(w[d], add)(w.act, f"action {n}", fails))

    @where("device")
    @rule(d=which, child=which)
    def attach(self, d: int, child: int) -> None:
        d, child = self.pick("device", d), self.pick("device", child)
        self.step(lambda w: w[d].attach(w[child]) and None)

    @where("device")
    @rule(d=which, p=which, inside=flag, patient=flag)
    def remove(self, d: int, p: int, inside: bool, patient: bool) -> None:
        d = self.pick("device", d)
        if self.all("provider"):
            self.enter(inside, self.pick("provider", p))
        timeout = self.timeout(patient, self.naive[d].blockers())
        self.step(lambda w: w[d].remove(timeout))

    # Domains

    @where_few_are_live("domain", 1)
    @rule()
    def domain(self) -> None:
        self.make("domain", lambda w, n: w.Domain(f"domain {n}"))

    @where("domain")
    @rule(d=which, detached=flag)
    def read(self, d: int, detached: bool) -> None:
        d = self.pick("domain", d)
        self.make("section", lambda w, n: w[d].read())
        if detached and self.made in self.naive.things:
            self.detach(0)

    @where("domain")
    @rule(d=which, inside=flag)
    def start_poll(self, d: int, inside: bool) -> None:
        d = self.pick("domain", d)
        self.enter(inside, d)
        self.make("cookie", lambda w, n: Cookie(w[d]))

    @where("domain")
    @rule(d=which, inside=flag, fails=rarely)
    def call(self, d: int, inside: bool, fails: bool) -> None:
        d = self.pick("domain", d)
        self.enter(inside, d)
        n = self.new()
        self.step(lambda w: w[d].call(w.act, f"callback {n}", fails))

    @where("domain")
    @rule(d=which)
    def barrier(self, d: int) -> None:
        d = self.pick("domain", d)
        if self.timeout(True, self.naive[d].open) is None:
            self.step(lambda w: w[d].barrier())

    @where("domain")
    @rule(d=which, inside=flag, patient=flag)
    def synchronize(self, d: int, inside: bool, patient: bool) -> None:
        d = self.pick("domain", d)
        self.enter(inside, d)
        timeout = self.timeout(patient, self.naive[d].open)
        self.step(lambda w: w[d].synchronize(timeout))
