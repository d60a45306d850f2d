"""What threads do with a cell: readers, and removals with no more policy than that they wait."""

from __future__ import annotations

from typing import Any

from . import properties
from .explore import Atomic, Await, Fork, Private, Store, Thread, here
from .properties import number


def read(cell: Any, me: str, section: str) -> Thread:
    """One section."""
    if (yield from cell.access(me, section)):
        yield from cell.end(me, section)


def read_twice(cell: Any, me: str, first: str, second: str) -> Thread:
    yield from read(cell, me, first)
    yield from read(cell, me, second)


def read_nested(cell: Any, me: str, outer: str, inner: str) -> Thread:
    if (yield from cell.access(me, outer)):
        yield from read(cell, me, inner)
        yield from cell.end(me, outer)


def read_and_hand_over(cell: Any, me: str, section: str, ends: bool) -> Thread:
    """Another thread ends the section; this one does so too, if it `ends`."""
    granted = yield from cell.access(me, section)
    yield here(Store("handed over", granted or "refused"))
    if granted and ends:
        yield from cell.end(me, section)


def end_what_is_handed_over(cell: Any, me: str, section: str) -> Thread:
    if (yield Await("handed over")) is True:
        yield from cell.end(me, section)


def linger(cell: Any, me: str, section: str, until: str) -> Thread:
    """A section of the new resource, which stays until the replacement has returned."""
    yield Await("published")
    if (yield from cell.access(me, section)):
        yield Await(until)
        yield from cell.end(me, section)


def revoke(cell: Any, me: str, timed: bool = False) -> Thread:
    """Deny, drain, release. One that ran out of time is carried on."""
    last = yield from cell.deny(me)
    if timed:
        yield from cell.wait(me, True, cell.drained, 0, number(last))
    yield from cell.wait(me, False, cell.drained, 0, number(last))
    yield here(Atomic("releases", properties.release, last))


def replace(cell: Any, me: str) -> Thread:
    """Whether there was something to be replaced."""
    old = yield from cell.publish(me)
    if old is None:
        return False
    yield Private(dict.__setitem__, "published", True)
    yield from cell.wait(me, False, cell.drained, number(old), number(old))
    yield here(Atomic(f"returns the resource of publication {number(old)}", properties.give_back, old))
    yield Private(dict.__setitem__, "replaced", True)
    return True


def replace_twice(cell: Any, me: str) -> Thread:
    yield from replace(cell, me)
    yield from replace(cell, me)


def replace_twice_then_revoke(cell: Any, me: str) -> Thread:
    yield from replace_twice(cell, me)
    yield from revoke(cell, me)


def replace_then_revoke(cell: Any, me: str) -> Thread:
    yield from replace(cell, me)
    yield from revoke(cell, me)


def fork_and_revoke(cell: Any, me: str, section: str) -> Thread:
    """The child of a thread that is inside."""
    granted = yield from cell.access(me, section)
    yield Fork(properties.fork, me)
    yield from cell.after_fork(me)
    if granted:
        yield from cell.end(me, section)
    yield from revoke(cell, me)


def ask(cell: Any, me: str) -> Thread:
    """Ask for the first publication, whether it is retired or not."""
    if (yield from cell.drained(0, 1)):
        yield Private(properties.nobody_holds, 1)
