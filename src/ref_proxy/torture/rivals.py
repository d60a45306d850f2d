"""Rivals: they remove and replace what is others' to keep, in the midst of what those do to it."""

from __future__ import annotations

from io import StringIO
from time import sleep
from typing import TYPE_CHECKING

from ..dump import dump
from ..errors import Revoked, RevokeDeadlock, RevokeTimeout
from .actor import Actor

if TYPE_CHECKING:
    from ..provider import Provider
    from .life import Life
    from .specimen import Specimen

__all__ = ["Rival", "Spectator"]


TRIES = 50  # lanes to look at for somebody to do it to


class Rival(Actor):
    """A thread that comes by on any lane, and replaces or removes what it finds there."""

    group = "interference"
    kinds = (
        "replace()",
        "replace() again and again",
        "replace(timeout), resumed",
        "revoke()",
        "revoke(timeout)",
        "revoke_soon()",
        "revoke() in a section of its own",
    )

    def act(self, kind: str) -> int:
        for _ in range(TRIES):
            life = self.life()
            provider = None if life is None else life.provider()
            if life is None or provider is None or life.bare or life.denied:
                sleep(0.0005)
                continue
            done = self._act(kind, life, provider)
            del provider  # maybe the last reference: it is dropped here then
            if done:
                sleep(self.random.random() * 0.002)
                return done
        return 0

    def _act(self, kind: str, life: Life, provider: Provider[Specimen]) -> int:
        if kind.startswith("replace"):
            timeout = self.random.choice((0, 0.0002)) if "timeout" in kind else None
            return sum(life.replace(self, provider, timeout) for _ in range(5 if "again" in kind else 1))
        if kind == "revoke_soon()":
            life.nameless = True
            provider.revoke_soon()
            life.denied = True
            return 1
        if "section" in kind:
            return self._deadlock(life, provider)
        try:
            life.revoke(self, provider, timeout=0.0005 if "timeout" in kind else None)
        except RevokeTimeout:
            self.count("timeouts")
        return 1

    def _deadlock(self, life: Life, provider: Provider[Specimen]) -> int:
        denied = life.denied
        try:
            with life.proxy.access() as specimen:
                token = self.arrive(specimen, denied=denied)
                try:
                    provider.revoke(timeout=1)
                    self.stage.fault("a revoke() in a section of its own thread came back")
                except RevokeDeadlock:
                    pass
                self.depart(specimen, token)
        except Revoked:
            self.count("refused")
            return 0
        return 1


class Spectator(Actor):
    """A thread that only looks: who blocks, what is revoked, whether the first publication is drained already."""

    group = "interference"
    kinds = ("blockers()", "dump()", "drained()")

    def act(self, kind: str) -> int:
        life = self.life()
        provider = None if life is None else life.provider()
        if life is None or provider is None:
            sleep(0)
            return 0
        if kind == "blockers()":
            for blocker in provider.blockers():
                str(blocker)
        elif kind == "dump()":
            dump(StringIO())
        else:
            self._watch(life, provider)
        sleep(0.005)
        return 1

    def _watch(self, life: Life, provider: Provider[Specimen]) -> None:
        # Asked from before its retirement on: the moment in which the answer turns is where it may be wrong.
        cell = provider._cell
        for _ in range(200):
            if cell.drained(1, 1):
                if life.specimen.visits:
                    self.stage.fault("a publication counts as drained with a reader inside")
                return
