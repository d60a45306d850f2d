"""The example packages are built, installed and tested, as whoever copies them would do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ref_proxy
from tests import building

pytestmark = [pytest.mark.once, pytest.mark.timeout(200)]

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/pyproject.toml"))


def run(*command: object, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CFLAGS", "PYTEST"))}
    return subprocess.run(
        [*map(str, command)],
        cwd=where,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.skipif(ref_proxy.BACKEND != "c", reason="the Python twin has no C interface")
@pytest.mark.skipif(not building.compiler(), reason="there is no C compiler")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_built_and_passes_its_tests(name: str, tmp_path: Path) -> None:
    copy, packages = tmp_path / name, tmp_path / "packages"
    shutil.copytree(ROOT / "examples" / name, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check", "--target", packages]
    made = run(sys.executable, "-m", "pip", "install", *options, ".", where=copy)
    assert made.returncode == 0, made.stdout + made.stderr
    shutil.rmtree(copy / "src")  # what is tested is what was installed
    path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
    tested = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", where=copy, PYTHONPATH=path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " passed" in tested.stdout
    assert "skipped" not in tested.stdout
