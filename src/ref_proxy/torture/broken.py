"""Mechanisms and policies that are broken on purpose, in Python: each takes the place of what is right in this process.

None of this is in the way of the library: a broken piece is put in from outside, before the storm. `substitutions.py` has
those for the C twin.
"""

from __future__ import annotations

from itertools import cycle
from time import sleep
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import _core_py, provider, waiting
from .._backend import Proxy
from ..waiting import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MECHANISM", "POLICY"]


# What is written to here, for type checkers: anything.
_twin: Any = _core_py
_provider: Any = provider
_Removal: Any = provider.Revocation
_Bell: Any = waiting.Bell


# ---- The mechanism of the Python twin ----


def no_recheck() -> None:
    def try_access(self: Any) -> Any:
        cell = self._cell
        section: Any = object.__new__(_twin.Section)
        section._proxy = self
        section._member = section._publication = None
        publication = cell._newest()
        if publication.next:
            return section
        section._member = member = _twin._Member(self, id(section))
        section._publication = publication
        publication.members[member] = None
        return section

    _twin.Proxy.try_access = try_access


def scan_before_publish() -> None:
    empty: WeakKeyDictionary[Any, set[int]] = WeakKeyDictionary()  # of each cell, the publications that were, too early
    deny, publish, drained = _twin.Cell.deny, _twin.Cell.publish, _twin.Cell.drained

    def scan(cell: Any) -> None:
        newest = cell._newest()
        if not newest.next and not newest.members:
            empty.setdefault(cell, set()).add(newest.number)

    def early_deny(self: Any) -> Any:
        scan(self)
        return deny(self)

    def early_publish(self: Any, resource: Any, /) -> Any:
        scan(self)
        return publish(self, resource)

    def early_drained(self: Any, first: int, last: int, /) -> bool:
        return last in empty.get(self, ()) or bool(drained(self, first, last))

    _twin.Cell.deny, _twin.Cell.publish, _twin.Cell.drained = early_deny, early_publish, early_drained


def no_wake() -> None:
    def leave(self: Any, publication: Any, member: Any) -> bool:
        return bool(publication.members.pop(member, self) is None)

    _twin.Cell._leave = leave


def wake_before_leave() -> None:
    def leave(self: Any, publication: Any, member: Any) -> bool:
        if publication.next and list(publication.members) == [member]:
            self._wake()
        return bool(publication.members.pop(member, self) is None)

    _twin.Cell._leave = leave


def unlink_twice() -> None:
    right = _twin.Cell._leave

    def leave(self: Any, publication: Any, member: Any) -> bool:
        if member not in publication.members and publication.members:
            publication.members.popitem()  # a count would be taken off for a second time
        return bool(right(self, publication, member))

    def end(self: Any) -> bool:
        return self._publication is not None and self._proxy._cell._leave(self._publication, self._member)

    _twin.Cell._leave, _twin.Section._end = leave, end


def older_forgotten() -> None:
    def undrained(self: Any) -> list[Any]:
        return [self._newest()]

    _twin.Cell._undrained = undrained


def dropped_stays() -> None:
    del _twin.Section.__del__


def fork_keeps_sections() -> None:
    _twin._cells = _Forgetful()


class _Forgetful:
    """A set that keeps nothing."""

    def add(self, cell: object) -> None:
        pass

    def __iter__(self) -> Any:
        return iter(())


# ---- The policy, over both twins ----


def rope_after_look() -> None:
    wait = _Bell.wait

    def hasty(self: Any, ready: Callable[[], bool], deadline: float | None = None) -> bool:
        looks = cycle((True, False))  # every other look is the one after the rope was hung up: that one is left out

        def look() -> bool:
            seen = next(looks) and ready()
            if not seen:
                sleep(0.001)  # others come to ring, before the rope hangs there
            return seen

        return bool(wait(self, look, deadline))

    _Bell.wait = hasty


def ring_takes_one() -> None:
    def pull(self: Any) -> None:
        for peg, rope in list(self._ropes.items())[:1]:
            rope()
            self.unhang(peg)

    _Bell._pull = pull


def release_twice() -> None:
    def run_release(self: Any) -> bool:
        resource = self._resource
        sleep(0.001)  # the others, whom the last section has woken too, come to it
        if self._release is not None and resource is not None:
            self._release(resource)
        self._claims["release"] = self._claims["release over"] = Claim()
        self._resource = None
        self._cell.clear()
        self._bell.ring()
        return True

    _Removal._run_release = run_release


def release_early() -> None:
    def due(self: Any) -> bool:
        return "release" not in self._claims

    _Removal._due = due


def replace_does_not_wait() -> None:
    def replace(self: Any, new: Any, timeout: float | None = None) -> Any:
        return self._publish(new)[1]

    _provider.Provider.replace = replace


def deny_late() -> None:
    deny = _Removal._deny

    def late(self: Any) -> None:
        with Proxy(self._cell).try_access() as self._resource:
            pass
        self._run_interrupt()
        deny(self)

    _Removal._deny = late


def timeout_releases() -> None:
    finish = _Removal._finish

    def hasty(self: Any, deadline: float | None = None) -> Any:
        finished = finish(self, deadline)
        return self._run_release() if finished is None and self._final else finished

    _Removal._finish = hasty


def cancel_releases() -> None:
    afinish = _Removal._afinish

    async def hasty(self: Any, loop: Any, deadline: float | None) -> Any:
        try:
            return await afinish(self, loop, deadline)
        except BaseException:
            self._run_release()
            raise

    _Removal._afinish = hasty


def soon_forgets() -> None:
    def nothing(self: Any) -> None:
        pass

    _Removal._finish_later = nothing


def everybody_is_told() -> None:
    finish = _Removal._finish

    def boast(self: Any, deadline: float | None = None) -> bool | None:
        return None if finish(self, deadline) is None else True

    _Removal._finish = boast


def interrupt_left_out() -> None:
    def nothing(self: Any) -> None:
        self._claims["interrupt"] = self._claims["interrupt over"] = Claim()

    _Removal._run_interrupt = nothing


def own_section_unseen() -> None:
    def nothing(publications: Any) -> None:
        pass

    _provider._refuse_own_sections = nothing


# Each with what is wrong, and the promise that it breaks.
MECHANISM: dict[str, tuple[Callable[[], None], str]] = {
    "no-recheck": (no_recheck, "an access does not look again after it has joined (S2, S3)"),
    "scan-before-publish": (scan_before_publish, "a removal looks who is inside before it denies (S3)"),
    "no-wake": (no_wake, "the last one out wakes nobody (S3)"),
    "wake-before-leave": (wake_before_leave, "the last one out wakes the removal before it has left (S3)"),
    "unlink-twice": (unlink_twice, "a section that is ended twice is taken off twice (S1)"),
    "older-forgotten": (older_forgotten, "a removal does not wait for sections of what was replaced before (S3)"),
    "dropped-stays": (dropped_stays, "a section that is dropped stays open (S18)"),
    "fork-keeps-sections": (fork_keeps_sections, "a forked child keeps the sections of threads that it does not have (S14)"),
}
POLICY: dict[str, tuple[Callable[[], None], str]] = {
    "rope-after-look": (rope_after_look, "a waiter looks only before it hangs up its rope (S3)"),
    "ring-takes-one": (ring_takes_one, "a ring wakes one waiter of several (S4)"),
    "release-twice": (release_twice, "each of several removers releases (S4)"),
    "release-early": (release_early, "the release does not wait for the sections (S3)"),
    "replace-does-not-wait": (replace_does_not_wait, "replace() returns with readers inside (S11)"),
    "deny-late": (deny_late, "the interrupt runs before the denial (S2)"),
    "timeout-releases": (timeout_releases, "a removal that times out releases (S7)"),
    "cancel-releases": (cancel_releases, "a removal that is cancelled releases (S16)"),
    "soon-forgets": (soon_forgets, "nobody finishes a removal for which nobody waits (S7, S10)"),
    "everybody-is-told": (everybody_is_told, "every caller gets True (S4)"),
    "interrupt-left-out": (interrupt_left_out, "nobody interrupts the readers (S6)"),
    "own-section-unseen": (own_section_unseen, "a removal waits for its own thread (S8)"),
}
