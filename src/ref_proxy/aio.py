"""For coroutines: a body that is cancelled when its resource is revoked, and the wait for that. Under asyncio and trio.

A section needs nothing of this: an access never blocks, so coroutines use `with proxy.access()` as everybody does.
"""

from __future__ import annotations

import errno

from . import loops, report
from ._backend import Proxy
from ._typing import Generic, TypeVar
from .errors import Revoked
from .waiting import Bell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ._backend import Section

__all__ = ["cancelling", "wait_revoked"]

T = TypeVar("T")


def _bell(proxy: Proxy[object]) -> Bell:
    """What rings when the resource is revoked."""
    if not isinstance(proxy, Proxy):
        raise TypeError(f"what is waited for must be a proxy, made by provider.proxy(), not a {type(proxy).__name__}")
    bell = proxy._cell.wake
    assert isinstance(bell, Bell)
    return bell


class cancelling(Generic[T]):  # noqa: N801  (used as a function, as asyncio.timeout() is)
    """Hold a section for an `async with` body, which is cancelled when the resource is revoked, and comes out as `Revoked`.

    Guarantees: S1, S2, S16. The manner is that of `asyncio.timeout()` and `trio.CancelScope`: a cancellation from outside goes on
    outwards, also one that comes at the same time; it nests; a body that catches its cancellation and ends is left in peace. A
    `replace()` does not cancel: the body goes on with the old resource, and is waited for.

    Args:
        proxy: whose resource is used; its access is made when the body is entered.

    Raises: `Revoked`, from the cancellation, or on entry if it is gone already; `ValueError` if the proxy is closed;
    `RuntimeError` outside a task of asyncio or trio, or for a second use. Cost: a wake-up of the loop whenever a removal gets on.

    >>> import asyncio
    >>> from ref_proxy import Provider, Revoked
    >>> async def main():
    ...     provider = Provider(["a resource"], name="line")
    ...     try:
    ...         async with cancelling(provider.proxy("reader")) as resource:
    ...             provider.revoke_soon()
    ...             await asyncio.sleep(3600)
    ...     except Revoked as gone:
    ...         print(gone.strerror)
    >>> asyncio.run(main())
    proxy 'reader' of 'line' was revoked, and what used it here was cancelled; get a proxy from the next provider
    """

    __slots__ = ("_bell", "_loop", "_peg", "_proxy", "_scope", "_section")

    def __init__(self, proxy: Proxy[T]) -> None:
        self._bell = _bell(proxy)
        self._proxy = proxy
        self._section: Section[T] | None = None

    async def __aenter__(self) -> T:
        if self._section is not None:
            raise RuntimeError("cancelling() is for one `async with`: call it again for another one")
        self._loop = loops.running()
        scope = self._loop.scope()
        self._section = self._proxy.access()
        self._scope: loops.Scope | None = scope
        scope.enter()
        self._listen()
        return self._section.resource

    def _listen(self) -> None:
        self._peg = self._bell.hang(self._rung)
        if self._proxy.revoked:  # it may have rung before
            self._rung()

    def _rung(self) -> None:
        self._loop.post(self._look)

    def _look(self) -> None:
        """In the loop: the task is not running, and either inside or out again."""
        if self._scope is None:
            return
        if self._proxy.revoked:
            self._scope.cancel()
        else:  # it rang for something else, and the rope is gone with that
            self._bell.unhang(self._peg)
            self._listen()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        scope, self._scope = self._scope, None
        self._bell.unhang(self._peg)
        assert self._section is not None and scope is not None
        self._section.end()
        if scope.leave(kind, error, trace):
            who = report.which(self._proxy.name, self._proxy._cell.name)
            raise Revoked(
                errno.ENODEV,
                f"{who} was revoked, and what used it here was cancelled; get a proxy from the next provider",
            ) from error
        return False


async def wait_revoked(proxy: Proxy[object]) -> None:
    """Wait until the resource is revoked. Returns at once where it is already.

    Guarantees: S2, S16, S20. Blocks: the calling task alone, without bound; wrap it in a timeout of the loop's. It holds no
    section, so it keeps no removal waiting. Raises: `RuntimeError` outside a task of asyncio or trio.

    >>> import asyncio
    >>> from ref_proxy import Provider
    >>> async def main():
    ...     provider = Provider(["a resource"])
    ...     waiter = asyncio.create_task(wait_revoked(provider.proxy()))
    ...     await provider.arevoke()
    ...     await waiter
    >>> asyncio.run(main())
    """
    loop = loops.running()
    await loops.wait(loop, _bell(proxy), lambda: proxy.revoked)
