"""One schedule after the other: a scene's threads run the real code, one at a time, and only here is it said who is next."""

from __future__ import annotations

import _thread
import gc
import linecache
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import interleave_test
import pytest
from interleave_test import Lock, no_interleave

from ref_proxy import BACKEND
from tests.support import until

GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
PREEMPTIONS = os.environ.get("PREEMPTIONS")
POLICY = ["waiting", "provider", "srcu", "device"]
LIMIT = 1_000_000  # schedules: none has so many

# A line of the policy before which a switch can make a difference: it touches what threads share, calls foreign code, or returns
# into the midst of a line that may. Before any other one a switch would do what it does before the next one of these.
SHARED = re.compile(
    r"_(claims|ropes|since|last|resource|callbacks|providers|actions|children|hub|errors|jobs)\b|owner|things"
    r"|cell\.|\brung\b|\brelease\(|\binterrupt\(|\brope\(|\bready\(|\bcallback\(|\bjob\(|\bstep\(|^\s*return\b"
)


class Schedules(interleave_test.DFSStrategy):
    """All schedules with so many preemptions at most, each at a line that matters."""

    def pick(self, runnable: Any, current: Any, index: int) -> Any:
        players = [each for each in runnable if each.tid] or runnable  # the scene itself, 0, only waits for them
        fresh = {each.name: each for each in reversed(players) if each.last_location is None}
        # Of those that are alike, and have not begun, it makes no difference which one does.
        players = [each for each in players if each.last_location is not None or each is fresh[each.name]]
        if len(players) == 1:
            return players[0]
        if current not in players:
            current = None
        elif not _matters(current.last_location):
            return current
        return super().pick(players, current, index)


def _matters(place: Any) -> bool:
    if not isinstance(place, tuple):  # no line, but a lock, a start or a join
        return True
    _, code, line = place
    return SHARED.search(linecache.getline(code.co_filename, line)) is not None


class Stage:
    """What a scene has at hand: a package, and the scheduler's threads, locks and time in the place of the real ones in it."""

    def __init__(self, package: ModuleType, patch: pytest.MonkeyPatch) -> None:
        self.Bell, self.Provider, self.Device = package.waiting.Bell, package.Provider, package.Device
        self.Domain = package.srcu.Domain
        self.Revoked, self.RevokeTimeout = package.Revoked, package.RevokeTimeout
        threads = SimpleNamespace(
            allocate_lock=lambda: Timed(self),
            start_new_thread=lambda job, args: self.jobs.append(self._start(job, args)),
            get_ident=_thread.get_ident,
            TIMEOUT_MAX=_thread.TIMEOUT_MAX,
        )
        for module in (getattr(package, name) for name in POLICY):
            for name, value in (("_thread", threads), ("monotonic", lambda: self.now)):
                if hasattr(module, name):
                    patch.setattr(module, name, value)
        patch.setattr(package.waiting, "_jobs", {})

    def set(self) -> None:
        """Begin a schedule."""
        gc.collect()  # here, and not in its midst: what the one before has left has finalisers
        self.now = 0.0
        self.timed: list[Timed] = []
        self.jobs: list[Any] = []

    def _start(self, job: Callable[[], object], args: tuple[Any, ...]) -> Any:
        with no_interleave():  # it is the next line of the starter's at which that one may go on
            return interleave_test.spawn(job, *args, name="a job")

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """Run the calls in a thread each, and then all jobs that were started, to their ends. Returns what the calls return."""
        with no_interleave():
            threads = [interleave_test.spawn(call, name=f"{call.__name__}-{calls.index(call)}") for call in calls]
        for thread in threads:
            thread.join()
        for job in self.jobs:  # and those that are started meanwhile
            job.join()
        return [thread.result() for thread in threads]

    def time_runs_out(self) -> None:
        """Let all timeouts be over, now and from now on: whenever a scene's thread that does this has its turn."""
        self.now = 1e18  # to which a second more or less makes no difference
        for lock in self.timed.copy():
            if lock.locked():
                lock.late = True
                lock.release()


Play = Callable[[Stage], None]


class Timed(Lock):
    """A lock whose timeout is over when the stage's time is."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage, self.late = stage, False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout < 0:
            return super().acquire(blocking)
        if timeout == 0 or self.stage.now:  # the time has run out since the caller looked
            return super().acquire(False)
        self.stage.timed.append(self)
        super().acquire()
        self.stage.timed.remove(self)
        return not self.late


def step() -> None:
    """Let the others come in between here: for a hook, which is foreign code."""
    interleave_test.Event().set()


def bound(large: bool) -> int:
    """With how many preemptions a scene is explored. Either twin is one step: the second one needs less."""
    return int(PREEMPTIONS) if PREEMPTIONS else 1 if large or BACKEND == "c" else 2


def explore(package: ModuleType, play: Play, preemptions: int) -> int:
    """Play the scene in every schedule, and return how many there are. Raises `RaceFound`, or `DeadlockError` for a hang."""

    def model() -> None:
        with no_interleave():
            stage.set()
        play(stage)

    others = _thread._count()
    gc.collect()
    gc.freeze()  # so that looking for garbage is quick
    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            stage = Stage(package, patch)
            result = interleave_test.explore(
                model,
                strategy=Schedules(preemptions),
                iterations=LIMIT,
                seed=0,
                granularity="line",
                include=[str(Path(package.__path__[0], f"{name}.py")) for name in POLICY],
                patch_modules=False,
                patch_time=False,
            )
    finally:
        until(lambda: _thread._count() <= others)  # what a thread still holds goes when it goes
        gc.enable()
        gc.unfreeze()
    assert result.exhausted
    return result.schedules_run
