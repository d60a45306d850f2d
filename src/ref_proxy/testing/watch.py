"""Watches the library while tests run: where things began is noted, and accesses are heard of before they are decided."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import report
from .._backend import trace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from .._backend import Proxy

__all__ = ["listening", "watching"]

_watched = False
_listener: Callable[[Proxy[Any]], object] | None = None


def _tracer(proxy: Proxy[Any], token: int) -> None:
    if token != 0:
        report.note_access(proxy, token)
    elif _listener is not None:
        _listener(proxy)


@contextmanager
def watching() -> Generator[None]:
    """Note what is made and begun, as REF_PROXY_DEBUG=1 does. May be nested, as test runs are."""
    global _watched
    before = _watched, report.noting
    _watched = report.noting = True
    trace(_tracer)
    try:
        yield
    finally:
        _watched, report.noting = before
        trace(_tracer if _watched else report.note_access if report.noting else None)


@contextmanager
def listening(listener: Callable[[Proxy[Any]], object]) -> Generator[None]:
    """Have `listener(proxy)` called, while watching, before it is decided whether an access is granted: it may revoke."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
