"""The counter of instructions: what it reads, what it calls a rise, and that it notices one that was built in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import Count, accepted, compared, parsed, verdict

pytestmark = pytest.mark.once

SOURCE = Path(__file__).parents[2] / "src/ref_proxy/_core.c"
BEFORE = {"access": Count(100, 1000)}

# The cost of a call stands with the caller, too, in the line after `calls=`; an object's name only where it comes up first.
DUMP = """\
version: 1
desc: Trigger: Client Request: 500 with proxy.access(): pass
positions: line
events: Ir

ob=(1) /usr/lib/libpython3.so
fl=(1) ceval.c
fn=(1) eval
10 100
cob=(2) /somewhere/ref_proxy/_core.cpython-311.so
cfi=(2) _core.c
cfn=(2) proxy_access
calls=500 7
+3 40
* 7

ob=(2)
fl=(2)
fn=(2)
20 30
fi=(3) object.h
-2 10

totals: 147
"""


def test_a_dump_is_read() -> None:
    assert parsed(DUMP) == ("500 with proxy.access(): pass", 40, 147)


@pytest.mark.parametrize(
    ("after", "sound"),
    [
        (Count(100, 1000), True),
        (Count(102.9, 1029), True),
        (Count(103.1, 1000), False),
        (Count(100, 1031), False),
        (Count(50, 500), True),
    ],
)
def test_a_rise_of_more_than_three_per_cent_fails(after: Count, sound: bool) -> None:
    lines, found = compared(accepted(BEFORE), {"access": after})
    assert found is sound
    assert ("RISEN" in lines[0]) is not sound
    assert verdict({"here": accepted(BEFORE)}, "here", {"access": after})[1] == (0 if sound else 1)


def test_a_fall_asks_for_a_new_baseline() -> None:
    lines, _ = compared(accepted(BEFORE), {"access": Count(90, 990)})
    assert "fallen: --accept" in lines[0]


def test_what_only_one_side_has_fails() -> None:
    assert not compared(accepted(BEFORE), {})[1]
    assert not compared(accepted({}), BEFORE)[1]


def test_of_another_build_of_the_interpreter_only_the_c_twin_is_compared() -> None:
    before = {**accepted(BEFORE), "build": "another"}
    lines, sound = compared(before, {"access": Count(100, 2000)})
    assert sound
    assert "another build" in lines[-1]
    assert not compared(before, {"access": Count(104, 1000)})[1]


def test_without_a_baseline_it_says_so_and_is_no_success() -> None:
    lines, status = verdict({"there": accepted(BEFORE)}, "here", BEFORE)
    assert status == 3
    assert "no baseline for here" in lines[-1]


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the C twin is for CPython")
def test_counts_are_repeatable_and_a_seeded_rise_is_noticed() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    source = SOURCE.read_text(encoding="utf-8")
    once, again = (instructions.count(source, instructions.PROBE, turns=20) for _ in range(2))
    assert once[instructions.PROBE].ours == again[instructions.PROBE].ours > 50
    assert compared(accepted(once), again)[1]
    risen = instructions.count(instructions.seeded(source), instructions.PROBE, turns=20)
    assert not compared(accepted(once), risen)[1]
