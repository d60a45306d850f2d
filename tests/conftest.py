"""Which twin is under test: it is said at the top of each run, and made sure of. A run with the wrong one would prove nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import ref_proxy

ROOT = Path(__file__).parents[1]
ASKED = os.environ.get("REF_PROXY_BACKEND", "auto")


def _gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def pytest_report_header() -> str:
    return f"ref_proxy: twin {ref_proxy.BACKEND!r} (asked for: {ASKED!r}), {'with' if _gil() else 'without'} the GIL"


def pytest_sessionstart() -> None:
    import sysconfig

    if ASKED != "auto" and ref_proxy.BACKEND != ASKED:
        pytest.exit(f"REF_PROXY_BACKEND={ASKED}, but the twin that was loaded is {ref_proxy.BACKEND!r}", returncode=4)
    if ROOT / "src" not in Path(ref_proxy.__file__).parents:
        pytest.exit(f"these are the tests of {ROOT}, but ref_proxy comes from {ref_proxy.__file__}", returncode=4)
    if sysconfig.get_config_var("Py_GIL_DISABLED") and _gil():
        pytest.exit("the GIL has been switched back on in a free-threaded interpreter", returncode=4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from ref_proxy.torture.forks import forbidden_by_sanitizer

    why = forbidden_by_sanitizer()
    if why is None:
        return
    for item in items:
        if isinstance(item, pytest.Function) and "in_child" in item.function.__code__.co_names:
            item.add_marker(pytest.mark.skip(reason=why))
