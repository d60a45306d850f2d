"""`waiting.py` in steps: the bell, and what a dict's methods are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from .explore import BLOCKED, Atomic, Either, Load, Lock, Memory, Private, Step, Store, Thread, here

NOBODY: frozenset[Any] = frozenset()


class Faulty:
    """What can be broken at one step: a program asks there whether that is the fault that was seeded."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def broken(self, fault: str) -> bool:
        return self.fault == fault


class Dicts(Faulty):
    """Dicts that threads share.

    A method that changes one locks it, changes it and unlocks it, and CPython unlocks with a compare-exchange. That is a full
    fence, so nobody can see the change before it and the lock free after it at different times, but by having to wait: so the
    whole is one read-modify-write here. Looking whether a dict is empty is a plain load, without the lock.
    """

    def change(self, name: Hashable, what: str, act: Callable[..., Any], *args: Hashable) -> Thread:
        """`act(old, *args)` gives the new value and what the method returns."""
        if not self.broken("a dict is unlocked by a plain store"):
            return (yield here(Atomic(what, _change, name, act, *args)))
        old = yield here(Lock(name, name))
        new, result = act(old, *args)
        yield Store(name, new, what)
        yield Store(("lock", name), False)
        return result


def _change(m: Memory, name: Hashable, act: Callable[..., Any], *args: Hashable) -> Any:
    m[name], result = act(m[name], *args)
    return result


def added(old: frozenset[Any], item: Hashable) -> tuple[frozenset[Any], None]:
    return old | {item}, None


def popped(old: frozenset[Any], item: Hashable) -> tuple[frozenset[Any], bool]:
    return old - {item}, item in old


class Bell(Dicts):
    """Wakes whoever waits. `ropes` are those that hang there: a waiter's, or one that has its owner's `pull()` run."""

    MEMORY = {"ropes": NOBODY, "rung": NOBODY}  # noqa: RUF012

    def new_peg(self, m: Memory, me: str) -> int:
        if not self.broken("a peg is used again"):
            m["pegs", me] = m.get(("pegs", me), 0) + 1
        return m.get(("pegs", me), 0)

    def hang(self, rope: Hashable) -> Thread:
        yield from self.change("ropes", "[HANG] hangs up a rope", added, rope)

    def unhang(self, rope: Hashable) -> Thread:
        yield from self.change("ropes", "takes the rope off", popped, rope)

    def ring(self, me: str) -> Thread:
        if self.broken("no wake"):
            return
        if not (yield here(Load("ropes", "[RING] is there a rope?"))):
            return
        ropes = yield here(Load("ropes", "[RING] takes the ropes"))
        for rope in sorted(ropes, key=str):
            if rope[0] == "sleeper":
                yield here(Atomic(f"[RING] pulls the rope of {rope[1]}", _pull, rope))
            else:
                yield from self.pull(me)
            yield from self.unhang(rope)

    def pull(self, me: str) -> Thread:
        """What a rope does that is not a waiter's."""
        raise NotImplementedError

    def wait(self, me: str, timed: bool, ready: Callable[..., Thread], *args: Hashable) -> Thread:
        """Until `ready()`: then True. With a timeout it may at any time be False."""
        while not (yield from ready(*args)):
            rope = ("sleeper", me, (yield Private(self.new_peg, me)))
            if self.broken("the rope is hung up after the look"):
                if (yield from ready(*args)):
                    return True
                yield from self.hang(rope)
            else:
                yield from self.hang(rope)
                if (yield from ready(*args)):  # [LOOK]
                    yield from self.unhang(rope)
                    return True
            rung = yield here(Step(f"sleeps{' with a timeout' if timed else ''}", "atomic", _sleep, (rope, timed)))
            yield from self.unhang(rope)
            yield Private(_forget, rope)
            if not rung:
                return (yield from ready(*args))
        return True


def _pull(m: Memory, rope: Hashable) -> None:
    if rope in m["ropes"]:  # if not, its waiter has been woken, or has gone
        m["rung"] |= {rope}


def _forget(m: Memory, rope: Hashable) -> None:
    m["rung"] -= {rope}


def _sleep(m: Memory, rope: Hashable, timed: bool) -> Any:
    if rope in m["rung"]:
        return Either((True, False)) if timed else True
    return False if timed else BLOCKED
