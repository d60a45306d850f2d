"""How a worker gets at the segment: attached to it by ref_proxy, or by its name, as it is done today."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ... import remote
from .board import NEWEST
from .segment import Segment

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from ..._backend import Proxy
    from ...remote import Handle
    from .board import Board

__all__ = ["Attached", "ByName", "Way"]


class Way(Protocol):
    def attach(self) -> bool:
        """Get in, at first or anew. False: there is nothing to get at any more."""
        ...

    def access(self) -> AbstractContextManager[Segment]:
        """The newest segment. Raises `Revoked`: attach anew. `FileNotFoundError`: it was gone too soon."""
        ...

    def close(self) -> None: ...


class Attached:
    def __init__(self, address: str) -> None:
        self._address = address
        self._handle: Handle[Segment]
        self._proxy: Proxy[Segment]

    def attach(self) -> bool:
        try:
            self._handle = remote.attach(self._address, open=Segment.attach, release=Segment.close)
        except remote.NotAnnounced:
            return False
        self._proxy = self._handle.proxy("reader")
        return True

    def access(self) -> AbstractContextManager[Segment]:
        return self._proxy.access()

    def close(self) -> None:
        self._handle.close()


class ByName:
    """The owner tells the newest generation in a memory that all share: quicker than any message."""

    def __init__(self, family: str, board: Board) -> None:
        self._family = family
        self._board = board
        self._segment: Segment | None = None

    def attach(self) -> bool:
        return True

    @contextmanager
    def access(self) -> Generator[Segment]:
        newest = self._board.head[NEWEST]
        if self._segment is None or self._segment.generation != newest:
            self.close()
            self._segment = Segment.attach({"name": f"{self._family}-{newest}", "generation": newest})
        yield self._segment

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None
