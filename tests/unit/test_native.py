"""The measurements in C run, and have a row for every measure; the prototypes of locks are locks. No figure is judged here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux") or sys.implementation.name != "cpython", reason="for CPython on Linux"
)
pytestmark = [pytest.mark.once, LINUX, pytest.mark.timeout(120)]
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
ENVIRON.pop("REF_PROXY_BACKEND", None)
FLAVOURS = ("memb", "mb", "bp", "qsbr")

CHECK = """
import json, os
from benchmarks.native.program import module
native, _ = module()
lost = {name: native.stripe_check(name, 20_000) for name in native.locks if name != "nothing"}
# Without a lock steps must be lost, or nothing was tried; two threads with one processor seldom meet.
lost["nothing"] = next((found for _ in range(100) if (found := native.stripe_check("nothing", 1_000_000))), 0)
print(json.dumps(lost))
"""


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], env=ENVIRON, cwd=ROOT, capture_output=True, text=True, check=False)
    if "could not be built" in done.stderr and "Python.h" in done.stderr:
        pytest.skip("there are no headers of Python")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_measure_in_c_has_a_row_with_a_finite_figure_or_says_why_not(tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    run("-m", "benchmarks.native", "--quick", "--json", str(target))
    rows = json.loads(target.read_text(encoding="utf-8"))["rows"]
    found = {row["what"]: row for row in rows}
    assert found["access and end"]["limit"] in {6.0, 15.0}
    assert found["the same through the C interface, over that"]["limit"] == 3.0
    assert (found["liburcu-mb's : access and end"]["limit"], found["liburcu-mb's : access and end"]["at_least"]) == (4.0, True)
    for flavour in FLAVOURS:
        for readers in ("no reader", "one idle reader"):
            assert f"{readers}: liburcu-{flavour}, `synchronize_rcu()`" in found
    for row in rows:
        if row["median"] is None:
            assert "liburcu-dev" in row["note"], row
        else:
            assert all(math.isfinite(row[name]) for name in ("median", "low", "high")), row
    assert found["access and end"]["median"] > 0


@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: ())(0)) < 2, reason="two threads with one processor do not meet"
)
def test_the_locks_of_the_prototypes_exclude_and_none_does_not() -> None:
    lost = json.loads(run("-c", CHECK))
    assert lost.pop("nothing") > 0
    assert "exchange" in lost
    assert set(lost.values()) == {0}, lost
