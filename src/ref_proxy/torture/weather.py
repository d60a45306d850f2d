"""The weather: the collector runs at all times, and threads are switched as often as the interpreter can."""

from __future__ import annotations

import gc
import sys
from time import sleep

from .actor import Actor

__all__ = ["Weather"]

INTERVALS = (1e-6, 1e-6, 1e-5, 1e-4, 5e-3)  # seconds


class Weather(Actor):
    """A thread that makes it."""

    group = "weather"
    kinds = ("young collection", "full collection", "switch interval")
    lasting = True  # it finds the sections that are garbage

    def act(self, kind: str) -> int:
        if kind == "switch interval":
            sys.setswitchinterval(self.random.choice(INTERVALS))
        else:
            gc.collect(0 if kind.startswith("young") else 2)
        sleep(self.random.random() * 0.03)
        return 1
