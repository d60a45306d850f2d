"""What a storm may not leave behind: threads, descriptors, providers, sections."""

from __future__ import annotations

import gc
import os
import sys
from time import monotonic, sleep
from typing import Any

from .. import waiting
from .._backend import Cell
from ..provider import Provider

__all__ = ["Traces", "resident"]

PATIENCE = 5.0  # seconds for the last threads to be gone: a thread that has done its work still has to end


class Traces:
    """What there was before the storm, to be compared with what there is after it."""

    def __init__(self) -> None:
        gc.collect()
        self._threads = len(sys._current_frames())
        self._descriptors = _descriptors()
        self._providers = set(map(id, _providers()))
        self._cells = set(map(id, _cells()))

    def left(self) -> list[str]:
        """What is there now, and was not then."""
        deadline = monotonic() + PATIENCE
        while (found := self._found()) and monotonic() < deadline:
            gc.collect()
            sleep(0.01)
        return found

    def _found(self) -> list[str]:
        found: list[str] = []
        providers = [each for each in _providers() if id(each) not in self._providers]
        sections = sum(len(each.sections(0, each.number)) for each in _cells() if id(each) not in self._cells)
        threads = len(sys._current_frames()) - self._threads
        descriptors = _descriptors() - self._descriptors
        for number, what in (
            (len(providers), "providers alive"),
            (sections, "sections open"),
            (len(waiting._jobs), "jobs of the library under way"),
            (threads, "threads"),
            (descriptors, "descriptors open"),
        ):
            if number > 0:
                found.append(f"left behind: {number} {what}")
        return found


def _providers() -> list[Provider[Any]]:
    return [each for each in gc.get_objects() if isinstance(each, Provider)]


def _cells() -> list[Cell]:
    return [each for each in gc.get_objects() if isinstance(each, Cell)]


def _descriptors() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def resident() -> int:
    """The memory of the process, in bytes; 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
