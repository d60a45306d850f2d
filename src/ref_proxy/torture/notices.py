"""What the interpreter would print and forget: warnings, failures that nobody hears of, what is logged. All of it is counted."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from .life import FAULTY

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from .stage import Stage

__all__ = ["LOST", "PROVIDER", "SECTION", "Notices"]

SECTION, PROVIDER = "was dropped while open", "was dropped while live"  # what the warnings say
LOGGED = "interrupts that failed"
SLOW = "removals that waited long"
LOST = "strikes lost in a finaliser"


class Notices(logging.Handler):
    """While it is entered nothing is printed: what is expected is counted, and all else is a fault."""

    def __init__(self, stage: Stage, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self.counts: Counter[str] = Counter()
        self._stage = stage

    def __enter__(self) -> Self:
        self._before = warnings.filters[:], warnings.showwarning, sys.unraisablehook, threading.excepthook
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 has one for a fork with threads about
        warnings.simplefilter("always", ResourceWarning)
        warnings.showwarning = self._warned
        sys.unraisablehook = self._unraisable
        threading.excepthook = self._died
        self._logger = logging.getLogger("ref_proxy")
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        warnings.filters[:], warnings.showwarning, sys.unraisablehook, threading.excepthook = self._before  # type: ignore[index]

    def _warned(self, message: Warning | str, *_: Any, **__: Any) -> None:
        for what in (SECTION, PROVIDER):
            if what in str(message):
                self.counts[what] += 1
                return
        self._stage.fault(f"a warning: {message}")

    def _unraisable(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._stage.strike_lost = True
            self.counts[LOST] += 1
            return
        self._stage.fault(f"raised where nobody hears of it: {unraisable.exc_value!r} in {unraisable.object!r}")

    def _died(self, args: Any) -> None:
        self._stage.fault(f"thread {getattr(args.thread, 'name', '?')!r} died of {args.exc_value!r}")

    def handle(self, record: logging.LogRecord) -> bool:
        """Note it, without the handler's lock: a forked child would find that taken."""
        error = record.exc_info[1] if record.exc_info else None
        if str(error) == FAULTY:
            self.counts[LOGGED] += 1
        elif self._bearable(record):
            self.counts[SLOW] += 1
        else:
            self._stage.fault(f"logged: {record.getMessage().splitlines()[0]}{'' if error is None else f' {error!r}'}")
        return True

    def _bearable(self, record: logging.LogRecord) -> bool:
        """Whether it only says that a removal stalls, and that for less than half of what any step may take."""
        stalls = "has been waiting for" in record.msg and isinstance(record.args, tuple)
        return stalls and float(record.args[1]) < self._patience / 2  # type: ignore[index, arg-type]
