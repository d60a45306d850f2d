"""What the storm has to notice: each fault is put into every worker, or every owner, before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ref_proxy.remote import gate, peers, place, unix, unix_owner, worker

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FAULTS", "put_in"]


def early_ack() -> None:
    recalled = worker._Attachment.recalled

    def acknowledge_first(self: Any, stay: Any) -> None:
        if stay.over is not None:
            stay.registration.acknowledge()
        recalled(self, stay)

    worker._Attachment.recalled = acknowledge_first  # type: ignore[method-assign]


def no_wait() -> None:
    unix_owner._Announcement.wait = lambda self, deadline: True  # type: ignore[method-assign]


def lost_is_gone() -> None:
    unix_owner._Held.hung_up = unix_owner._Held.over  # type: ignore[method-assign]


def no_gate() -> None:
    gate.Gate.close = lambda self: None  # type: ignore[method-assign]


def no_pidfd() -> None:
    peers._pidfd = lambda connection, pid: None


def same_epoch() -> None:
    place.Place.next_epoch = lambda self: 7  # type: ignore[method-assign]


def orphans_stay() -> None:
    gone = unix._Registration._gone

    def only_recalls(self: Any, reason: str, replaced: bool = False) -> None:
        if "revoked" in reason or replaced:
            gone(self, reason, replaced)

    unix._Registration._gone = only_recalls  # type: ignore[method-assign]


# What it is called, in whom, and what to do.
FAULTS: dict[str, tuple[str, Callable[[], None]]] = {
    "early-ack": ("worker", early_ack),  # it acknowledges as soon as it hears, with sections open
    "no-wait": ("owner", no_wait),  # it waits for nobody
    "lost-is-gone": ("owner", lost_is_gone),  # who has hung up does not count, though it may be inside
    "no-gate": ("owner", no_gate),  # who was stopped is denied only when a thread of its own has heard so
    "no-pidfd": ("owner", no_pidfd),  # who was killed counts until its connection ends, which a copy of it has too
    "same-epoch": ("owner", same_epoch),  # epochs do not rise
    "orphans-stay": ("worker", orphans_stay),  # it goes on when its owner is gone
}


def put_in(fault: str | None, whom: str) -> None:
    if fault is not None and FAULTS[fault][0] == whom:
        FAULTS[fault][1]()
