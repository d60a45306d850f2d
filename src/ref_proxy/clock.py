"""The clock by which a lease ends: it goes on while the machine sleeps, where the system has one that does."""

from __future__ import annotations

import time

__all__ = ["boottime"]

_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> int:
    """Nanoseconds since some moment in the past."""
    return time.monotonic_ns() if _BOOT is None else time.clock_gettime_ns(_BOOT)
