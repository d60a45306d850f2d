"""What a back end does: it carries a removal to other processes, and knows which of them are alive.

Everything else (sections, hooks, waiting, timeouts, what is told to whom) is in `owner.py` and `worker.py`, written once. A back
end knows names, epochs and holders:

    announce   the owner takes a name, which nobody else can have then, and gets an epoch: a number that no later one falls below
    register   a process becomes a holder of what is announced under a name at that moment
    recall     the owner says *gone*: nobody can register any more, and every holder is told
    acknowledge a holder has let go
    wait       the owner waits until every holder has acknowledged, or is dead, or was cut off

and the rules by which it is tried (`tests/remote/conformance.py`):

- A registration is refused, or recalled, or waited for: none slips in between a recall and the wait.
- A holder counts until it acknowledges, or whoever decides (the kernel, the server) says that it is dead. One that merely does
  not answer counts; so does one whose connection is gone, as long as its process may be alive: then it is *lost*, until its
  lease has run out for certain. `cut` lists what was lost or fenced.
- When the owner, or the way to it, is gone, every holder is told so at once (`gone` with a reason), or finds out by its lease.
- Callbacks come in a thread of the back end's, never block it, and come at most once each: they may start a thread.
- After a fork the child has no part in any of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from .gate import Gate
    from .records import Holder, Outcome, Report, Survey

    Info: TypeAlias = Mapping[str, Any]

__all__ = ["Announcement", "Backend", "Landlord", "Registration", "Tenant"]


class Tenant(Protocol):
    """A holder's side of one registration: what the back end calls."""

    def gone(self, reason: str, *, replaced: bool) -> None:
        """Hear that it is over: deny now, let go, and then acknowledge. `replaced`: something else is announced by that name."""
        ...

    def renewed(self, until: int) -> bool:
        """Hear that it is held until that moment of `boottime()`, and see that no access is granted after it.

        False where one was refused already, since the moment before that had come. It is over then. Of a back end whose holds end
        by the clock alone; before `register()` returns for the first time.
        """
        ...

    def report(self) -> Report:
        """Say who is inside."""
        ...


class Landlord(Protocol):
    """The owner's side of an announcement: what the back end calls."""

    def asked(self, timeout: float | None, fence_after: float | None) -> Outcome:
        """Remove the resource: somebody asked for it from outside. Blocks, and raises what `Shared.revoke()` does."""
        ...

    def renewed(self, until: int) -> bool:
        """Hear that nobody else can have the name before that moment: as a tenant does, here before `announce()` returns."""
        ...

    def lost(self, reason: str) -> None:
        """Hear that the name is not this process's any more, and deny here too: nobody can attach, and others may have it."""
        ...


class Registration(ABC):
    """One process's hold on what is announced by a name, under one epoch."""

    epoch: int
    info: Info

    def denied(self) -> None:  # noqa: B027  (whoever shares memory with its owner need not be told)
        """Hear that what has replaced it is published here: it is granted no more, but some may be inside. Never blocks."""

    @abstractmethod
    def acknowledge(self) -> None:
        """Let go: nothing of the resource is used here any more. Never blocks for the owner's sake. May be called again."""


class Announcement(ABC):
    """What one process announces by a name, under one epoch. Made again for each one: a recall is final."""

    epoch: int

    @abstractmethod
    def recall(self, *, replaced: bool) -> None:
        """Say *gone* to every holder, and let nobody register under this epoch any more. Does not wait. May be called again."""

    @abstractmethod
    def wait(self, deadline: float | None) -> bool:
        """Block until nobody holds it any more, for as long as `monotonic()` is not past the deadline. After `recall()`."""

    @abstractmethod
    def fence(self) -> None:
        """Cut off whoever still holds it: `wait()` ends as soon as they cannot get in any more. Does not wait."""

    @abstractmethod
    def holders(self, ask: float = 0.0) -> list[Holder]:
        """Who holds it. `ask`: wait so many seconds at most for them to report."""

    @property
    @abstractmethod
    def cut(self) -> Sequence[Holder]:
        """Those who did not acknowledge, and are not known to be dead: lost or fenced."""

    @abstractmethod
    def succeed(self, info: Info) -> Announcement:
        """Announce something else by the same name, under a new epoch. This one is to be recalled as replaced."""

    @abstractmethod
    def withdraw(self) -> None:
        """Give the name up. Nobody hears of it who was not recalled before. May be called again."""


class Backend(ABC):
    """A way from process to process. Addresses are those of one scheme; one object serves many names."""

    gates = False  # whether it can share memory with a holder, and so to close its gate

    def key(self, name: str) -> object:
        """What is the same for two spellings of one name."""
        return name

    @abstractmethod
    def announce(self, name: str, info: Info, landlord: Landlord) -> Announcement:
        """Take the name. Raises `FileExistsError` where another owner, who is named, is alive."""

    @abstractmethod
    def register(self, name: str, tenant: Tenant, gate: Gate | None, timeout: float | None) -> Registration:
        """Become a holder. Raises `NotAnnounced`; `TimeoutError` where the owner does not answer."""

    @abstractmethod
    def survey(self, name: str | None) -> list[Survey]:
        """What is announced by that name, or by any."""

    @abstractmethod
    def ask(self, name: str, timeout: float | None, fence_after: float | None) -> Outcome:
        """Have the owner, in another process, remove what is announced by that name. Raises what it raises there."""
