"""Importing the package is cheap: nothing but a few modules of the standard library, of which none is slow to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ref_proxy

SOURCE = Path(ref_proxy.__file__).parents[1]
SLOW = {"asyncio", "dataclasses", "inspect", "logging", "threading", "traceback", "tracemalloc", "typing"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a statement loads in a bare interpreter."""
    code = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
before = set(sys.modules)
{statement}
print(*{{name.partition('.')[0] for name in set(sys.modules) - before}})
"""
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env={**os.environ, "REF_PROXY_BACKEND": ref_proxy.BACKEND},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def test_import_loads_the_standard_library_alone_and_nothing_slow() -> None:
    loaded = loaded_by("import ref_proxy") - {"ref_proxy"}
    assert loaded <= set(sys.stdlib_module_names)
    assert not loaded & SLOW


def test_a_slow_import_is_caught() -> None:
    assert loaded_by("import ref_proxy, logging") & SLOW


def test_a_backend_that_does_not_exist_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import ref_proxy"],
        env={**os.environ, "REF_PROXY_BACKEND": "rust"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ImportError: REF_PROXY_BACKEND is 'rust': it must be 'c', 'py' or 'auto'" in run.stderr
