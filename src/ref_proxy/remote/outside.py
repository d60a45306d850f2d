"""From outside, as the command line does: who announces what, who holds it, and the wish that it be removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..waiting import check_timeout
from . import address as addresses

if TYPE_CHECKING:
    from .records import Outcome, Survey

__all__ = ["revoke", "survey"]


def survey(address: str) -> list[Survey]:
    """Who announces what, and who holds it. `address` may leave out the name: all names then. Raises as `attach()` does."""
    backend, name = addresses.split(address)
    return backend.survey(name)


def revoke(address: str, timeout: float | None = None, *, fence_after: float | None = None) -> Outcome:
    """Have the owner, in whatever process, remove what it announces there. As `Shared.revoke()`, and raises what that does."""
    check_timeout(timeout)
    check_timeout(fence_after)
    backend, name = addresses.find(address)
    return backend.ask(name, timeout, fence_after)
