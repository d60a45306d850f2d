"""`provider.py` in steps: what a removal does, on top of either twin.

Every step may be begun by one thread and carried on by another. What has been done is in `claims`: pairs of a step's name and of
who claimed it, as (thread, process); a forked child is called by the name of its only thread.
"""

from __future__ import annotations

from typing import Any

from . import properties
from .bell import added
from .explore import BLOCKED, Atomic, Fork, Load, Memory, Private, Store, Thread, Wrong, here
from .properties import NOBODY, number


class Policy:
    """A provider, on a cell of one of the twins. interrupt: whether it has an `interrupt`, next to its `release`."""

    def __init__(self, cell: Any, *, interrupt: bool = False) -> None:
        self.cell = cell
        self.broken = cell.broken
        self.interrupt = interrupt
        cell.pull = self.start_finish

    def memory(self) -> dict[Any, Any]:
        return {
            **self.cell.memory(),
            "claims": NOBODY,
            "since": False,
            "last": 0,
            "jobs": 0,
            "interrupted": False,
        }

    def at_end(self, m: Memory) -> None:
        self.cell.at_end(m)
        if m["since"]:
            _released(m)

    # ---- What users call

    def revoke(self, me: str, timed: bool = False) -> Thread:
        """True for the one who did it, False for all others, None when the time ran out."""
        if (yield from self.over("release")):
            return (yield from self.returns(False))
        yield from self.deny(me)
        yield from self.run_interrupt(me)
        return (yield from self.returns((yield from self.finish(me, timed))))

    def revoke_soon(self, me: str) -> Thread:
        if not (yield from self.over("release")):
            yield from self.deny(me)
            yield from self.run_interrupt(me)
            yield from self.finish_later(me)

    def replace(self, me: str) -> Thread:
        old = yield from self.cell.publish(me)
        if old is None:
            return None
        yield Private(dict.__setitem__, "published", True)
        yield from self.cell.wait(me, False, self.cell.drained, number(old), number(old))
        yield here(Atomic("returns what was replaced", properties.give_back, old))
        yield Private(dict.__setitem__, "replaced", True)
        return old

    def help(self, me: str) -> Thread:
        """A thread that is there for what `start()` has one run."""
        while True:
            yield here(Atomic("is started for a job", _take_job))
            yield from self.finish_here(me)

    def fork_and_revoke(self, me: str, section: str) -> Thread:
        """The child of a thread that is inside."""
        granted = yield from self.cell.access(me, section)
        yield Fork(properties.fork, me)
        yield from self.cell.after_fork(me)
        if granted:
            yield from self.cell.end(me, section)
        return (yield from self.revoke(me))

    def returns(self, outcome: Any) -> Thread:
        if outcome is not None:
            yield Private(_released)
        return outcome

    # ---- The steps of a removal

    def deny(self, me: str) -> Thread:
        last = yield from self.cell.deny(me)
        if not (yield here(Load("since", "is it the first to deny?"))):
            yield from self.cell.ring(me)
        yield here(Store("last", last, "notes what to wait for"))
        yield here(Store("since", True))

    def over(self, step: str) -> Thread:
        claims = yield here(Load("claims", f"[OVER] is the {step} over?"))
        if claimed(claims, f"{step} over"):
            return True
        claim = claimed(claims, step)
        if claim is None or (yield Private(_process)) in claim:
            return False
        yield from self.set_claim(f"{step} over", claim)  # left behind by a fork
        return True

    def set_claim(self, step: str, claim: Any) -> Thread:
        yield from self.cell.change("claims", f"[OVER] notes: {step}", added, (step, claim))

    def claim(self, me: str, step: str) -> Thread:
        """Whether nobody else has claimed it."""
        mine = (me, (yield Private(_process)))
        return (yield from self.cell.change("claims", f"[CLAIM] claims the {step}", set_default, step, mine))

    def uninterrupted(self) -> Thread:
        if not self.interrupt:
            return False
        return not claimed((yield here(Load("claims", "has somebody begun to interrupt?"))), "interrupt")

    def run_interrupt(self, me: str) -> Thread:
        if not (yield from self.uninterrupted()) or not (yield from self.claim(me, "interrupt")):
            return
        yield here(Atomic("interrupts", _interrupt))
        yield from self.set_claim("interrupt over", (me, ""))
        yield from self.cell.ring(me)

    def drained(self) -> Thread:
        last = yield here(Load("last", "what to wait for?"))
        return (yield from self.cell.drained(0, number(last)))

    def due(self) -> Thread:
        if claimed((yield here(Load("claims", "has somebody begun to release?"))), "release"):
            return False
        if not (yield from self.drained()):
            return False
        return not self.interrupt or (yield from self.over("interrupt"))

    def stirred(self) -> Thread:
        if (yield from self.over("release")):
            return True
        if (yield from self.due()):
            return True
        return (yield from self.uninterrupted())

    def run_release(self, me: str) -> Thread:
        if self.broken("two may claim the release"):
            if claimed((yield here(Load("claims", "[CLAIM] has somebody claimed the release?"))), "release"):
                return False
            yield from self.set_claim("release", (me, ""))
        elif not (yield from self.claim(me, "release")):
            return False
        if self.broken("the release counts as over before it has run"):
            yield from self.set_claim("release over", (me, ""))
        yield here(Atomic("releases", properties.give_back, (yield Load("last"))))
        yield from self.set_claim("release over", (me, ""))
        if not self.broken("the release does not ring"):
            yield from self.cell.ring(me)
        return True

    def finish(self, me: str, timed: bool) -> Thread:
        while not (yield from self.over("release")):
            if (yield from self.take_steps(me)):
                return True
            if not (yield from self.cell.wait(me, timed, self.stirred)):
                return None
        return False

    def take_steps(self, me: str) -> Thread:
        yield from self.run_interrupt(me)
        if (yield from self.due()):
            return (yield from self.run_release(me))
        return False

    # ---- With nobody waiting

    def finish_later(self, me: str) -> Thread:
        if self.broken("the rope of revoke_soon() is hung up after the look"):
            stirred = yield from self.stirred()
            yield from self.cell.hang(("finish", (yield Private(self.cell.new_peg, ""))))
        else:
            yield from self.cell.hang(("finish", (yield Private(self.cell.new_peg, ""))))
            stirred = yield from self.stirred()
        if stirred:
            yield from self.start_finish(me)

    def start_finish(self, me: str) -> Thread:
        if not (yield from self.over("release")):
            yield here(Atomic("starts a thread to finish it", _give_job))

    def finish_here(self, me: str) -> Thread:
        yield from self.take_steps(me)
        if not (yield from self.over("release")):
            yield from self.finish_later(me)


def claimed(claims: frozenset[Any], step: str) -> Any:
    """Who claimed it, or None."""
    return next((claim for what, claim in claims if what == step), None)


def set_default(claims: frozenset[Any], step: str, mine: Any) -> tuple[frozenset[Any], bool]:
    if claimed(claims, step):
        return claims, False
    return claims | {(step, mine)}, True


def _process(m: Memory) -> Any:
    return m["process"]


def _give_job(m: Memory) -> None:
    m["jobs"] += 1


def _take_job(m: Memory) -> Any:
    if not m["jobs"]:
        return BLOCKED
    m["jobs"] -= 1
    return None


def _released(m: Memory) -> None:
    """When a revoke() returns, and in the end."""
    claim = claimed(m["claims"], "release")
    if m["last"] not in m["gone"] and not (claim is not None and m["process"] not in claim):
        raise Wrong("revoke() returns after the release: but there was none yet")


def _interrupt(m: Memory) -> None:
    if m["interrupted"]:
        raise Wrong("the interrupt runs once: but it ran again")
    if m["last"] in m["gone"]:
        raise Wrong("nobody holds what is gone: but the interrupt got what was released")
    m["interrupted"] = True
