"""Resources that are pyserial ports as they are, but for what the checker needs to be with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serial import Serial  # type: ignore[import-untyped,unused-ignore]

from .line import Interrupted

if TYPE_CHECKING:
    from .record import Decoder
    from .visit import Visit

__all__ = ["Bare", "Watched"]


class Bare(Serial):  # type: ignore[misc,unused-ignore]
    """For tasks of an event loop: none of them blocks in it."""

    def __init__(self, path: str, baud: int, decoder: Decoder) -> None:
        self.decoder = decoder
        super().__init__(path, baud)

    def interrupt(self) -> None:
        """Do nothing: tasks are cancelled."""


class Watched(Bare):
    """For old code with one reader, which tells nobody when it is inside; so the port does."""

    visit: Visit

    def read(self, size: int = 1) -> bytes:
        try:
            with self.visit.inside():
                chunk: bytes = super().read(size)
                if not chunk:
                    raise Interrupted
                self.visit.counts.add_haul(self.decoder.feed(chunk))
                return chunk
        except Interrupted:
            return b""  # as pyserial says it

    @property
    def in_waiting(self) -> int:
        with self.visit.inside():
            number: int = super().in_waiting
            return number

    def interrupt(self) -> None:
        """Make the reader come back."""
        self.cancel_read()
