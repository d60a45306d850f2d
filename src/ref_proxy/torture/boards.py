"""The keeper of the board: a structure of its own, exchanged with the grace periods of a `Domain`."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from ..errors import RevokeTimeout
from .actor import Actor

if TYPE_CHECKING:
    from .specimen import Specimen

__all__ = ["BoardKeeper"]


class BoardKeeper(Actor):
    """A thread that exchanges the structure, and takes the old one apart after a grace period."""

    group = "grace periods"
    kinds = ("synchronize()", "synchronize(timeout)", "call()", "call(), barrier()", "start_poll(), poll()")

    def act(self, kind: str) -> int:
        board, stage = self.stage.board, self.stage
        domain = board.domain
        old, board.specimen = board.specimen, stage.make()
        old.begun = True
        if kind == "synchronize()":
            domain.synchronize()
            stage.end(old)
        elif kind == "synchronize(timeout)":
            try:
                domain.synchronize(timeout=0.0005)
            except RevokeTimeout:
                self.count("timeouts")
                domain.synchronize()
            stage.end(old)
        elif kind.startswith("call"):
            domain.call(stage.end, old)
            if "barrier" in kind:
                domain.barrier()
                self._ended(old)
        else:
            cookie = domain.start_poll()
            while not domain.poll(cookie):
                sleep(0.0005)
            stage.end(old)
        sleep(0.001)
        return 1

    def _ended(self, specimen: Specimen) -> None:
        if not specimen.ends:
            self.stage.fault("barrier() returned before a callback had run")

    def clear_up(self) -> None:
        domain = self.stage.board.domain
        domain.synchronize()
        domain.barrier()
        self.stage.end(self.stage.board.specimen)
