"""What must hold, whatever the schedule. Both twins' steps tell of what they do here; the code itself knows nothing of it.

`held`: which sections hold which publication's resource. `gone`: the publications whose resource was given back: released, or
returned by `replace()`.
"""

from __future__ import annotations

from typing import Any

from .explore import Memory, Wrong

NOBODY: frozenset[Any] = frozenset()
MEMORY: dict[Any, Any] = {"held": NOBODY, "gone": NOBODY, "process": "the parent"}


def hold(m: Memory, section: str, publication: Any) -> None:
    """An access is granted."""
    if publication in m["gone"]:
        raise Wrong(f"nobody holds what is gone: but section {section} was granted publication {number(publication)}'s resource")
    m["held"] |= {(section, publication)}


def let_go(m: Memory, section: str) -> None:
    """A section ends, or is about to: from here on nobody uses the resource by it."""
    m["held"] = frozenset(each for each in m["held"] if each[0] != section)


def refuse(m: Memory, denied: bool) -> None:
    """An access is refused."""
    if not denied:
        raise Wrong("an access is granted while the provider is live: but one was refused")


def nobody_holds(m: Memory, last: int) -> None:
    """The sections of all publications up to `last` have ended."""
    for section, held in sorted(m["held"], key=str):
        if number(held) <= last:
            raise Wrong(f"nobody holds what is gone: but section {section} holds publication {number(held)}'s resource")


def give_back(m: Memory, publication: Any) -> None:
    """The resource is released, or returned by `replace()`."""
    for section, held in sorted(m["held"], key=str):
        if held == publication:
            raise Wrong(f"nobody holds what is gone: but section {section} holds publication {number(held)}'s resource")
    if publication in m["gone"]:
        raise Wrong(f"what is gone is gone once: but publication {number(publication)}'s resource was given back again")
    m["gone"] |= {publication}


def number(publication: Any) -> Any:
    return publication[0] if isinstance(publication, tuple) else publication


def release(m: Memory, publication: Any) -> None:
    """The final resource is released, by the first removal that comes to it."""
    if publication not in m["gone"]:
        give_back(m, publication)


def fork(m: Memory, me: str) -> None:
    """In the child nobody uses the resource but the thread that forked."""
    m["process"] = me
    m["held"] = frozenset(each for each in m["held"] if m["thread", each[0]] == me)


def nothing_is_held(m: Memory) -> None:
    if m["held"]:
        raise AssertionError("a program of the model has ended with an open section")
    sleepers = [rope[1] for rope in m["ropes"] if rope[0] == "sleeper"]
    if sleepers and m["process"] == "the parent":
        raise Wrong(f"a wait leaves nothing: but the ropes of {', '.join(sleepers)} still hang there")


def owed(what: str) -> Wrong:
    return Wrong(f"in the end nothing is owed: but {what}")
