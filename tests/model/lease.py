"""The lease of a cell in steps: accesses that find its end, and a renewal that is on its way.

A tick is two moments of the clock long, and so is what is close to the end. The Python twin reads the clock each time.
"""

from __future__ import annotations

from typing import Any

from .bell import Faulty
from .explore import Atomic, Guarded, Load, Memory, Private, Store, Thread, Wrong, here

UNTIL, LATER, OVER = 3, 5, -1
TICK = CLOSE = 2


class Leased(Faulty):
    """A cell that has one, and a clock."""

    def __init__(self, cell: Any) -> None:
        super().__init__(cell.fault)
        self.ticks = not hasattr(cell, "newest")  # the C twin's

    def memory(self) -> dict[Any, Any]:
        return {"until": UNTIL, "looked": -1, "clock": 0, "refused": False}

    def at_end(self, m: Memory) -> None: ...

    def time(self) -> Thread:
        for moment in range(1, LATER):
            yield here(Atomic(f"it is {moment}", _pass, moment))

    def access_twice(self) -> Thread:
        yield from self.access()
        yield from self.access()

    def access(self) -> Thread:
        began, late = yield here(Guarded("an access begins", _begin))
        if self.ticks:
            until = yield here(Load("until", "is there a lease?"))
            noted = yield here(Load("looked", "when was it looked at?"))
            if until != OVER and noted == (yield here(Load("clock", "which tick is it?"))) // TICK:
                yield Private(_grant, began, late)
                return
        while True:
            until = yield here(Load("until", "when is it over?"))
            if until == OVER:
                break
            now = yield here(Load("clock", "what time is it?"))
            if now < until:
                if self.ticks and (until - now > CLOSE or self.broken("the clock is read once a tick to the very end")):
                    yield here(Store("looked", now // TICK))
                yield Private(_grant, began, late)
                return
            if self.broken("a lease ends without being ended for all"):
                break
            if (yield here(Atomic("[LAPSE] it is over, unless it has been renewed", _exchange, until, OVER))):
                break
        yield Private(_refuse)

    def renew(self) -> Thread:
        before = yield here(Load("until", "until when is it?"))
        if before == OVER:
            return
        if self.broken("a lease is renewed by a plain store"):
            yield here(Store("until", LATER, "[RENEW] it is put off"))
        else:
            yield here(Atomic("[RENEW] it is put off, unless it is over", _exchange, before, LATER))


def _pass(m: Memory, moment: int) -> None:
    m["clock"] = moment


def _exchange(m: Memory, before: int, after: int) -> bool:
    if m["until"] != before:
        return False
    m["until"] = after
    return True


def _begin(m: Memory) -> tuple[int, bool]:
    return m["clock"], m["refused"]


def _grant(m: Memory, began: int, late: bool) -> None:
    if late:
        raise Wrong("who comes after one who was refused is refused: but was granted")
    if began >= (LATER if m["until"] == LATER else UNTIL):
        raise Wrong("an access that begins after the end of the lease is refused: but one was granted")


def _refuse(m: Memory) -> None:
    m["refused"] = True
