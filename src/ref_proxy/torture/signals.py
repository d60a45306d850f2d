"""The main thread, which signals interrupt: their handler makes accesses, and strikes like Ctrl-C where it may."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from .actor import Actor
from .keepers import Lives
from .life import Life

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .stage import Stage

__all__ = ["Interrupted", "Struck"]

PRODUCT = "ref_proxy"
STAND_IN = "ref_proxy.torture.broken"  # for pieces of it


class Struck(KeyboardInterrupt):
    """What the handler raises, as that of SIGINT does."""


class Interrupted(Actor):
    """Accesses and removals in the main thread, in all of which signals come."""

    group = "in and under signals"
    kinds = ("access interrupted", "revoke() interrupted", "revoke() struck, resumed", "replace() struck")

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name, stage)
        self.lives = Lives(self, stage.lane(name))
        self._armed = self._striking = False  # one strike a call, and another one where that was lost
        self._over = True

    # The handler.

    def begin(self) -> None:
        """Have signals come from now on."""
        self._over = False
        self._before = signal.signal(signal.SIGALRM, self._on_signal)
        self._next()

    def finish(self) -> None:
        """Have no more of them."""
        self._over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _next(self) -> None:
        # The next one comes soon, but only now is it asked for: on a busy machine they would pile up. One that comes in the
        # instant before a wait does not wake it, so yet others follow.
        if not self._over:
            signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.01)

    def _on_signal(self, _: int, frame: FrameType | None) -> None:
        self.count("signals")
        lanes = self.stage.lanes
        life = lanes[self.counts["signals"] % len(lanes)].life
        if life is not None:
            denied = life.denied
            with life.proxy.try_access() as specimen:
                if specimen is not None:
                    self.depart(specimen, self.arrive(specimen, denied=denied))
                    self.count("accesses in a handler")
        self._next()
        if (self._armed or (self._striking and self.stage.strike_lost)) and _may_be_struck(frame):
            self._armed = self.stage.strike_lost = False
            raise Struck

    # The rounds.

    def run(self) -> None:
        self.begin()
        try:
            super().run()
        finally:
            self.finish()

    def act(self, kind: str) -> int:
        if kind == "replace() struck":
            return self._replace()
        life, provider = self.lives.begin()
        done = 1
        if kind == "access interrupted":
            for _ in range(30):
                with life.proxy.try_access() as specimen:
                    if specimen is not None:
                        self.saw(specimen.look(), 1)
        elif kind == "revoke() struck, resumed":
            life.nameless = True
            section = life.proxy.try_access()  # keeps the removal waiting until it is struck
            if section.resource is not None:
                section.detach()
                done = self._strike(lambda: life.revoke(self, provider))
                section.end()
        life.revoke(self, provider)
        self.lives.end(life)
        return done

    def _replace(self) -> int:
        # On no lane: whoever is struck is not told what he has replaced, so nobody else may replace here.
        life = Life(self.stage, self.name)
        provider, new = life.keep(), self.stage.make()
        section = life.proxy.access()
        section.detach()
        struck = self._strike(lambda: Life.swap(provider, new))
        section.end()
        with life.proxy.access() as present:
            replaced = present is new
        life.revoke(self, provider)
        if replaced:
            self.stage.end(life.specimen)
        else:
            self.stage.take_back(new)
        life.over(self)
        life.judge()
        return struck

    def _strike(self, call: Callable[[], object]) -> int:
        try:
            try:
                self.stage.strike_lost = False
                self._armed = self._striking = True
                call()
            finally:
                self._armed = self._striking = False
        except Struck:
            return 1
        return 0

    def clear_up(self) -> None:
        self.lives.close()


def _may_be_struck(frame: FrameType | None) -> bool:
    """Whether the main thread is at an instruction of the library's own, in a call that is there to be struck.

    Not in a hook, a finaliser or a ring: what is raised there is lost, or comes out somewhere else.
    """
    inside = False
    while frame is not None and (frame.f_globals.get("__package__") == PRODUCT or frame.f_globals.get("__name__") == STAND_IN):
        if frame.f_code.co_name in {"__del__", "ring", "_pull"}:
            return False
        inside, frame = True, frame.f_back
    return inside and frame is not None and frame.f_code in {Life.revoke.__code__, Life.swap.__code__}
