"""What a process still has when it is done: descriptors, threads, and mappings, compared with what it had before."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from time import monotonic, sleep

__all__ = ["Remains"]

OURS = ("/page-", "ref_proxy gate")


class Remains:
    """To be made before anything is attached or announced, and asked when all of that is gone."""

    def __init__(self) -> None:
        self._before = _descriptors()

    def left(self, patience: float) -> list[str]:
        """A phrase for each thing: after as long as threads need to end, for a while."""
        deadline = monotonic() + patience
        while (found := self._now()) and monotonic() < deadline:
            sleep(0.005)
            gc.collect()  # a thread that has just ended leaves cycles
        return found

    def _now(self) -> list[str]:
        now = _descriptors()
        found = [f"descriptor {fd}: {now[fd]}" for fd in now.keys() - self._before.keys()]
        threads = len(os.listdir("/proc/self/task"))
        found += [f"{threads - 1} threads"] * (threads > 1)
        maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        return found + [f"mapping {line.split(maxsplit=5)[-1]}" for line in maps if any(each in line for each in OURS)]


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # that of the listing itself
            pass
    return found
