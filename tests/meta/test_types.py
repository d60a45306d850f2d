"""What users write type-checks, and what they must not write does not: `tests/types`, under mypy and pyright."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.once, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "types"


def mypy(path: Path) -> set[int]:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", str(path)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in {0, 1}, run.stdout + run.stderr
    found = re.findall(r"^(.*?):(\d+): error: ", run.stdout, re.MULTILINE)
    assert {Path(name).name for name, _ in found} <= {path.name}, run.stdout
    return {int(line) for _, line in found}


def pyright(path: Path) -> set[int]:
    run = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode in {0, 1}, run.stdout + run.stderr
    return {found["range"]["start"]["line"] + 1 for found in json.loads(run.stdout)["generalDiagnostics"]}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_users_write_type_checks(checker) -> None:
    assert checker(EXAMPLES / "good.py") == set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_misuse_does_not_type_check(checker) -> None:
    path = EXAMPLES / "bad.py"
    marked = {number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# error")}
    assert marked
    assert checker(path) == marked
