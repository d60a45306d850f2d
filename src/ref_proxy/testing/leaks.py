"""Fails the test that leaves something behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .span import Leak, Span, Spanning

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Leaks"]

WHAT_TO_DO = (
    "Use `with`, or end() sections, revoke() providers and remove() devices. It has been done now, so that the next test\n"
    "does not meet them."
)


class Leaks(Spanning):
    """Checks each test when its own fixtures are torn down: what existed before it, or is a wider fixture's, is not its own.

    A test that failed anyway is not blamed for what it did not come to undo.

    Args:
        everywhere: whether tests are checked that are not marked.
    """

    def __init__(self, everywhere: bool) -> None:
        self._everywhere = everywhere
        self._passed = True
        self._found: list[Leak] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        mark = item.get_closest_marker("ref_proxy_leaks")
        if not (self._everywhere if mark is None else mark.args[0] if mark.args else mark.kwargs.get("on", True)):
            return (yield)
        self.span = Span()
        self._passed = True
        teardown = item.teardown

        def look() -> None:
            teardown()
            self._look()

        vars(item)["teardown"] = look  # it runs after the test's own fixtures are torn down, and before wider ones are
        try:
            return (yield)
        finally:
            vars(item).pop("teardown")
            self.span = None

    def _look(self) -> None:
        span, self.span = self.span, None  # once: an unplugged run of the test looks after itself
        if span is not None:
            self._found = span.leaks()
            span.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self._passed = self._passed and report.passed
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        error = None
        try:
            result = yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            found, self._found = self._found, []
            if found and self._passed:
                text = "\n".join(["the test leaves behind what it began:", *(f"    {leak}" for leak in found), WHAT_TO_DO])
                if error is None:
                    pytest.fail(text, pytrace=False)
                error.add_note(text)
        return result
