"""One removal across processes: of what is shared, at the end, or of what was replaced."""

from __future__ import annotations

import math
import os
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from .. import report
from ..errors import RevokeTimeout
from ..waiting import check_timeout
from .records import TO_REPORT, Holder, Outcome, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..provider import Revocation
    from .backend import Announcement

__all__ = ["Recall"]

T = TypeVar("T")


class Recall(Generic[T]):
    """A removal that is under way in every process. Made by `Shared`, and carried by a `RevokeTimeout` as its `pending`.

    Every step may be broken off, by a timeout or Ctrl-C, and taken again by whoever comes next.

    >>> from ref_proxy import RevokeTimeout, remote
    >>> shared = remote.announce("unix:doctest-recall", ["a resource"])
    >>> section = shared.proxy().access()
    >>> section.detach()
    >>> try:
    ...     shared.revoke(timeout=0)
    ... except RevokeTimeout as late:
    ...     removal = late.pending
    >>> section.end()
    >>> removal.wait(timeout=5).state
    'drained'
    >>> shared.revoke().state
    'drained'
    """

    def __init__(
        self,
        name: str,
        removal: Revocation[T],
        announcements: list[Announcement],
        stall_after: float | None,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._name = name
        self._pid = os.getpid()
        self._removal = removal
        self._announcements = announcements
        self._stall_after = math.inf if stall_after is None else stall_after
        self._ended = ended  # called once
        self._outcomes: dict[str, Outcome] = {}  # one at most

    @property
    def done(self) -> bool:
        """Whether every holder has let go, or was cut off, and the resource was released where this removal is to release it."""
        return bool(self._outcomes)

    @property
    def resource(self) -> T | None:
        """The resource that is being removed, for its owner; None once it was released."""
        return self._removal.resource

    def wait(self, timeout: float | None = None, *, fence_after: float | None = None) -> Outcome:
        """Wait until it is done, and carry it on if nobody else does.

        Blocks: on open sections in every process, at most `timeout` seconds; after `fence_after` seconds holders that have not
        let go are cut off. Raises: `RevokeTimeout` with the holders, and the removal goes on; what the release raises, to the one
        that ran it; `ValueError` for a bad time; `RuntimeError` in a forked child.
        """
        check_timeout(timeout)
        check_timeout(fence_after)
        if os.getpid() != self._pid:
            raise RuntimeError(f"{self._name!r} is removed by process {self._pid}, and this is a forked child: wait for it there")
        now = monotonic()
        deadline = None if timeout is None else now + timeout
        for outcome in self._outcomes.copy().values():
            return outcome
        if self._drain(deadline, None if fence_after is None else now + fence_after):
            # Here only the release is left: nobody is inside in any process.
            if self._removal._finish(deadline) is not None:
                return self._end()
        raise self._late(timeout)

    def _drain(self, deadline: float | None, fence_at: float | None) -> bool:
        began, reports = monotonic(), 0
        fence_at = math.inf if fence_at is None else fence_at
        last = math.inf if deadline is None else deadline
        for wait in (self._quiet, *(announcement.wait for announcement in self._announcements)):
            while not wait(_finite(min(last, fence_at, stall_at := report.stall_due(began, self._stall_after, reports)))):
                now = monotonic()
                if now >= fence_at:
                    fence_at = math.inf
                    for announcement in self._announcements:
                        announcement.fence()
                elif now >= last:
                    return False
                elif now >= stall_at:
                    reports += 1
                    self._report_stall(now - began)
        return True

    def _quiet(self, deadline: float | None) -> bool:
        """The part of this process: its own sections."""
        removal = self._removal
        return removal._quiesce(deadline) if removal._final else removal._finish(deadline) is not None

    def _end(self) -> Outcome:
        cut = tuple(holder for announcement in list(self._announcements) for holder in announcement.cut)
        mine = Outcome("fenced" if cut else "drained", cut, self._announcements[-1].epoch)
        outcome = self._outcomes.setdefault("", mine)
        if outcome is mine:
            self._ended()
        return outcome

    def _holders(self) -> list[Holder]:
        return [holder for announcement in list(self._announcements) for holder in announcement.holders(ask=TO_REPORT)]

    def _late(self, timeout: float | None) -> RevokeTimeout:
        blockers, holders = self._removal.blockers(), self._holders()
        what, carry_on = "was denied to everybody, but not released", "call revoke() again to carry on"
        if not self._removal._final:
            what, carry_on = "was replaced, but the old resource was not free", "the exception's pending.wait() carries on"
        who = [report.describe(blockers)] * bool(blockers) + [listed(holders)] * bool(holders)
        return RevokeTimeout(
            f"{self._name!r} {what} within {timeout} s; still held by: {'; '.join(who) or 'nobody, but a hook is running'}; "
            f"{carry_on}, with fence_after= to cut off whoever does not let go",
            blockers=blockers,
            pending=self,
            holders=holders,
        )

    def _report_stall(self, waited: float) -> None:
        holders = self._holders()
        if holders:  # this process's own sections are reported by the removal itself
            report.logger().warning(
                "%r: the removal has been waiting for %.1f s; still held by: %s", self._name, waited, listed(holders)
            )

    def __repr__(self) -> str:
        return f"<ref_proxy.remote.Recall of {self._name!r}, {'done' if self.done else 'waiting'}>"


Recall.__module__ = "ref_proxy.remote"


def _finite(moment: float) -> float | None:
    return None if moment == math.inf else moment
