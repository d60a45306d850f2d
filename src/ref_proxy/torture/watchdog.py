"""The watchdog: ends the storm in time, and the process where somebody hangs, saying who and where."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

from ..dump import dump

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stage import Stage

__all__ = ["Watchdog"]

GLANCE = 0.1  # seconds
GRACE = 4.0  # seconds more, after which the interpreter itself is held to hang


class Watchdog(Thread):
    """Looks at every actor now and then.

    `patience` is how long each step of an actor may take, in seconds. `watch()` is called at each glance; `bite()` when somebody
    hangs, and then the process ends, with status 1: nobody can end a thread that hangs.
    """

    def __init__(
        self, stage: Stage, seconds: float, patience: float, watch: Callable[[], object], bite: Callable[[], object]
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._stage = stage
        self._deadline = monotonic() + seconds
        self._patience = patience
        self._watch = watch
        self._bite = bite
        self._dismissed = False

    def run(self) -> None:
        while not self._dismissed:
            faulthandler.dump_traceback_later(self._patience + GRACE, exit=True)  # for a hang that keeps this thread from running
            self._watch()
            if monotonic() > self._deadline or self._stage.faults:
                self._stage.over = True
            self._look()
            sleep(GLANCE)
        faulthandler.cancel_dump_traceback_later()

    def _look(self) -> None:
        now = monotonic()
        stuck = [actor for actor in self._stage.actors if not actor.home and now - actor.since > self._patience]
        if not stuck:
            return
        for actor in stuck:
            self._stage.fault(f"{actor.name} has been stuck for {now - actor.since:.1f} s in: {actor.step}")
        dump()
        faulthandler.dump_traceback(all_threads=True)
        for child in list(self._stage.children):
            os.kill(child, signal.SIGKILL)
        self._bite()
        sys.stdout.flush()
        os._exit(1)

    def dismiss(self) -> None:
        """Everybody is home."""
        self._dismissed = True
        self.join()
