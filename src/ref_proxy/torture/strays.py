"""Readers that lose their sections, and accesses out of finalisers: whatever becomes of a section, it ends, once."""

from __future__ import annotations

import threading
import weakref
from time import sleep
from typing import TYPE_CHECKING

from .actor import Actor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._backend import Section
    from .life import Life
    from .specimen import Specimen

__all__ = ["DROPPED", "Stray"]

DROPPED = "sections dropped"


class Cycle:
    """Garbage that only the collector finds, with a section in it."""

    def __init__(self, section: object) -> None:
        self.section = section
        self.me = self


class Dying:
    """Makes an access when it is finalised, be it in the midst of another one."""

    def __init__(self, stray: Stray, life: Life, kind: str) -> None:
        self._peek: Callable[[], None] = lambda: stray.peek(life, kind)
        self.me = self if "collector" in kind else None

    def __del__(self) -> None:
        self._peek()


class Watched:
    """Something to hang a weak reference on."""


class Stray(Actor):
    """A thread whose sections get lost, whose threads die inside, and whose garbage makes accesses."""

    group = "accesses"
    kinds = (
        "dropped",
        "dropped in a cycle",
        "thread died, section kept",
        "thread died, section dropped",
        "in a finaliser",
        "in a finaliser, by the collector",
        "in a weakref callback",
    )

    def act(self, kind: str) -> int:
        life = self.life()
        if life is None:
            sleep(0)
            return 0
        if "dropped" in kind or "died" in kind:
            return self._lose(life, kind)
        self._finalise(life, kind)
        self.dwell()
        return 0  # counted by the access itself

    def _lose(self, life: Life, kind: str) -> int:
        denied = life.denied
        kept: list[Section[Specimen | None] | None] = []

        def enter() -> None:
            section = life.proxy.try_access()
            if section.resource is None:
                self.count("refused")
                return
            self.visit(section.resource, denied=denied)
            if kind.endswith("kept"):
                kept.append(section)
            else:
                self.count(DROPPED)
                kept.append(None)
                if kind.endswith("cycle"):
                    Cycle(section)

        if "died" in kind:
            thread = threading.Thread(target=enter, name=kind, daemon=True)
            thread.start()
            thread.join()
        else:
            enter()
        for section in kept:
            if section is not None:
                self.dwell()
                section.end()
        return len(kept)

    def _finalise(self, life: Life, kind: str) -> None:
        if "weakref" in kind:
            watched = Watched()
            self._watch = weakref.ref(watched, lambda _: self.peek(life, kind))
            with life.proxy.try_access():
                del watched
        else:
            with life.proxy.try_access():
                Dying(self, life, kind)

    def peek(self, life: Life, kind: str) -> None:
        """Make an access that interrupts something else. If that life is over by now, on whatever lane there is another one."""
        for each in (life, *(lane.life for lane in self.stage.lanes)):
            if each is None:
                continue
            with each.proxy.try_access() as specimen:
                if specimen is not None:
                    self.saw(specimen.look(), 1)
                    self.done[kind] += 1
                    return
