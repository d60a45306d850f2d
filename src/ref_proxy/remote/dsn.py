"""What a PostgreSQL address says: where the server is, how long a lease is, and what of it may be shown to anybody."""

from __future__ import annotations

import re
from typing import NamedTuple

from .address import shown

__all__ = ["LEASE", "Dsn", "parse"]

LEASE = 10.0  # seconds
_LOGIN = re.compile(r"[^@/]*@")  # as libpq has it: a password may have '?' and '#' in it
LONGEST = 1_000_000  # the server counts its milliseconds, and half as many more, in 32 bits


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
    scheme, slashes, rest = uri.partition("://")
    login = _LOGIN.match(rest)
    start = login.end() if login else 0
    place, mark, query = rest[start:].partition("?")
    if "@" in place and ":" in rest[: rest.rindex("@")]:  # in messages of libpq a part of a password would be that of a host
        raise ValueError(
            f"{shown(uri)!r} is ambiguous: percent-encode what a name or password has of '/', '@' and '#' (as %2F, %40, %23)"
        )
    place = scheme + slashes + rest[:start] + place
    lease, options = LEASE, list[str]()
    for option in query.split("&") if mark else ():
        key, _, value = option.partition("=")
        if key == "lease":
            lease = _lease(value)
        elif option:
            options.append(option)
    conninfo = place + ("?" + "&".join(options) if options else "")
    return Dsn(conninfo, lease, shown(conninfo))


def _lease(text: str) -> float:
    try:
        lease = float(text)
    except ValueError:
        lease = -1.0
    if not 0 < lease <= LONGEST:  # NaN too
        raise ValueError(f"lease={text} in a postgresql:// address is no number of seconds above 0, and at most {LONGEST}")
    return lease
