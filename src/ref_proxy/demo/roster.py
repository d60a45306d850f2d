"""Who is there: nine consumers of three lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .._backend import Proxy
from ..aio import cancelling
from ..guarded import guarded
from .consumer import Reader, Selector
from .coroutines import Gauge, Listener
from .plug import ASYNCIO, OLD, THREADS
from .veteran import Veteran

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

__all__ = ["ROSTER", "Place", "having"]


class Place(NamedTuple):
    """One consumer of the storm: what it is called, what it is, which line it uses, and how it is let in to that."""

    name: str
    kind: type[Reader | Listener | Gauge]
    line: str
    by: Callable[[Proxy[Any]], Any]
    shared: bool = False  # whether its proxy is that of others, too


ROSTER = (
    Place("reader 1, own proxy", Reader, THREADS, Proxy.access),
    Place("reader 2, own proxy", Reader, THREADS, Proxy.access),
    Place("reader 3, shared proxy", Reader, THREADS, Proxy.access, shared=True),
    Place("reader 4, shared proxy", Reader, THREADS, Proxy.access, shared=True),
    Place("selector 1, own proxy", Selector, THREADS, Proxy.access),
    Place("selector 2, shared proxy", Selector, THREADS, Proxy.access, shared=True),
    Place("asyncio task 1, cancelling()", Listener, ASYNCIO, cancelling),
    Place("asyncio task 2, access()", Gauge, ASYNCIO, Proxy.access),
    Place("ReaderThread, guarded()", Veteran, OLD, guarded),
)


def having(lines: Container[str]) -> list[Place]:
    """Those who use one of these."""
    return [place for place in ROSTER if place.line in lines]
