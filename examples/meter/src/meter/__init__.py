"""A meter on a cable: a wrapper of a library in C, whose handle is closed when nobody is using it any more.

`meter.Meter` is what users see. It has the methods that it had before it adopted ref_proxy, when it was `meter._before.Meter`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from ref_proxy import Provider, RevokeTimeout

from ._meter import Handle, Reader

__all__ = ["Meter"]


class Meter:
    """An instrument. Its methods may be called, and it may be closed, in any thread at any time."""

    def __init__(self, name: str = "meter") -> None:
        self._provider = Provider(Handle(), interrupt=Handle.cancel, release=Handle.close, name=name)
        self._reader = Reader(self._provider.proxy())

    def read(self) -> float:
        """Wait for a reading. Raises `ref_proxy.Revoked`, an `OSError` with `ENODEV`, if it is closed, also meanwhile."""
        return self._reader.read()

    def feed(self, value: float) -> None:
        """Have the make-believe instrument measure something."""
        self._reader.feed(value)

    @property
    def readers(self) -> int:
        """How many threads wait for a reading."""
        return self._reader.readers()

    def reopen(self) -> None:
        """Go on with a new handle. Whoever is reading from the old one is brought back, and reads from the new one."""
        try:
            old = self._provider.replace(Handle(), timeout=0)
        except RevokeTimeout as late:  # somebody is reading: the new handle is there already
            old = late.pending.resource
            old.cancel()
            late.pending.wait()
        old.close()

    def close(self, timeout: float | None = None) -> None:
        """Close it. Blocks until nobody is using it any more, which is soon: those who read are brought back."""
        self._provider.revoke(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
