"""Readers in threads: all the ways in which a section can begin, be spent and end, but for those in which it gets lost."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from ..errors import Revoked
from ..guarded import guarded
from .actor import Actor

if TYPE_CHECKING:
    from .life import Life

__all__ = ["Ender", "Reader"]

BLOCKED = 0.03  # seconds that a reader is blocked at most: a replacement interrupts nobody
QUEUED = 100  # sections that wait to be ended elsewhere


class Reader(Actor):
    """A thread that reads, on any lane, in any way."""

    group = "accesses"
    kinds = (
        "own proxy",
        "shared proxy",
        "try_access()",
        "nested",
        "guarded()",
        "asleep inside",
        "blocked until interrupted",
        "ended by another thread",
        "ended by two at once",
        "domain.read()",
        "one upon the other",
    )

    def act(self, kind: str) -> int:
        ways = {
            "own proxy": self._own,
            "shared proxy": self._shared,
            "try_access()": self._try,
            "nested": self._nested,
            "guarded()": self._guarded,
            "asleep inside": self._asleep,
            "blocked until interrupted": self._blocked,
            "ended by another thread": self._handed,
            "ended by two at once": self._twice,
            "one upon the other": self._many,
        }
        if kind == "domain.read()":
            return self._domain()
        life = self.life()
        if life is None:
            self.dwell()
            return 0
        try:
            return ways[kind](life)
        except Revoked:
            self.count("refused")
            sleep(0)  # to the one who brings the next
            return 0

    def _own(self, life: Life) -> int:
        provider = life.provider()
        if provider is None:
            return 0
        proxy = provider.proxy(self.name)
        del provider
        done = 0
        for _ in range(4):
            denied = life.denied
            with proxy.access() as specimen:
                self.visit(specimen, denied=denied)
                done += 1
        proxy.close()
        return done

    def _shared(self, life: Life) -> int:
        denied = life.denied
        with life.proxy.access() as specimen:
            self.visit(specimen, denied=denied)
        return 1

    def _try(self, life: Life) -> int:
        denied = life.denied
        with life.proxy.try_access() as specimen:
            if specimen is None:
                self.count("refused")
                return 0
            self.visit(specimen, denied=denied)
        return 1

    def _many(self, life: Life) -> int:
        # Nothing but accesses: the way of an access itself is where a removal is to hit.
        proxy = (self.stage.busy.life or life).proxy
        for number in range(200):
            with proxy.access() as specimen:
                if number % 4 == 0:
                    for _ in range(number):  # long enough for a removal that has overlooked it to come to its end
                        pass
                self.saw(specimen.look(), 1)
        return 200

    def _nested(self, life: Life) -> int:
        denied = life.denied
        with life.proxy.access() as outer:
            token = self.arrive(outer, denied=denied)
            other = self.life() or life
            with life.proxy.try_access() as inner, other.proxy.try_access() as third:
                for specimen in (inner, third):
                    if specimen is not None:
                        self.visit(specimen)
            self.depart(outer, token)
        return 1

    def _guarded(self, life: Life) -> int:
        specimen = guarded(life.proxy)
        for _ in range(4):
            self.saw(specimen.look(), 1)
        return 4

    def _asleep(self, life: Life) -> int:
        denied = life.denied
        with life.proxy.access() as specimen:
            token = self.arrive(specimen, denied=denied)
            sleep(self.random.random() * 0.003)
            self.depart(specimen, token)
        return 1

    def _blocked(self, life: Life) -> int:
        denied = life.denied
        with life.proxy.access() as specimen:
            token = self.arrive(specimen, denied=denied)
            if specimen.wait_called(BLOCKED):
                self.count("woken by an interrupt")
            self.depart(specimen, token)
        return 1

    def _handed(self, life: Life) -> int:
        denied = life.denied
        section = life.proxy.access()
        specimen = section.resource
        token = self.arrive(specimen, denied=denied)
        section.detach()
        self.stage.handed.put((section, specimen, token))
        while self.stage.handed.qsize() > QUEUED:
            sleep(0.001)
        return 1

    def _twice(self, life: Life) -> int:
        denied = life.denied
        section = life.proxy.access()
        specimen = section.resource
        section.detach()
        self.visit(specimen, denied=denied)
        self.stage.handed.put((section, None, None))
        self.dwell()
        section.end()
        section.end()
        return 1

    def _domain(self) -> int:
        board = self.stage.board
        with board.domain.read():
            self.visit(board.specimen)
        return 1


class Ender(Actor):
    """Ends the sections that others began."""

    group = "others' sections"
    kinds = ("ended for another thread",)
    lasting = True

    def act(self, kind: str) -> int:
        self.idle()
        handed = self.stage.handed.get()
        self.now(kind)
        if handed is None:
            return 0
        section, specimen, token = handed
        self.dwell()
        if specimen is not None:
            self.depart(specimen, token)
            section.end()
            return 1
        try:
            with section:  # it may have ended, or end now
                pass
        except ValueError:
            pass
        return 1
