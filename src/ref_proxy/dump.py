"""What there is in this process: for a debugger, a signal handler, a support request."""

from __future__ import annotations

import gc
import os
import sys

from . import report
from ._backend import BACKEND
from .provider import Provider, Revocation
from .srcu import Domain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

__all__ = ["dump"]


def dump(file: TextIO | None = None) -> None:
    """Print all live providers of the process and those being removed, with their open sections and where each of those stands.

    From anywhere, also a debugger or a signal handler: `signal.signal(signal.SIGUSR1, lambda *_: ref_proxy.dump())`. With
    REF_PROXY_DEBUG=1 in the environment it also tells where each provider was made and each section began.

    Guarantees: S13, S19. Blocks: never, but for the writing. Args: `file` is where to; the standard error where it is left out.
    Cost: one pass over the process's objects; the sections notice nothing.

    >>> import sys
    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> section = provider.proxy("reader").access()
    >>> dump(sys.stdout)
    ref_proxy in process ..., twin ...
    provider 'line', live, 1 section open
      proxy 'reader' of 'line' in thread 'MainThread'
        is at
    ...
    >>> section.end()
    """
    objects: list[Any] = [each for each in gc.get_objects() if isinstance(each, (Revocation, Domain)) and _is_made(each)]
    made = {
        id(provider._cell): f", made at {note.stack[-1].filename}:{note.stack[-1].lineno}"
        for note in list(report.notes.values())
        if isinstance(provider := note.of(), Provider)
    }
    lines = [f"ref_proxy in process {os.getpid()}, twin {BACKEND!r}:\n"]
    for removal in objects:
        if isinstance(removal, Revocation) and removal._final and not removal.done:
            state = "live" if removal._cell.live else "draining"
            lines += _told(f"provider {removal._cell.name!r}, {state}", removal.blockers(), made.get(id(removal._cell), ""))
    for domain in objects:
        if isinstance(domain, Domain) and (found := report.blockers(domain._cell, 0, domain._cell.number)):
            lines += _told(f"domain {domain.name!r}", found)
    text = "".join(lines)
    out = sys.stderr if file is None else file
    try:
        out.write(text)
        out.flush()
    except RuntimeError:  # this is a signal handler, in the midst of a write to the very same file
        os.write(out.fileno(), text.encode(errors="replace"))


def _is_made(thing: Any) -> bool:
    """Whether its maker has come to the end: it may be another thread, or what this signal handler interrupts."""
    return all(hasattr(thing, name) for name in thing.__slots__)


def _told(what: str, found: list[report.Blocker], made: str = "") -> list[str]:
    return [f"{what}, {len(found)} section{'' if len(found) == 1 else 's'} open{made}\n", report.show(found)]
