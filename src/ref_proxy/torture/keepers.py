"""Keepers: each has a lane, puts one provider after the other on it, and takes it away in another way each time."""

from __future__ import annotations

from collections import deque
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING

from ..errors import RevokeTimeout
from ..provider import Provider
from .actor import Actor
from .life import Life

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .specimen import Specimen
    from .stage import Lane, Stage

__all__ = ["CROWD", "DROPPED", "BusyKeeper", "Keeper", "Lives"]

CROWD = 3  # who revoke one provider at once
DROPPED = "providers dropped"
FAULTY = 0.1  # the share of the providers whose interrupt fails
RIVALRY = 64  # lives that may wait until the last rival has come back


class Lives:
    """The lives of one lane, one after the other."""

    def __init__(self, actor: Actor, lane: Lane) -> None:
        self._actor = actor
        self._lane = lane
        self._ended: deque[Life] = deque()

    def begin(self, *, bare: bool = False, make: Callable[..., Any] = Provider) -> tuple[Life, Provider[Specimen]]:
        actor = self._actor
        faulty = actor.random.random() < FAULTY
        life = Life(actor.stage, self._lane.name, bare=bare, faulty=faulty, make=make)
        provider = life.keep()
        self._lane.life = life
        return life, provider

    def end(self, life: Life) -> None:
        """The life's removal has ended. It is judged as soon as all who had a part in that are back."""
        life.over(self._actor)
        self._ended.append(life)
        for _ in range(len(self._ended)):
            each = self._ended.popleft()
            if not each.judge():
                self._ended.append(each)
        if len(self._ended) > RIVALRY:
            self._actor.stage.fault(f"{len(self._ended)} removals have ended, but not all who called for them came back")

    def close(self) -> None:
        """The storm is over, and all are back."""
        self._lane.life = None
        for each in self._ended:
            if not each.judge():
                self._actor.stage.fault(f"{', '.join(each.callers.values())} never came back from a removal")


class Keeper(Actor):
    """A thread that removes its providers itself."""

    group = "removals"
    kinds = (
        "revoke()",
        "revoke(), without hooks",
        "revoke(), by three at once",
        "revoke(timeout), resumed",
        "revoke_soon()",
        "revoke_soon(), dropped",
        "left by an exception",
        "dropped while live",
        "replace(), then revoke()",
    )

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name, stage)
        self.lives = Lives(self, stage.lane(name))

    def act(self, kind: str) -> int:
        life, provider = self.lives.begin(bare=kind.endswith("without hooks"))
        sleep(self.random.random() * 0.005)
        ways = {
            "revoke()": self._revoke,
            "revoke(), without hooks": self._revoke,
            "revoke(), by three at once": self._crowd,
            "revoke(timeout), resumed": self._resume,
            "revoke_soon()": self._soon,
            "revoke_soon(), dropped": self._soon_dropped,
            "left by an exception": self._leave,
            "replace(), then revoke()": self._replace,
        }
        if kind == "dropped while live":
            life.nameless = True
            self.count(DROPPED)
            del provider  # the last reference, if no rival has one
            life.released.wait()
        else:
            ways[kind](life, provider)
        self.lives.end(life)
        return 1

    def clear_up(self) -> None:
        self.lives.close()

    def _revoke(self, life: Life, provider: Provider[Specimen]) -> None:
        life.revoke(self, provider)

    def _crowd(self, life: Life, provider: Provider[Specimen]) -> None:
        # Threads of their own, that come to it at the same time.
        crowd = [Thread(target=life.revoke, args=(self, provider), name=self.step, daemon=True) for _ in range(CROWD)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()

    def _resume(self, life: Life, provider: Provider[Specimen]) -> None:
        while True:
            try:
                life.revoke(self, provider, timeout=self.random.choice((0, 0.0001, 0.001)))
                break
            except RevokeTimeout:
                self.count("timeouts")
        self.count("resumed")

    def _soon(self, life: Life, provider: Provider[Specimen]) -> None:
        life.nameless = True
        removal = provider.revoke_soon()
        life.denied = True
        while not removal.wait(timeout=0.001):
            self.count("timeouts")
        if not removal.done:
            self.stage.fault("wait() returned True, and the removal is not done")

    def _soon_dropped(self, life: Life, provider: Provider[Specimen]) -> None:
        life.nameless = True
        provider.revoke_soon()
        life.denied = True
        del provider
        life.released.wait()

    def _leave(self, life: Life, provider: Provider[Specimen]) -> None:
        life.nameless = True
        try:
            with provider:
                raise LookupError
        except LookupError:
            life.told(self, False)

    def _replace(self, life: Life, provider: Provider[Specimen]) -> None:
        for _ in range(3):
            life.replace(self, provider)
        life.revoke(self, provider)


class BusyKeeper(Actor):
    """A thread that replaces again and again, where readers come and go all the time and none of them dwells."""

    group = "replacements"
    kinds = ("replace(), one upon the other",)

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name, stage)
        self.lives = Lives(self, stage.busy)

    def act(self, kind: str) -> int:
        life, provider = self.lives.begin()
        done = sum(life.replace(self, provider) for _ in range(200) if not self.stage.over)
        life.revoke(self, provider)
        self.lives.end(life)
        return done

    def clear_up(self) -> None:
        self.lives.close()
