"""What a device undoes when it is gone, and the checker's book on that: each once, the last one first, after all sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plug import Plug
    from .tally import Tally

__all__ = ["Actions"]


class Actions:
    """In place of what a driver would undo, it notes that it was called."""

    NAMES = ("switch off", "sign off")  # in the order of what they undo

    def __init__(self, plug: Plug, tally: Tally) -> None:
        self._plug = plug
        self._tally = tally
        self._ran: list[str] = []

    def run(self, name: str) -> None:
        self._tally.actions += 1
        self._tally.actions_early += self._plug.inside > 0 or not self._plug.closed
        self._ran.append(name)

    def settle(self) -> None:
        """To be called after the removal."""
        self._tally.actions_amiss += self._ran != [*reversed(self.NAMES)]
