"""Where consumers wait for the next line, and the manager for bad news of the present one. Nobody polls."""

from __future__ import annotations

from threading import Condition
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .ledger import Ledger

__all__ = ["Hub", "Offer", "Ticket"]


class Offer(NamedTuple):
    """How a consumer reaches its line, and the checker's book on that; not the line itself."""

    access: Callable[[], Any]  # what it returns is for `with`, `async with`, or to be called, as the consumer is one who does
    ledger: Ledger


class Ticket(NamedTuple):
    """What a consumer gets of the line with this number."""

    number: int
    access: Callable[[], Any]
    ledger: Ledger


class Hub:
    def __init__(self) -> None:
        self._changed = Condition()
        self._number = 0
        self._failed = 0
        self._stopped = False
        self._offers: Mapping[str, Offer] = {}

    def publish(self, offers: Mapping[str, Offer]) -> int:
        """Hand out new lines, by the consumers' names; returns the number of their plug."""
        with self._changed:
            self._number += 1
            self._offers = offers
            self._changed.notify_all()
            return self._number

    def ticket(self, who: str, after: int) -> Ticket | None:
        """Wait for a line that is newer than `after`; None when the storm is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._number > after)
            return None if self._stopped else Ticket(self._number, *self._offers[who])

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
