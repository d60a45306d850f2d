"""The types in `_core.pyi` are those of both twins, as mypy's stubtest sees them at run time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ref_proxy

pytestmark = [pytest.mark.once, pytest.mark.timeout(180)]

PACKAGE = Path(ref_proxy.__file__).parent
# C has no finaliser by that name, and no `__all__`.
PYTHON_ONLY = ["__all__", "Section.__del__"]
# What may be derived from has fields of its own: in Python it has `__slots__` to say so, in C stubs would say `@disjoint_base`.
C_ONLY = ["Handle"]
if sys.version_info < (3, 14):
    C_ONLY.append("Section.__call__")  # how `with` enters and leaves it there


def stubtest(folder: Path, module: str, change: tuple[str, str] = ("", "")) -> str:
    """What stubtest finds wrong with `module`, in a copy where `_core.pyi` is its stub, changed as said."""
    package = folder / "ref_proxy"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("*.pyi", "__pycache__", "demo"))
    stub = (PACKAGE / "_core.pyi").read_text()
    assert change[0] in stub
    (package / f"{module}.pyi").write_text(stub.replace(*change))
    allowed = folder / "allowed"
    allowed.write_text("".join(f"ref_proxy.{module}.{name}\n" for name in (C_ONLY if module == "_core" else PYTHON_ONLY)))
    run = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--concise", "--allowlist", str(allowed), f"ref_proxy.{module}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "MYPYPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not run.stderr, run.stderr
    return "" if run.returncode == 0 else run.stdout


@pytest.mark.parametrize("module", ["_core", "_core_py"])
def test_the_stub_is_true(module: str, tmp_path: Path) -> None:
    if module == "_core" and ref_proxy.BACKEND != "c":
        pytest.skip("the C twin is not under test")
    assert stubtest(tmp_path, module) == ""


def test_a_false_stub_is_caught(tmp_path: Path) -> None:
    assert "detach" in stubtest(tmp_path, "_core_py", ("def detach(self)", "def detach(self, now: bool)"))
