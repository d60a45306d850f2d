"""What came into being while a test ran, and what is left of it in the end."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from .. import report
from .._backend import Proxy, Section
from ..device import Device
from ..provider import Provider
from ..waiting import start
from . import places

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from ..report import Note

__all__ = ["Leak", "Span", "Spanning"]


class Leak(NamedTuple):
    """What a test leaves behind: what it is, in which state; where it began; the provider, device or proxy, if it exists."""

    what: str
    note: Note
    thing: Any

    @property
    def is_section(self) -> bool:
        """Whether it is a section, and not a provider or a device."""
        return self.what.startswith("section")

    def __str__(self) -> str:
        return f"{self.what}; {'begun' if self.is_section else 'made'} at {places.innermost(self.note.stack)}"


class Span:
    """All that comes into being from now on, but for what is set `aside()`."""

    def __init__(self) -> None:
        self._before = _notes()
        self._aside = False

    @contextmanager
    def aside(self) -> Generator[None]:
        """Leave out what comes into being in here: it outlives the test, for it is of a fixture with a wider scope."""
        before, outer = _notes(), self._aside
        self._aside = True
        try:
            yield
        finally:
            self._aside = outer
            self._before |= _notes() - before

    def _own(self) -> dict[int, Note]:
        return {token: note for token, note in report.notes.copy().items() if note not in self._before}

    def providers(self) -> list[Provider[Any]]:
        """The providers that were made, and still exist. While something is set aside it is not known whose they are: none."""
        return [] if self._aside else [made for note in self._own().values() if isinstance(made := note.of(), Provider)]

    def leaks(self) -> list[Leak]:
        """What is left behind: open sections, live providers and devices, and what was dropped while it was open or live."""
        found: list[Leak] = []
        for token, note in self._own().items():
            thing = note.of()
            if note.dropped:
                found.append(Leak(f"{note.dropped}, dropped", note, None))
            elif isinstance(thing, Proxy):
                if any(section[4] == token for section in _sections(thing)):
                    found.append(Leak(f"section of {report.which(thing.name, thing._cell.name)}, open", note, thing))
            elif thing is not None and _is_live(thing):
                found.append(Leak(f"{type(thing).__name__.lower()} {thing.name!r}, live", note, thing))
        # A device stands for all that goes with it.
        parts = {
            part for leak in found if isinstance(leak.thing, Device) for part in (*leak.thing._providers, *leak.thing._children)
        }
        return [leak for leak in found if leak.thing not in parts]

    def clear(self) -> None:
        """End and revoke what is left, so that nothing of it meets the next test. Waits for nobody.

        A section of a thread that still runs is left alone: its resource may be in use.
        """
        running = {thread.ident for thread in threading.enumerate()}
        tokens: set[int] = set()
        for token, note in self._own().items():
            thing = note.of()
            if isinstance(thing, Proxy):
                tokens |= {s[4] for s in _sections(thing) if s[4] == token and (s[2] or s[1] not in running)}
            elif isinstance(thing, Provider):
                thing.revoke_soon()
            elif isinstance(thing, Device) and _is_live(thing):
                thing._deny()
                start(thing._interrupt_unwaited)
        if tokens:
            found: list[Any] = gc.get_objects()
            for each in found:
                if id(each) in tokens and isinstance(each, Section):
                    each.end()


def _notes() -> set[Note]:
    notes = list(report.notes.values())  # in one step, for other threads add to them
    return set(notes)


def _sections(proxy: Proxy[Any]) -> list[tuple[Proxy[Any], int, bool, bool, int]]:
    return proxy._cell.sections(0, proxy._cell.number)


def _is_live(thing: Provider[Any] | Device) -> bool:
    """Whether it has to be revoked or removed: a device that has nothing does not."""
    return thing.state == "live" and (isinstance(thing, Provider) or any(thing._everything()))


class Spanning:
    """A plugin that has a span while it is interested in what comes into being."""

    span: Span | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        if self.span is None or fixturedef.scope == "function":
            return (yield)
        with self.span.aside():
            return (yield)
