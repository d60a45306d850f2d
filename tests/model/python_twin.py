"""`_core_py.py` in steps.

A publication is (number, who made it): two removals may both have made a successor, of which one gets in. A step of the
interpreter is a step here, but that what a thread alone can see is left out.
"""

from __future__ import annotations

from typing import Any

from . import properties
from .bell import Bell, added, popped
from .explore import Atomic, Guarded, Load, Lock, Memory, Once, Point, Private, Store, Thread, Unlock, Wrong, here
from .properties import NOBODY

FIRST = (1, "")


class PythonTwin(Bell):
    """A cell, with the bell that it rings."""

    def memory(self) -> dict[Any, Any]:
        return {**properties.MEMORY, **Bell.MEMORY, "hint": FIRST, **_publication(FIRST, None)}

    # ---- Sections

    def access(self, me: str, section: str) -> Thread:
        """True where it was granted; else it holds nothing."""
        while True:
            publication = yield here(Load("hint", "[LOAD]"))
            if (yield here(Once(("next", publication)))):
                publication = yield from self.newest()
                if self.ends((yield here(Once(("next", publication))))):
                    yield Private(_refuse)
                    return False
            yield Private(_note, section, (publication, me))
            yield from self.change(("members", publication), f"[JOIN] joins {publication[0]} as {section}", added, (section, me))
            if self.broken("there is no [RECHECK]"):
                break
            if not (yield here(Once(("next", publication), f"[RECHECK] is {publication[0]} retired?"))):
                break
            if not self.broken("an access that came too late stays a member"):
                yield from self.leave(me, publication, (section, me))
        yield Private(properties.hold, section, publication)
        return True

    def ends(self, following: tuple[Any, ...]) -> bool:
        return bool(following) if self.broken("a successor is taken for the end") else following == (None,)

    def end(self, me: str, section: str) -> Thread:
        publication, maker = yield here(Guarded(f"is about to end {section}", _stop_using, section))
        return (yield from self.leave(me, publication, (section, maker)))

    def leave(self, me: str, publication: Any, member: Any) -> Thread:
        """True for the one who did."""
        if self.broken("the wake comes before [LEAVE]"):
            yield from self.wake_if_last(me, publication)
        left = yield from self.change(("members", publication), f"[LEAVE] leaves {publication[0]} as {member[0]}", popped, member)
        if not self.broken("the wake comes before [LEAVE]"):
            yield from self.wake_if_last(me, publication)
        return left

    def wake_if_last(self, me: str, publication: Any) -> Thread:
        if not (yield here(Once(("next", publication), f"is {publication[0]} retired?"))):
            return
        if not (yield here(Load(("members", publication), f"is {publication[0]} empty?"))):
            yield from self.wake(me)

    def wake(self, me: str) -> Thread:
        yield Point("[WAKE]")
        yield from self.ring(me)

    # ---- Removals

    def newest(self) -> Thread:
        newest = yield here(Load("hint", "where is the newest?"))
        while True:
            if self.broken("a successor is looked up once the dict has grown"):
                if (yield here(Once(("size", newest)))) and (yield here(Once(("next", newest)))) == ():
                    yield Private(_fail)
            following = yield here(Once(("next", newest), f"what follows {newest[0]}?"))
            if following in ((), (None,)):
                break
            newest = following[0]
            if self.broken("the hint is followed one step only"):
                break
        yield here(Store("hint", newest))
        return newest

    def publish(self, me: str) -> Thread:
        """The number of what was published, or None where it had been denied."""
        while True:
            old = yield from self.newest()
            fresh = (old[0] + 1, me)
            following = yield from self.follow(old, fresh, f"[PUBLISH] publication {old[0]} is followed by {fresh[0]}")
            if following == fresh:
                return old
            if following is None:
                return None

    def deny(self, me: str) -> Thread:
        """The number of the last publication."""
        while True:
            old = yield from self.newest()
            if (yield from self.follow(old, None, f"[PUBLISH] publication {old[0]} is the last one")) is None:
                return old

    def follow(self, old: Any, successor: Any, what: str) -> Thread:
        """`next.setdefault("", successor)`, of which others see two steps: the dict grows, and then the key can be found."""
        following = yield here(Lock(("next", old), ("next", old)))
        if following == ():
            following = (successor,)
            if successor is not None:
                yield Private(_make, successor, old)
            yield Store(("size", old), 1, what)
            yield Store(("next", old), following, f"what follows {old[0]} can be found")
        if self.broken("a dict is unlocked by a plain store"):
            yield Unlock(("next", old))
        else:
            yield Atomic(f"unlock next {old[0]}", _unlock, ("next", old))
        return following[0]

    def undrained(self) -> Thread:
        """Those that may have members, newest first."""
        publication = yield from self.newest()
        found = (publication,)
        while (older := (yield here(Load(("previous", publication))))) is not None:
            if (yield here(Load(("members", older), f"[SCAN] is anybody in {older[0]}?"))):
                found += (older,)
                publication = older
            else:
                yield here(Store(("previous", publication), (yield here(Load(("previous", older))))))
        return found

    def drained(self, first: int, last: int) -> Thread:
        found = yield from self.undrained()
        if self.broken("whether it is empty is asked before whether it is retired"):
            return (yield from self.empty(found, first, last)) and (yield from self.retired(found[0], last))
        return (yield from self.retired(found[0], last)) and (yield from self.empty(found, first, last))

    def retired(self, newest: Any, last: int) -> Thread:
        return newest[0] > last or (yield here(Once(("next", newest), f"is {newest[0]} retired?"))) != ()

    def empty(self, found: Any, first: int, last: int) -> Thread:
        for publication in found:
            if first <= publication[0] <= last:
                if (yield here(Load(("members", publication), f"[SCAN] is anybody in {publication[0]}?"))):
                    return False
        return True

    # ---- After a fork

    def after_fork(self, me: str) -> Thread:
        if self.broken("a forked child keeps the sections of other threads"):
            return
        found = yield from self.undrained()
        for publication in found:
            for member in sorted((yield here(Load(("members", publication), "[PURGE] who is inside?")))):
                if member[1] != me:
                    yield from self.leave(me, publication, member)

    def at_end(self, m: Memory) -> None:
        properties.nothing_is_held(m)
        for name, value in m.items():
            if name[0] == "members" and value:
                raise properties.owed(f"publication {name[1][0]} has members {sorted(value)}")


def _publication(publication: Any, previous: Any) -> dict[Any, Any]:
    return {
        ("size", publication): 0,
        ("next", publication): (),
        ("members", publication): NOBODY,
        ("previous", publication): previous,
    }


def _make(m: Memory, publication: Any, previous: Any) -> None:
    m.update(_publication(publication, previous))


def _note(m: Memory, section: str, place: Any) -> None:
    m["section", section] = place
    m["thread", section] = place[1]


def _stop_using(m: Memory, section: str) -> Any:
    properties.let_go(m, section)
    return m["section", section]


def _refuse(m: Memory) -> None:
    properties.refuse(m, (None,) in m.values())


def _unlock(m: Memory, name: Any) -> None:
    m["lock", name] = False


def _fail(m: Memory) -> None:
    raise Wrong("an access does not fail: but it looked up a successor that could not be found yet")
