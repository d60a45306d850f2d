"""One storm: everybody at once, for some seconds; then all are called home, and what is left is looked at."""

from __future__ import annotations

import faulthandler
import gc
import sys
from dataclasses import dataclass
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

from .forks import without_forks
from .notices import LOST, PROVIDER, SECTION, Notices
from .roster import Roster
from .stage import Stage
from .strays import DROPPED
from .tally import Tally
from .traces import Traces, resident
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    Watch = Callable[[Tally], object]

__all__ = ["Config", "run"]


@dataclass(frozen=True)
class Config:
    seconds: float
    seed: int
    readers: int = 4
    patience: float = 20.0  # seconds that any step of anybody may take


def run(config: Config, watch: Watch, bite: Watch) -> Tally:
    """Run it, and tell `watch` the figures so far every now and then. It ends with the first fault, or when the time is over.

    `bite` is told the figures where somebody hangs: then the process ends. To be called in the main thread, and once a process.
    """
    faulthandler.enable()  # who crashes says where
    traces = Traces()
    memory = resident()
    stage = Stage(config.seed)
    tally = Tally()
    began, interval = monotonic(), sys.getswitchinterval()
    with Notices(stage, config.patience) as notices:
        roster = Roster(stage, config.readers)
        stage.actors = roster.actors

        def so_far() -> Tally:
            figures = Tally(monotonic() - began, memory=(memory, resident()), faults=dict(stage.faults))
            figures.add(stage.actors)
            return figures

        dog = Watchdog(stage, config.seconds, config.patience, lambda: watch(so_far()), lambda: bite(so_far()))
        dog.start()
        try:
            _play(stage, roster)
            dog.dismiss()
        finally:
            sys.setswitchinterval(interval)
        _settle(stage, roster)
        tally = so_far()
        del roster
        stage.actors = []
        if not stage.faults:
            for wrong in traces.left():
                stage.fault(wrong)
            if stage.unreleased:
                stage.fault(f"{stage.unreleased} resources were never released")
            dropped, warned = tally.counts.get(DROPPED, 0), notices.counts[SECTION]
            if not dropped - notices.counts[LOST] <= warned <= dropped:  # a strike may have hit a warning
                stage.fault(f"{dropped} sections were dropped while open, and {warned} warnings said so")
    for what, number in notices.counts.items():
        tally.counts[{SECTION: "warned of a section", PROVIDER: "warned of an owner"}.get(what, what)] = number
    tally.faults = dict(stage.faults)
    tally.memory = memory, resident()
    note = without_forks()
    tally.notes += [] if note is None else [f"no forks: {note}"]
    return tally


def _play(stage: Stage, roster: Roster) -> None:
    threads = {name: Thread(target=job, name=name, daemon=True) for name, job in roster.jobs.items()}
    try:
        for actor in roster.actors:
            actor.now("coming")
        for thread in threads.values():
            thread.start()
        if roster.main is not None:
            roster.main.run()
        while not stage.over:
            sleep(0.01)
    finally:
        stage.over = True
        for thread in threads.values():
            if thread.name not in roster.lasting:
                thread.join()
        stage.closing = True
        stage.handed.put(None)
        for thread in threads.values():
            thread.join()


def _settle(stage: Stage, roster: Roster) -> None:
    """Everybody is home."""
    for actor in roster.actors:
        if not stage.faults:
            actor.clear_up()
    for lane in (*stage.lanes, stage.busy):
        lane.life = None
    gc.collect()
