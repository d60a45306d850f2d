"""Sleepable RCU for Python: grace periods, for those who protect structures of their own."""

from __future__ import annotations

import _thread
from collections import deque
from time import monotonic

from . import report
from ._backend import Cell, Proxy, Section
from .errors import RevokeDeadlock, RevokeTimeout
from .waiting import Bell, Claim, check_timeout, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVarTuple

    Args = TypeVarTuple("Args")

__all__ = ["Domain"]


class Domain:
    """A Sleepable-RCU domain: read-side sections, and grace periods that wait for those which began before.

    For structures of your own: publish a new version with a plain attribute assignment, then `synchronize()`, then take the old
    one apart. Readers wrap their use in `with domain.read():`. Most users want a `Provider` instead.

    Guarantees: S1, S3, S7 to S9, S12 to S15, S20. Source: `struct srcu_struct`; here the open sections are known one by one.

    Args:
        name: what reports and messages call it.

    >>> from ref_proxy.srcu import Domain
    >>> domain = Domain("routes")
    >>> cookie = domain.start_poll()
    >>> section = domain.read()
    >>> domain.poll(cookie)                 # the section began later
    True
    >>> cookie = domain.start_poll()
    >>> domain.poll(cookie)
    False
    >>> section.end()
    >>> domain.poll(cookie)
    True
    """

    __slots__ = ("__weakref__", "_bell", "_callbacks", "_cell", "_claims", "_proxy", "read")

    read: Callable[[], Section[None]]
    """Begin a section and return it: `with domain.read():`. Never blocks; it may sleep, nest, and be ended elsewhere.

    Source: `srcu_read_lock()`; the section is what the index is there."""

    def __init__(self, name: str = "domain") -> None:
        self._bell = Bell()
        self._cell = Cell(None, name, self._bell)
        self._proxy: Proxy[None] = Proxy(self._cell, name)
        self.read = self._proxy.access
        self._callbacks: deque[tuple[int, Callable[[], object]]] = deque()
        self._claims: dict[str, Claim] = {}

    @property
    def name(self) -> str:
        """What reports and messages call it."""
        return self._cell.name

    def _begin(self) -> int:
        # A grace period is a publication that nobody reads: the sections of the old one are those that began before.
        published = self._cell.publish(None)
        assert published is not None
        return published[0]

    def synchronize(self, timeout: float | None = None) -> None:
        """Wait until every section that is open now has ended.

        Blocks: on those sections alone; later ones do not prolong it. Raises: `RevokeDeadlock` at once where one of them is this
        thread's own and not detached; `RevokeTimeout` after `timeout` seconds. Source: `synchronize_srcu()`.
        """
        check_timeout(timeout)
        started = monotonic()
        if self._inside():
            raise RevokeDeadlock(f"domain {self.name!r}: synchronize() would wait for a section of its own thread: end it first")
        last = self._begin()
        if not self._bell.wait(lambda: self._cell.drained(0, last), None if timeout is None else started + timeout):
            found = report.blockers(self._cell, 0, last, monotonic() - started)
            raise RevokeTimeout(f"domain {self.name!r}: still waiting for {report.describe(found)}", blockers=found)

    def start_poll(self) -> int:
        """Begin a grace period and return its cookie, for `poll()`. Never blocks. Source: `start_poll_synchronize_srcu()`."""
        return self._begin()

    def poll(self, cookie: int) -> bool:
        """Whether the cookie's grace period, and every earlier one, has ended.

        Never blocks. Source: `poll_state_synchronize_srcu()`.
        """
        return self._cell.drained(0, cookie)

    def call(self, fn: Callable[[*Args], object], *args: *Args) -> None:
        """Run `fn(*args)` after a grace period, in a thread of its own, in the order of the calls.

        Never blocks: a section, a finaliser and a signal handler may call it. A failure of `fn` is logged, and stops nothing.
        Source: `call_srcu()`.
        """
        self._callbacks.append((self._begin(), lambda: fn(*args)))
        self._when_due()

    def barrier(self) -> None:
        """Wait until every callback of an earlier `call()` has run.

        Raises: `RevokeDeadlock` where it would wait for its own thread: inside a section, or inside a callback.
        Source: `srcu_barrier()`.
        """
        running = self._claims.get("run")
        if self._inside() or (running is not None and running.mine):
            raise RevokeDeadlock(
                f"domain {self.name!r}: barrier() would wait for its own thread: leave the section or callback first"
            )
        done = _thread.allocate_lock()
        done.acquire()
        self.call(done.release)
        done.acquire()

    def _inside(self) -> bool:
        return bool(self._cell.sections(0, self._cell.number, True))

    def _due(self) -> bool:
        try:
            return self._cell.drained(0, self._callbacks[0][0])
        except IndexError:
            return False

    def _when_due(self) -> None:
        self._bell.hang(self._start_run)
        if self._due():
            self._start_run()

    def _start_run(self) -> None:
        start(self._run)

    def _run(self) -> None:
        # One runner at a time keeps the order. Who adds a callback while one runs relies on it to look once more before it goes.
        me = Claim()
        while self._due():
            if (running := self._claims.setdefault("run", me)) is not me:
                if not running.left_behind:
                    return
                self._claims.pop("run", None)
                continue
            try:
                while self._due():
                    callback = self._callbacks.popleft()[1]
                    try:
                        callback()
                    except BaseException:
                        report.logger().exception("domain %r: a callback failed", self.name)
            finally:
                self._claims.pop("run", None)
        if self._callbacks:
            self._when_due()

    def __repr__(self) -> str:
        return f"<ref_proxy.srcu.Domain {self.name!r}>"
