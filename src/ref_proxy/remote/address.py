"""Addresses: which back end, and which name. `unix:NAME`, `unix:/path/to/socket`, `postgresql://user@host/database#NAME`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend import Backend

__all__ = ["NAME", "check_name", "find", "shown", "split"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OPTION = re.compile(r"([?&](?:ssl)?password=)[^&#]*", re.IGNORECASE)
# To the last @: a password may have in it what it should not. Better too much than a part of it.
_PASSWORD = re.compile(r"(?<=://)([^:]*):.*(?=@)", re.DOTALL)


def find(address: str) -> tuple[Backend, str]:
    """The back end of an address, and the name there. Raises `ValueError` for a bad one."""
    backend, name = split(address)
    if name is None:
        with_name = "unix:NAME" if address.startswith("unix:") else shown(address) + "#NAME"
        raise ValueError(f"{shown(address)!r} has no name: write it as {with_name}")
    return backend, name


def split(address: str) -> tuple[Backend, str | None]:
    """The same, for an address that may stand for all names of its back end."""
    if not isinstance(address, str):
        raise TypeError(f"an address is a str such as 'unix:NAME', not {type(address).__name__}")
    scheme, colon, rest = address.partition(":")
    if colon and scheme == "unix":
        from . import unix

        return unix.backend(), rest if rest.startswith("/") else check_name(address, rest)
    if colon and scheme in {"postgresql", "postgres"}:
        from . import postgres

        conninfo, _, name = address.rpartition("#")
        if not conninfo or "@" in name:  # it is in a password
            conninfo, name = address, ""
        return postgres.backend(conninfo), check_name(address, name)
    raise ValueError(
        f"{shown(address)!r} is no address: it begins with {scheme + ':' if colon else 'no scheme'}, and there are "
        f"'unix:{address if NAME.fullmatch(address) else 'NAME'}' and 'postgresql://user@host/database#NAME'"
    )


def shown(address: str) -> str:
    """An address without its password: what messages have."""
    return _PASSWORD.sub(r"\1", _OPTION.sub(r"\1...", address))


def check_name(address: str, name: str) -> str | None:
    """The name, if it is a good one; None for none. Raises `ValueError`."""
    if name and not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: 1 to 64 letters, digits, and '._-', of which the first is a letter or a digit")
    return name or None
