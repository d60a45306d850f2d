"""One run of a test that is unplugged: at which access, and what comes of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from .. import report
from ..errors import Revoked
from . import places
from .hang import Watchdog, where_all_stand
from .span import Span
from .watch import listening

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from .._backend import Proxy

__all__ = ["Accesses", "Failure", "Point", "Terms"]

_NO_FAILURE = (pytest.skip.Exception, pytest.xfail.Exception)


class Terms(NamedTuple):
    """What a marker grants: which exceptions may escape besides `Revoked`, and how many seconds a run may take."""

    allow: Any  # a type, or a tuple: what `isinstance()` takes
    timeout: float


class Failure(NamedTuple):
    """What went wrong when a test was unplugged: at which access, where that is, and what happened, in lines."""

    access: int
    place: str
    lines: tuple[str, ...]


class Accesses:
    """The accesses of one run, and the one just before which its provider is revoked.

    Those to providers that are live, and that the test or a fixture of its own made: only they are there anew for the next run.
    Each has a number, which is its turn in this run, in whatever thread it is made.
    """

    def __init__(self, unplug: int = 0) -> None:
        self.span = Span()
        self.others = 0  # to providers that were there before
        self.place = ""  # where the one is at which it was unplugged
        self._unplug = unplug
        self._numbers = count(1)

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count, and unplug, in here."""
        with listening(self._before):
            yield
        self.total = next(self._numbers) - 1

    def _before(self, proxy: Proxy[Any]) -> None:
        cell = proxy._cell
        if not cell.live:
            return
        provider = next((each for each in self.span.providers() if each._cell is cell), None)
        if provider is None:
            self.others += 1
        elif next(self._numbers) == self._unplug:
            self.place = f"{places.place(*places.caller())}, by {report.which(proxy.name, provider.name)}"
            provider.revoke_soon()  # not revoke(): this thread may be inside another section, or be what the release waits for


class Point:
    """A run of a test, unplugged at one access.

    Args:
        item: the test. All its own fixtures are set up for this run, and torn down.
        number: that of the access.
        terms: what may happen.
    """

    def __init__(self, item: pytest.Item, number: int, terms: Terms) -> None:
        self.accesses = Accesses(number)
        self.hangs = False
        self._item = item
        self._number = number
        self._terms = terms
        self._lines: list[str] = []
        self._ended: list[str] = []  # threads, by what they may end with
        self._stood: list[str] = []

    def run(self) -> Failure | None:
        """Run the test, and return what went wrong."""
        item, hook = self._item, self._item.ihook
        _renew(item)
        with self.accesses.counted(), self._hearing_of_threads():
            try:
                if self._phase(lambda: hook.pytest_runtest_setup(item=item)):
                    self._phase(lambda: hook.pytest_runtest_call(item=item))
            finally:
                self._phase(lambda: hook.pytest_runtest_teardown(item=item, nextitem=item.parent))
                self._lines += [f"leaves behind: {leak}" for leak in self.accesses.span.leaks() if leak.is_section]
                self.accesses.span.clear()
        if not self._lines or not self.accesses.place:
            return None
        return Failure(self._number, self.accesses.place, tuple(self._lines))

    def _phase(self, run: Callable[[], object]) -> bool:
        """Whether it went through."""
        watchdog = Watchdog(self._terms.timeout, self._look)
        escaped: list[BaseException] = []
        try:
            with watchdog:
                run()
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            escaped.append(error)
        escaped += _unittests(self._item)
        if watchdog.barked:
            if not self.hangs:
                self._lines += [f"hangs: broken off after {self._terms.timeout:g} s; then", *_indented(self._stood + self._ended)]
            self.hangs = True
            return False
        for each in escaped:
            self._escaped(each)
        return not escaped

    def _look(self) -> None:
        self._stood = where_all_stand()
        for provider in self.accesses.span.providers():
            if provider.state == "draining":
                inside = report.describe(provider.blockers())
                self._stood.append(f"provider {provider.name!r} was draining, and inside was {inside}")

    def _escaped(self, error: BaseException, thread: str = "") -> None:
        for each in _leaves(error):
            if not isinstance(each, (Revoked, self._terms.allow, *_NO_FAILURE)):
                told = places.told(each)
                self._lines += [f"thread {thread} ends with", *_indented(told)] if thread else told
            elif thread:
                self._ended.append(f"thread {thread} had ended with {type(each).__name__}")

    @contextmanager
    def _hearing_of_threads(self) -> Generator[None]:
        """What escapes from a thread is judged here, and not warned of by pytest."""

        def escaped(args: threading.ExceptHookArgs) -> None:
            if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
                self._escaped(args.exc_value, "?" if args.thread is None else repr(args.thread.name))

        old, threading.excepthook = threading.excepthook, escaped
        try:
            yield
        finally:
            threading.excepthook = old


def _renew(item: pytest.Item) -> None:
    """Have a test forget its last run: its fixtures, and the instance of its class."""
    if isinstance(item, pytest.Function):
        item._initrequest()
        if vars(item).get("_instance") is not None:
            item._obj = None  # pyright: ignore[reportAttributeAccessIssue]
            del item._instance


def _unittests(item: pytest.Item) -> list[BaseException]:
    """What a test of `unittest` raised, which pytest keeps until the report."""
    found: list[pytest.ExceptionInfo[BaseException]] = vars(item).pop("_excinfo", None) or []
    return [each.value for each in found]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions that a group is made of, at its ends; or this one, if it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for each in group.exceptions for leaf in _leaves(each)]
