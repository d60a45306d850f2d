"""The command line: who announces what, who holds it, and its removal from outside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..errors import RevokeTimeout
from . import outside
from .address import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .records import Holder, Survey

__all__ = ["DONE", "NOT_DONE", "UNUSABLE", "run_list", "run_revoke"]

DONE, NOT_DONE, UNUSABLE = 0, 1, 2


def run_list(addresses: Sequence[str]) -> int:
    """Print what is announced there, and who holds it."""
    status = DONE
    for address in addresses or ["unix:"]:
        try:
            found = outside.survey(_full(address))
        except (OSError, ValueError, ImportError) as error:
            status = _complain(error)
            continue
        if not found:
            _say(f"{shown(address)}: nothing is announced")
        for each in found:
            _say("\n".join(_told(each)))
            status = UNUSABLE if each.state == "unknown" else status
    return status


def run_revoke(address: str, timeout: float | None, fence_after: float | None) -> int:
    """Have the owner remove it, and print how that ended, or who holds it up."""
    what = shown(address)
    try:
        outcome = outside.revoke(_full(address), timeout, fence_after=fence_after)
    except RevokeTimeout as late:
        _say(f"{what} is denied to everybody, but was not released within {timeout} s; still held by")
        _say("\n".join(_holders(late.holders) or ["  the owner itself: " + str(late)]))
        return NOT_DONE
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return _complain(error)
    if outcome.state == "drained":
        _say(f"{what}, epoch {outcome.epoch}: nobody uses it any more, and it was released")
        return DONE
    _say(f"{what}, epoch {outcome.epoch}: it was released, but these were cut off, and may still use what they have taken")
    _say("\n".join(_holders(outcome.holders)))
    return NOT_DONE


def _say(text: str, *, wrong: bool = False) -> None:
    """Print it, in whatever the other end of the pipe can spell."""
    file = sys.stderr if wrong else sys.stdout
    encoding = file.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=file)


def _full(address: str) -> str:
    """A plain name is one of this host."""
    return address if ":" in address else f"unix:{address}"


def _complain(error: Exception) -> int:
    _say(f"ref-proxy remote: {getattr(error, 'strerror', None) or error}", wrong=True)
    return UNUSABLE


def _told(found: Survey) -> list[str]:
    if found.state == "unknown":
        return [f"{found.address}: {found.owner}"]
    head = [f"{found.address}, epoch {found.epoch}, {found.state}", f"  owner   {found.owner}"]
    return head + (_holders(found.holders) or ["  held by nobody else"])


def _holders(holders: Iterable[Holder]) -> list[str]:
    lines: list[str] = []
    for holder in holders:
        proxies = f", proxies {', '.join(map(repr, holder.proxies))}" if holder.proxies else ""
        lines.append(f"  holder  process {holder.pid} ({holder.process}) on {holder.host}, {holder.state}{proxies}")
        lines += [f"          inside: {section}" for section in holder.inside]
    return lines
