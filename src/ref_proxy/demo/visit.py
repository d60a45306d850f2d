"""The checker at a consumer's elbow: what comes of its accesses to one line, whichever way it makes them."""

from __future__ import annotations

import errno
from asyncio import CancelledError
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from ..errors import Revoked
from .ledger import Outcome, Span
from .line import Interrupted
from .tally import bump

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from .ledger import Ledger
    from .tally import Counts

__all__ = ["OVERSTAY", "Visit", "name_of"]

OVERSTAY = 0.01  # seconds after the close from which on a read counts as one that sleeps on
# How reads may fail when the other end hangs up.
GONE = {"EOFError", "SerialException: no data", "SerialException: EIO", "OSError: EIO", "OSError: ENXIO", "OSError: ENODEV"}
WOKEN = {Outcome.INTERRUPTED, Outcome.CANCELLED}


def name_of(error: BaseException) -> str:
    """The type of an exception and what was behind it: pyserial wraps an OSError, and loses its errno."""
    name, code = type(error).__name__, getattr(error, "errno", None)
    if code is None and isinstance(error.__context__, OSError):
        code = error.__context__.errno
    if code is None and "returned no data" in str(error):
        return f"{name}: no data"
    return name if code is None else f"{name}: {errno.errorcode.get(code, code)}"


class Visit:
    """`with visit:` is around an access, and hears of its end; `with visit.inside():` is in it, with the line in hand."""

    def __init__(self, who: str, counts: Counts, ledger: Ledger) -> None:
        self.counts = counts
        self.outcome = Outcome.READ
        self.goes_on = True  # whether to try once more
        self._who = who
        self._ledger = ledger
        self._error: BaseException | None = None

    def _look(self) -> None:
        """Before each access."""
        self._denied, self._start = self._ledger.denied, perf_counter()

    @contextmanager
    def inside(self) -> Generator[None]:
        self.counts.granted += 1
        self.counts.granted_late += self._denied
        self._ledger.enter()
        self._error = None
        try:
            yield
        except BaseException as error:
            self._error = error
            raise
        finally:
            overstay = self._ledger.leave(self._start)
            if overstay is not None:
                self.counts.after_close += 1
                self.counts.overstayed += overstay > OVERSTAY
                self.counts.longest_overstay = max(self.counts.longest_overstay, overstay)
            self._record(self._judge(closed=overstay is not None))
            self._look()  # old code makes its next access unseen

    def _judge(self, *, closed: bool) -> Outcome:
        error = self._error
        if error is None:
            return Outcome.READ
        if isinstance(error, CancelledError):
            return Outcome.CANCELLED
        if isinstance(error, Interrupted):
            self.counts.interrupted += 1
            return Outcome.INTERRUPTED
        name = name_of(error)
        if name in GONE and self._ledger.hung_up and not closed:
            self.counts.hung_up += 1
            return Outcome.HUNG_UP
        bump(self.counts.errors, name)
        return Outcome.FAILED

    def _record(self, outcome: Outcome) -> None:
        # Who was woken tries once more: it is for the line to say that it is gone, not for what woke him.
        self.goes_on = outcome is Outcome.READ or (outcome in WOKEN and self.outcome not in WOKEN)
        self.outcome = outcome
        self._ledger.spans.append(Span(self._who, self._start, perf_counter(), outcome))

    def __enter__(self) -> None:
        self._look()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Swallow what was counted inside, and a refusal. Anything else ends the consumer, and the storm with it."""
        counted, self._error = self._error, None
        if error is None or error is counted:
            return isinstance(error, Exception)
        if not isinstance(error, Revoked):
            return False
        if counted is not None and error.__cause__ is counted:  # a cancellation that was told from others
            self.counts.cancelled += 1
        else:
            self.counts.refused += 1
            self._record(Outcome.REFUSED)
        return True
