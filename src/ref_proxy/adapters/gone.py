"""A device that goes away by itself: which errors say so, what a consumer gets, and who is told."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeVar
from weakref import ref

from ..errors import Revoked

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from ..provider import Provider

__all__ = ["GONE", "Departure", "revoked_from"]

T = TypeVar("T")

GONE = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ENODEV", "ENXIO", "EBADFD", "ENETDOWN", "ENOTCONN", "ECONNABORTED")
    if hasattr(errno, name)  # EBADFD is Linux's
)
"""What a system call fails with, on a descriptor that was valid, once the device behind it is not there any more."""


def revoked_from(error: OSError, who: str, also: Container[int | None] = ()) -> Revoked | None:
    """The `Revoked` to raise in the place of `error`, from it; None where it does not say that the device is gone.

    Args:
        error: what the system call raised.
        who: whom it happened to, for the message: "'ttyUSB0'".
        also: error numbers that mean the same on this kind of device alone.
    """
    if error.errno not in GONE and error.errno not in also:
        return None
    return Revoked(
        errno.ENODEV, f"{who} went away by itself ({error.strerror}); drop this handle, and get one from the next provider"
    )


class Departure:
    """Tells a provider's owner, once, that the device went away by itself.

    Args:
        on_gone: called with the provider: `Provider.revoke_soon` starts the removal. None: nobody is told.
    """

    __slots__ = ("_on_gone", "_provider")

    def __init__(self, on_gone: Callable[[Provider[T]], object] | None) -> None:
        self._on_gone = {"": on_gone} if on_gone is not None else {}
        self._provider: Callable[[], Provider[T] | None] = lambda: None

    def watch(self, provider: Provider[T]) -> Provider[T]:
        """Remember whose device it is, without keeping it."""
        self._provider = ref(provider)
        return provider

    def tell(self) -> None:
        """Call `on_gone`, the first time. Not inside a section: it may revoke, and would wait for that."""
        provider = self._provider()
        on_gone = self._on_gone.pop("", None) if provider is not None else None
        if on_gone is not None:
            on_gone(provider)
