"""Runs a test once to count its accesses, and then once for each of them, with the resource revoked just before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from .point import Accesses, Failure, Point, Terms
from .span import Spanning

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Any

__all__ = ["Unplug", "summarise"]

_HANGS_ENOUGH = 3  # each costs a whole timeout


class Unplug(Spanning):
    """Runs the tests that are marked `unplug`.

    The test passes when it does so by itself, and at each access either passes or lets nothing escape but what it may.

    Args:
        config: where the options are.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._limit: int | None = config.getoption("--unplug-limit")
        self._timeout: str = config.getini("unplug_timeout")
        self._came_back = False
        self._funcargs: object = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        # Asked here, for the report of a test that is expected to fail does not say it.
        self._came_back = False
        self._funcargs = getattr(item, "funcargs", None)
        result = yield
        self._came_back = not getattr(item, "_excinfo", None)
        return result

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        mark = item.get_closest_marker("unplug")
        if mark is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._run(item, nextitem, mark)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None, mark: pytest.Mark) -> None:
        """Make of all runs the three reports of one test. What is wider than the test is set up and torn down once."""
        hook, accesses = item.ihook, Accesses()
        self.span = accesses.span
        with accesses.counted():
            setup, *calls, teardown = runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
        hook.pytest_runtest_logreport(report=setup)
        for report in calls:
            if not (self._came_back and setup.passed and teardown.passed):
                hook.pytest_runtest_logreport(report=report)
            else:
                funcargs = self._funcargs
                call = pytest.CallInfo[None].from_call(
                    lambda: self._unplug(item, accesses, mark), when="call", reraise=(pytest.exit.Exception, KeyboardInterrupt)
                )
                vars(item)["funcargs"] = funcargs  # for those who look at them when a report is made
                hook.pytest_runtest_logreport(report=hook.pytest_runtest_makereport(item=item, call=call))
                vars(item)["funcargs"] = None
        self.span = None
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None
        last = pytest.CallInfo[None].from_call(lambda: item.session._setupstate.teardown_exact(nextitem), when="teardown")
        if last.excinfo is not None:
            teardown = hook.pytest_runtest_makereport(item=item, call=last)
        teardown.user_properties = list(item.user_properties)
        hook.pytest_runtest_logreport(report=teardown)

    def _unplug(self, item: pytest.Item, accesses: Accesses, mark: pytest.Mark) -> None:
        terms = _terms(mark, float(self._timeout))
        if accesses.total == 0:
            pytest.fail(_nothing_to_unplug(accesses), pytrace=False)
        numbers = spread(accesses.total, self._limit)
        properties, sections = list(item.user_properties), list(item._report_sections)  # of the first run; no other's are kept
        failures: list[Failure] = []
        done = missed = hangs = 0
        for number in numbers:
            point = Point(item, number, terms)
            self.span = point.accesses.span
            failure = point.run()
            done += bool(point.accesses.place)
            missed += not point.accesses.place
            hangs += point.hangs
            if failure is not None:
                failures.append(failure)
            if hangs == _HANGS_ENOUGH:
                break
        left_out = [
            *([f"--unplug-limit {self._limit}"] if len(numbers) < accesses.total else []),
            *([f"{missed} {'run' if missed == 1 else 'runs'} did not come so far"] if missed else []),
            *([f"given up after {hangs} that hang"] if done + missed < len(numbers) else []),
        ]
        scope = f"{done} of {accesses.total} accesses" + (f" ({', '.join(left_out)})" if left_out else "")
        item.user_properties[:] = [*properties, ("unplug", scope)]
        item._report_sections[:] = [] if failures else sections
        if failures:
            pytest.fail(_verdict(failures, scope), pytrace=False)


def _terms(mark: pytest.Mark, timeout: float) -> Terms:
    def read(allow: Any = (), timeout: float = timeout) -> Terms:
        isinstance(None, allow)  # raises where it is no type, or tuple of types
        if not timeout > 0:
            raise TypeError(f"timeout must be more than 0 seconds, not {timeout!r}")
        return Terms(allow, timeout)

    try:
        return read(*mark.args, **mark.kwargs)
    except TypeError as error:
        reason = str(error).replace(read.__qualname__ + "()", "it").replace("isinstance() arg 2", "allow")
        raise pytest.fail.Exception(f"@pytest.mark.unplug(allow=(), timeout=None): {reason}", pytrace=False) from None


def spread(total: int, limit: int | None) -> list[int]:
    """The numbers from 1 to `total`, or `limit` of them, evenly spread, the first and the last among them."""
    if limit is None or total <= limit:
        return list(range(1, total + 1))
    return [1 + i * (total - 1) // max(1, limit - 1) for i in range(limit)]


def _nothing_to_unplug(accesses: Accesses) -> str:
    text = "nothing to unplug: the test made no access to a provider of its own"
    if accesses.others:
        text += f"; {accesses.others} went to providers that were there before: make them in a fixture of scope 'function'"
    return text


def _verdict(failures: Sequence[Failure], scope: str) -> str:
    alike: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for access, place, lines in failures:
        alike.setdefault((place, lines), []).append(access)
    text = [f"unplugged at {scope}, the test fails at {len(failures)}:"]
    for (place, lines), numbers in alike.items():
        text += ["", f"{_numbered(numbers)}: {place}", *(f"    {line}" for line in lines)]
    text += ["", "Only Revoked may escape; let it through, handle it, or name what else may: @pytest.mark.unplug(allow=...)"]
    return "\n".join(text)


def _numbered(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"accesses {', '.join(first)} and {last}" if first else f"access {last}"


def summarise(terminal: pytest.TerminalReporter, told: Sequence[tuple[str, str]]) -> None:
    """Say at the end of a run which tests were not unplugged at all their accesses; if the run is verbose, all."""
    shown = [(nodeid, text) for nodeid, text in told if "(" in text or terminal.config.get_verbosity() > 0]
    if shown:
        terminal.section("unplugged")
        for nodeid, text in shown:
            terminal.line(f"{nodeid}: {text}")
