"""Where consumers wait for the next line, and the manager for bad news of the present one. Nobody polls."""

from __future__ import annotations

from threading import Condition
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from .ledger import Ledger
    from .line import Line

    Access = Callable[[], AbstractContextManager[Line]]

__all__ = ["Hub", "Ticket"]


class Ticket(NamedTuple):
    """What a consumer gets: how to reach the line, and the checker's book on it; not the line itself."""

    number: int
    access: Access
    ledger: Ledger


class Hub:
    def __init__(self) -> None:
        self._changed = Condition()
        self._number = 0
        self._failed = 0
        self._stopped = False
        self._accesses: Mapping[str, Access] = {}
        self._ledger: Ledger | None = None

    def publish(self, accesses: Mapping[str, Access], ledger: Ledger) -> int:
        """Hand out a new line; returns its number."""
        with self._changed:
            self._number += 1
            self._accesses, self._ledger = accesses, ledger
            self._changed.notify_all()
            return self._number

    def ticket(self, who: str, after: int) -> Ticket | None:
        """Wait for a line that is newer than `after`; None when the storm is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._number > after)
            if self._stopped or self._ledger is None:
                return None
            return Ticket(self._number, self._accesses[who], self._ledger)

    def report(self, number: int) -> None:
        """Say that reads from this line fail."""
        with self._changed:
            self._failed = max(self._failed, number)
            self._changed.notify_all()

    def failed(self, number: int, timeout: float) -> bool:
        """Wait until somebody reports this line, the storm is over, or the time has passed. True for the first of these."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._failed >= number, timeout)
            return self._failed >= number

    def wait_begun(self) -> None:
        """Wait until there is a first line, or the storm is over without one."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._number > 0)

    def wait_stopped(self, timeout: float) -> None:
        """Wait until the storm is over, or the time has passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, timeout)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stopped
