"""Fails the test that leaves something behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .span import Span, Spanning

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

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        mark = item.get_closest_marker("ref_proxy_leaks")
        if self._everywhere if mark is None else mark.args[0] if mark.args else mark.kwargs.get("on", True):
            self.span = Span()
        self._passed = True
        try:
            return (yield)
        finally:
            self.span = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self._passed = self._passed and report.passed
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        span, self.span = self.span, None  # one teardown is the test's; an unplugged run of it looks after itself
        try:
            result = yield
            if span is not None and self._passed and (leaks := span.leaks()):
                lines = "".join(f"    {leak}\n" for leak in leaks)
                pytest.fail(f"the test leaves behind what it began:\n{lines}{WHAT_TO_DO}", pytrace=False)
            return result
        finally:
            if span is not None:
                span.clear()
