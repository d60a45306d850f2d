"""What a PostgreSQL address says: where the server is, how long a lease is, and what of it may be shown to anybody."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

from .address import shown

__all__ = ["LEASE", "Dsn", "parse"]

LEASE = 10.0  # seconds


class Dsn(NamedTuple):
    """What libpq is given, how long a lease is, and the address as messages have it."""

    conninfo: str
    lease: float
    shown: str

    def address(self, name: str) -> str:
        """The address of a name there, for messages."""
        return f"{self.shown}#{name}"


def parse(uri: str) -> Dsn:
    """Take `lease=SECONDS`, which is ours, out of its query. Raises `ValueError`."""
    place, mark, query = uri.partition("?")
    lease, rest = LEASE, list[str]()
    for option in query.split("&") if mark else ():
        key, _, value = option.partition("=")
        if key == "lease":
            lease = _lease(value)
        elif option:
            rest.append(option)
    conninfo = place + ("?" + "&".join(rest) if rest else "")
    return Dsn(conninfo, lease, shown(conninfo))


def _lease(text: str) -> float:
    try:
        lease = float(text)
    except ValueError:
        lease = -1.0
    if not (isfinite(lease) and lease > 0):
        raise ValueError(f"lease={text} in a postgresql:// address is no number of seconds above 0")
    return lease
