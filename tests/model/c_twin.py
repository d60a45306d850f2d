"""`_core.c` in steps.

Numbers stand for publications, letters for sections. What a lock guards is one step, however much it does. `one` is the stripe
that a cell begins with; once it has grown each thread has its `home`.
`freed` are the publications whose memory was given back: a property, that nobody uses it then, is about that.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from . import properties
from .bell import Bell
from .explore import BLOCKED, Atomic, Guarded, Load, Lock, Memory, Point, Private, Step, Store, Thread, Unlock, Wrong
from .properties import NOBODY

NOTHING = None  # nothing is published any more


class CTwin(Bell):
    """A cell, with the bell that it rings.

    homes: the stripe of each thread once the cell has many. grown: whether it has from the start. grows: whether it does so when
    two threads meet at the lock of `one`. spares: whether the memory of sections is used again, which is no part of the rest.
    """

    def __init__(
        self,
        homes: Mapping[str, int] | None = None,
        *,
        grown: bool = False,
        grows: bool = False,
        spares: bool = False,
        fault: str = "",
    ) -> None:
        super().__init__(fault)
        self.homes = dict(homes or {})
        self.many = tuple(sorted(set(self.homes.values())))
        self.grown, self.grows, self.spares = grown, grows, spares
        self.bias = 0 if self.broken("there is no bias") else 1

    def memory(self) -> dict[Any, Any]:
        memory: dict[Any, Any] = {
            **properties.MEMORY,
            **Bell.MEMORY,
            "current": 1,
            "number": 1,
            "retired": (),
            "many": self.grown,
            ("left", 1): self.bias,
            "freed": NOBODY,
        }
        for stripe in ("one", *self.many):
            memory |= {
                ("lock", ("stripe", stripe)): False,
                ("turned", stripe): 1 if stripe == "one" else NOTHING,
                ("open", stripe): 0,
                ("sections", stripe): NOBODY,
                ("spare", stripe): None,
            }
        return memory

    # ---- Sections

    def access(self, me: str, section: str) -> Thread:
        """True where it was granted; else it holds nothing."""
        yield Point()
        stripe = yield from self.stripe_of(me)
        early = 0
        if self.broken("[LOAD] comes before the stripe's lock"):
            early = yield Load("current", "[LOAD]")
        yield from self.lock(stripe)
        piece = yield from self.take_memory(stripe, section)
        publication = early or (yield Load("current", "[LOAD]"))
        if publication is NOTHING:
            yield Private(_refuse)
            yield from self.unlock(stripe)
            return False
        yield Guarded(f"[JOIN] joins {publication} as {section}", self.join, stripe, publication, section, me, piece)
        yield from self.unlock(stripe)
        return True

    def join(self, m: Memory, stripe: Hashable, publication: int, section: str, me: str, piece: str) -> None:
        if m["turned", stripe] != publication and not self.broken("an access does not turn its stripe"):
            self.turn(m, stripe, publication)
        m["open", stripe] += 1
        m["sections", stripe] |= {section}
        m["section", section] = publication
        m["stripe", section] = stripe
        m["thread", section] = me
        m["memory", section] = piece
        properties.hold(m, section, publication)

    def stripe_of(self, me: str) -> Thread:
        if not self.homes:
            return "one"
        if (yield Load("many", "[STRIPE] are there many stripes?")):
            return self.homes[me]
        if self.grows and (yield Load(("lock", ("stripe", "one")), "[STRIPE] is another thread at its lock?")):
            yield from self.grow()
        return "one"

    def grow(self) -> Thread:
        if not self.broken("the cell grows without the publishing lock"):
            yield Lock("publishing")
        yield Store("many", True, "[GROW] has many stripes")
        if not self.broken("the cell grows without the publishing lock"):
            yield Unlock("publishing")

    def turn(self, m: Memory, stripe: Hashable, fresh: int | None) -> None:
        old = m["turned", stripe]
        if m["open", stripe]:
            use(m, old)
            m["left", old] += m["open", stripe]
        if not self.broken("a count is handed over twice"):
            m["open", stripe] = 0
        m["turned", stripe] = fresh

    def end(self, me: str, section: str) -> Thread:
        """End the section: True for the one who did."""
        yield Point()
        stripe = yield Load(("stripe", section), "finds its stripe")  # constant
        publication = None
        if self.broken("whether a section is open is asked before the lock"):
            publication = yield Load(("section", section), "is it open?")
        yield from self.lock(stripe)
        if not self.broken("whether a section is open is asked before the lock"):
            publication = yield Load(("section", section), "is it open?")
        if publication is None:
            yield from self.unlock(stripe)
            return False
        counted_here = yield Guarded("where is it counted?", self.is_counted_here, stripe, publication)
        if self.broken("a section takes itself off the count before it leaves") and not counted_here:
            yield from self.count(me, publication)
        yield Guarded(f"[LEAVE] leaves as {section}", self.leave, stripe, section, counted_here)
        yield from self.unlock(stripe)
        if not (counted_here or self.broken("a section takes itself off the count before it leaves")):
            yield from self.count(me, publication)
        yield from self.give_memory(section)
        return True

    def is_counted_here(self, m: Memory, stripe: Hashable, publication: int) -> bool:
        return publication == m["turned", stripe]

    def leave(self, m: Memory, stripe: Hashable, section: str, counted_here: bool) -> None:
        m["section", section] = None
        m["sections", stripe] -= {section}
        properties.let_go(m, section)
        if counted_here:
            m["open", stripe] -= 1
        if self.spares and m["spare", stripe] is None:
            m["spare", stripe] = m["memory", section]
            m["keeping", m["memory", section]] = "parked"

    def count(self, me: str, publication: int) -> Thread:
        last = yield Atomic(f"[COUNT] takes itself off what is left of {publication}", self.count_off, publication)
        if last:
            yield from self.last_one_out(me, publication)

    def count_off(self, m: Memory, publication: int, count: int = 1) -> bool:
        use(m, publication)
        m["left", publication] -= count
        return m["left", publication] == 0

    def last_one_out(self, me: str, publication: int) -> Thread:
        if self.broken("the wake comes before the completion"):
            yield from self.wake(me)
        yield from self.complete(publication)
        yield Atomic(f"frees {publication}", free, publication)
        if not self.broken("the wake comes before the completion"):
            yield from self.wake(me)

    def complete(self, publication: int) -> Thread:
        yield Lock("publishing")
        yield Guarded(f"[COMPLETE] publication {publication}", forget, publication)
        yield Unlock("publishing")

    def wake(self, me: str) -> Thread:
        yield Point("[WAKE]")
        yield from self.ring(me)

    # ---- Removals

    def publish(self, me: str) -> Thread:
        return (yield from self.exchange(True))

    def deny(self, me: str) -> Thread:
        """The number of the last publication."""
        yield from self.exchange(False)
        yield Point()
        yield Lock("publishing")
        number = yield Guarded("looks at the number", dict.__getitem__, "number")
        yield Unlock("publishing")
        return number

    def exchange(self, fresh: bool) -> Thread:
        """Publish something new, or nothing: the number of what was, or None where it had been denied."""
        yield Point()
        early = self.broken("the stripes are counted before the lock") and (yield Load("many", "[STRIPE] how many stripes?"))
        old = yield Lock("publishing", "current")
        if old is NOTHING:
            yield Unlock("publishing")
            return None
        following = yield Guarded(f"retires publication {old}", self.retire, old, fresh)
        if not self.broken("the scan comes before [PUBLISH]"):
            yield Store("current", following, f"[PUBLISH] {named(following)}")
        many = (
            early
            if self.broken("the stripes are counted before the lock")
            else (yield Load("many", "[STRIPE] how many stripes?"))
        )
        stripes = ("one", *self.many) if many else ("one",)
        empty = False
        for stripe in stripes[:-1] if self.broken("a stripe is left out") else stripes:
            if self.broken("the bias is taken off before the last stripe") and stripe == stripes[-1]:
                empty = yield from self.unbias(old)
            yield from self.lock(stripe)
            yield Guarded(f"[SCAN] turns stripe {stripe} to {named(following)}", self.turn_once, stripe, following)
            yield from self.unlock(stripe)
        if self.broken("the scan comes before [PUBLISH]"):
            yield Store("current", following, f"[PUBLISH] {named(following)}")
        if not self.broken("the bias is taken off before the last stripe"):
            empty = yield from self.unbias(old)
        if empty and not self.broken("completed after the publishing lock was given back"):
            yield Guarded(f"[COMPLETE] publication {old}", forget, old)
        yield Unlock("publishing")
        if empty and self.broken("completed after the publishing lock was given back"):
            yield from self.complete(old)
        if empty:
            yield Atomic(f"frees publication {old}", free, old)
        return old

    def unbias(self, old: int) -> Thread:
        return (yield Atomic(f"[UNBIAS] takes the bias off what is left of {old}", self.count_off, old, self.bias))

    def retire(self, m: Memory, old: int, fresh: bool) -> int | None:
        m["retired"] += (old,)
        if not fresh:
            return NOTHING
        m["number"] += 1
        m["left", m["number"]] = self.bias
        return m["number"]

    def turn_once(self, m: Memory, stripe: Hashable, fresh: int | None) -> None:
        if m["turned", stripe] != fresh:
            self.turn(m, stripe, fresh)

    def drained(self, first: int, last: int) -> Thread:
        yield Point()
        yield Lock("publishing")
        answer = yield Guarded(f"[ASK] are {first} to {last} complete?", complete_between, first, last)
        yield Unlock("publishing")
        return answer

    # ---- The memory of sections, under the stripe's lock but for its last use

    def take_memory(self, stripe: Hashable, section: str) -> Thread:
        """Which piece of memory the section gets: the spare one, or a new one, which is called like the section."""
        if not self.spares:
            return section
        piece = yield Load(("spare", stripe), "has the stripe a spare?")
        if piece is not None:
            keeping = yield Load(("keeping", piece), f"[REUSE] is the memory of {piece} spare?")
            if keeping != "spare" and not self.broken("memory is used again while it is parked"):
                piece = None
        if piece is None:
            piece = section
        yield Guarded(f"begins to use the memory of {piece}", _use_memory, stripe, piece)
        return piece

    def give_memory(self, section: str) -> Thread:
        if self.spares:
            piece = yield Guarded(f"the last use of {section}", _last_use, section)
            if (yield Load(("keeping", piece), "is it parked?")) == "parked":
                yield Store(("keeping", piece), "spare", f"[VACATE] the memory of {piece} is spare")

    # ---- Locks of stripes

    def lock(self, stripe: Hashable) -> Thread:
        if self.broken("a stripe's lock is taken by a load and a store"):
            yield Step(f"sees stripe {stripe} unlocked", "guarded", _await_unlocked, (("lock", ("stripe", stripe)),))
            yield Store(("lock", ("stripe", stripe)), True, f"lock stripe {stripe}")
        elif not self.broken("a stripe has no lock"):
            yield Lock(("stripe", stripe))

    def unlock(self, stripe: Hashable) -> Thread:
        if not self.broken("a stripe has no lock"):
            yield Unlock(("stripe", stripe))

    # ---- After a fork

    def after_fork(self, me: str) -> Thread:
        if self.broken("a forked child keeps the sections of other threads"):
            return
        completed = yield Guarded("[PURGE] ends the sections of threads that are gone", self.purge, me)
        if completed:
            yield from self.wake(me)

    def purge(self, m: Memory, me: str) -> bool:
        completed = False
        m["lock", "publishing"] = False
        for stripe in ("one", *(self.many if m["many"] else ())):
            m["lock", ("stripe", stripe)] = False
            for section in sorted(m["sections", stripe]):
                if m["thread", section] != me:
                    publication = m["section", section]
                    counted_here = self.is_counted_here(m, stripe, publication)
                    self.leave(m, stripe, section, counted_here)
                    if not counted_here and self.count_off(m, publication):
                        forget(m, publication)
                        free(m, publication)
                        completed = True
        return completed

    def at_end(self, m: Memory) -> None:
        properties.nothing_is_held(m)
        for stripe in ("one", *self.many):
            if m["sections", stripe] or m["open", stripe]:
                raise properties.owed(f"stripe {stripe} counts {m['open', stripe]} and has {sorted(m['sections', stripe])}")
        if m["retired"]:
            raise properties.owed(f"{m['retired']} are not complete")
        if m["freed"] != frozenset(range(1, m["number"] + (m["current"] is NOTHING))):
            raise properties.owed(f"only {sorted(m['freed'])} of {m['number']} publications were freed")


def named(publication: int | None) -> str:
    return "nothing" if publication is NOTHING else f"publication {publication}"


def _refuse(m: Memory) -> None:
    properties.refuse(m, m["current"] is NOTHING)


def _await_unlocked(m: Memory, lock: Hashable) -> Any:
    return BLOCKED if m[lock] else None


def _use_memory(m: Memory, stripe: Hashable, piece: str) -> None:
    if m.get(("used", piece)):
        raise Wrong(f"memory has one user: but that of section {piece} was taken while it was in use")
    m["used", piece] = True
    m["keeping", piece] = "loose"
    if m["spare", stripe] == piece:
        m["spare", stripe] = None


def _last_use(m: Memory, section: str) -> str:
    m["used", m["memory", section]] = False
    return m["memory", section]


def use(m: Memory, publication: int | None) -> None:
    """Memory of a publication is looked at, or changed."""
    if publication in m["freed"]:
        raise Wrong(f"memory is used only until it is freed: but that of publication {publication} was")


def forget(m: Memory, publication: int) -> None:
    if publication not in m["retired"]:
        raise Wrong(f"a publication is completed once: but {publication} was again")
    m["retired"] = tuple(each for each in m["retired"] if each != publication)


def free(m: Memory, publication: int) -> None:
    use(m, publication)
    m["freed"] |= {publication}


def complete_between(m: Memory, first: int, last: int) -> bool:
    return (m["current"] is NOTHING or m["current"] > last) and not any(first <= each <= last for each in m["retired"])
