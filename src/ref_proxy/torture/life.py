"""One provider, from its making to the end of its removal, as all see it who use it: nobody but its keeper holds the provider."""

from __future__ import annotations

import os
from threading import Event
from typing import TYPE_CHECKING
from weakref import ref

from ..errors import Revoked, RevokeTimeout
from ..provider import Provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..provider import Revocation
    from .actor import Actor
    from .specimen import Specimen
    from .stage import Stage

__all__ = ["FAULTY", "Life"]

FAULTY = "the interrupt of this one fails on purpose"


class Life:
    """The provider's proxy and hooks, and the checker's notes on it.

    `bare`: it has no hooks, so its keeper ends its specimen when the removal has returned. `faulty`: its interrupt raises.
    `make`: what makes the provider, of the same arguments; a device may.
    """

    def __init__(
        self, stage: Stage, name: str, *, bare: bool = False, faulty: bool = False, make: Callable[..., Any] = Provider
    ) -> None:
        self.stage = stage
        self.bare = bare
        self.faulty = faulty
        self.denied = False  # set after the denial: whoever read it before an access, and is granted it, has found a fault
        self.nameless = False  # the release may have been run with nobody to be told True
        self.trues: list[str] = []
        self.callers: dict[object, str] = {}
        self.interrupts = self.releases = 0
        self.released = Event()
        self.specimen = stage.make()  # the first one
        hooks = {} if bare else {"release": self._release, "interrupt": self._interrupt}
        provider: Provider[Specimen] = make(self.specimen, name=name, **hooks)
        self.proxy = provider.proxy("shared")
        self.provider = ref(provider)
        self._kept: Provider[Specimen] | None = provider

    def keep(self) -> Provider[Specimen]:
        """The provider, for its keeper, who alone decides when it is let go of."""
        kept, self._kept = self._kept, None
        assert kept is not None
        return kept

    def _interrupt(self, specimen: Specimen) -> None:
        if os.getpid() != self.stage.process:  # in a forked child all that threads share may be locked by nobody
            return
        self.interrupts += 1
        self.denied = specimen.begun = True
        specimen.call()
        if self.faulty:
            raise RuntimeError(FAULTY)

    def _release(self, specimen: Specimen) -> None:
        if os.getpid() != self.stage.process:
            return
        self.releases += 1
        self.denied = True
        if not self.interrupts:
            self.stage.fault("a resource was released whose readers were never interrupted")
        self.stage.end(specimen)
        self.released.set()

    def revoke(self, actor: Actor, provider: Provider[Specimen], timeout: float | None = None) -> None:
        """Revoke, and check what is promised of the return. Raises: what `revoke()` does."""
        with Calling(self, actor):
            self.told(actor, provider.revoke(timeout))

    def told(self, actor: Actor, first: bool) -> None:
        """A removing call came back with this."""
        if first:
            self.trues.append(actor.name)
        self.denied = True
        if not self.bare and self.releases != 1:
            self.stage.fault(f"a removal returned after {self.releases} releases, not one")
        if self.bare and self.specimen.visits:
            self.stage.fault("a removal returned while a reader was inside")

    def replace(self, actor: Actor, provider: Provider[Specimen], timeout: float | None = None) -> bool:
        """Replace, be it in two steps, and end the old resource. False where it was refused."""
        new = self.stage.make()
        with self.proxy.try_access() as present:
            if present is not None:
                present.begun = True
        try:
            old = provider.replace(new, timeout)
        except Revoked:
            self.stage.take_back(new)
            return False
        except RevokeTimeout as error:
            actor.count("timeouts")
            pending: Revocation[Specimen] | None = error.pending
            assert pending is not None and pending.resource is not None
            old = pending.resource
            old.begun = True
            actor.now("replace, resumed")
            pending.wait()
            actor.count("resumed")
        self.stage.end(old)
        actor.count("replaced")
        return True

    @staticmethod
    def swap(provider: Provider[Specimen], new: Specimen) -> None:
        """Replace, and no more: where the call may be struck."""
        provider.replace(new)

    def over(self, actor: Actor) -> None:
        """The removal has ended: for its keeper."""
        if self.bare:
            self.stage.end(self.specimen)
        elif self.releases != 1:
            self.stage.fault(f"a provider that is revoked was released {self.releases} times")
        with self.proxy.try_access() as inside:
            if inside is not None:
                self.stage.fault("an access was granted after the removal had ended")
        actor.count("releases", 1 if self.bare else self.releases)
        actor.count("interrupts", self.interrupts)

    def judge(self) -> bool:
        """Whether all who removed it are back, so that it could be judged whether exactly one was told that he did it."""
        if self.callers:
            return False
        if len(self.trues) > 1:
            self.stage.fault(f"{len(self.trues)} callers of one removal got True")
        if not self.trues and not self.nameless:
            self.stage.fault("no caller of a removal got True")
        return True


class Calling:
    """Somebody is in a call that removes."""

    def __init__(self, life: Life, actor: Actor) -> None:
        self._life = life
        self._life.callers[self] = actor.name

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._life.callers.pop(self, None)
