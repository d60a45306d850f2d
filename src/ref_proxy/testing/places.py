"""Places in the user's own code: what stands between them, in Python's library, in pytest and in here, is left out."""

from __future__ import annotations

import linecache
import os
import sys
import traceback
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from traceback import FrameSummary

__all__ = ["caller", "innermost", "lines_of", "place", "told"]

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_STANDARD = os.path.dirname(os.__file__) + os.sep
_SITE = os.path.dirname(os.path.dirname(pytest.__file__)) + os.sep
_PYTEST = os.path.join(_SITE, "_pytest") + os.sep
_RUNNERS = tuple(_SITE + name for name in ("_pytest", "pytest", "pluggy", "anyio", "trio"))


def _is_users(filename: str) -> bool:
    if filename.startswith(("<frozen ", _PACKAGE, *_RUNNERS)):
        return False
    return filename.startswith(_SITE) or not filename.startswith(_STANDARD)


def _shown(filename: str) -> str:
    return filename.removeprefix(os.getcwd() + os.sep)


def caller() -> tuple[str, int, str]:
    """The file, line and function of the user's own from which this thread came here."""
    frame = sys._getframe()
    while frame.f_back is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name


def place(filename: str, line: int, function: str) -> str:
    """One place, in a phrase."""
    return f"{_shown(filename)}:{line} in {function}"


def innermost(stack: Sequence[FrameSummary]) -> str:
    """The last place of the user's on a stack."""
    for each in reversed(stack):
        if _is_users(each.filename):
            return place(each.filename, each.lineno or 0, each.name)
    return "a place outside of your code"


def lines_of(stack: Sequence[FrameSummary]) -> list[str]:
    """A line for each place of the user's on a stack, with what stands there. Who calls pytest is not the user."""
    first = max((number for number, each in enumerate(stack) if each.filename.startswith(_PYTEST)), default=0)
    return [
        f"{place(each.filename, each.lineno or 0, each.name)}: {linecache.getline(each.filename, each.lineno or 0).strip()}"
        for each in stack[first:]
        if _is_users(each.filename)
    ]


def told(error: BaseException) -> list[str]:
    """An exception, in lines: where it passed, what it is, and what it came from."""
    lines = lines_of(traceback.extract_tb(error.__traceback__))
    lines += "".join(traceback.format_exception_only(error)).splitlines()
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines.append(f"while handling {''.join(traceback.format_exception_only(cause)).splitlines()[0]}")
    return lines
