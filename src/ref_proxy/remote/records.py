"""What is told about a shared resource: who holds it, and how a removal ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import Revoked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TO_REPORT", "Announced", "Holder", "NotAnnounced", "Outcome", "ProtocolError", "Report", "Survey", "listed"]

TO_REPORT = 0.25  # seconds that holders have to say who is inside, where nobody says how many


class NotAnnounced(Revoked):
    """Nobody announces that name, or whoever did is gone. A `Revoked`: whoever copes with that one copes with this one."""

    __module__ = "ref_proxy.remote"


class ProtocolError(ConnectionError):
    """What is at the other end does not speak this protocol, or another version of it."""

    __module__ = "ref_proxy.remote"


class Announced(dict[str, Any]):
    """What an owner has told of one resource, and the epoch under which it announced that one: what `open` is called with.

    >>> Announced({"path": "/dev/shm/x"}, epoch=7).epoch
    7
    """

    __module__ = "ref_proxy.remote"
    __slots__ = ("epoch",)

    def __init__(self, told: Mapping[str, Any], *, epoch: int) -> None:
        super().__init__(told)
        self.epoch = epoch


class Report(NamedTuple):
    """What a process says of itself: the names of its proxies, and a line for each section that is open."""

    proxies: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()


class Holder(NamedTuple):
    """One process that is attached to a resource, as its owner sees it.

    Attributes:
        host: the name of its host.
        pid: its process number there.
        process: what it calls itself: its command, or its application name.
        epoch: the epoch under which it was registered.
        state: "attached"; "silent" where it did not answer when asked; "lost" where its connection ended, or its lease ran out,
            and nobody can say that the process has; "fenced" where the owner has cut it off.
        report: its proxies and open sections, as it told when it was asked last.
    """

    host: str
    pid: int
    process: str
    epoch: int
    state: Literal["attached", "silent", "lost", "fenced"] = "attached"
    report: Report = Report()

    @property
    def proxies(self) -> tuple[str, ...]:
        """The names of its proxies."""
        return self.report.proxies

    @property
    def inside(self) -> tuple[str, ...]:
        """A line for each of its open sections."""
        return self.report.inside

    def __str__(self) -> str:
        inside = f", inside: {'; '.join(self.inside)}" if self.inside else ""
        return f"process {self.pid} ({self.process}) on {self.host}, {self.state}{inside}"


class Outcome(NamedTuple):
    """How a removal ended.

    Attributes:
        state: "drained": every holder has let go, or is known to be dead. "fenced": some were cut off, or lost, and may still
        have what they took; let the resource's own side refuse every epoch up to this one.
        holders: those, empty where it is drained.
        epoch: the epoch that is over.
    """

    state: Literal["drained", "fenced"]
    holders: tuple[Holder, ...]
    epoch: int


class Survey(NamedTuple):
    """One name that is announced: who owns it, under which epoch, whether it is being removed, and who holds it.

    Where all names are asked for, and the owner of this one could not be asked, its state is "unknown", and `owner` says why.
    """

    address: str
    owner: str
    epoch: int
    state: Literal["live", "draining", "unknown"]
    holders: tuple[Holder, ...]


def listed(holders: Sequence[Holder]) -> str:
    """A phrase for an error message: the first few, and how many more."""
    return "; ".join(map(str, holders[:3])) + (f"; and {len(holders) - 3} more" if len(holders) > 3 else "")
