"""The C twin, the Python twin and the naive model agree after every step of whatever is done with them in one thread."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.machine import Machine
from tests.property.packages import load

pytestmark = pytest.mark.once

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
# The same steps in every run; a nightly one has ever new ones.
SETTINGS = settings(
    max_examples=10_000 if NIGHTLY else 200,
    stateful_step_count=100 if NIGHTLY else 50,
    derandomize=not NIGHTLY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=NIGHTLY,
)


def run(*packages: ModuleType, patient: bool = True, **changes: Any) -> None:
    class These(Machine):
        pass

    These.packages, These.patient = packages, patient
    run_state_machine_as_test(These, settings=settings(SETTINGS, **changes))


@pytest.mark.timeout(0 if NIGHTLY else 60)
def test_the_twins_do_what_the_naive_model_does() -> None:
    twins = [load("python_twin", "py")]
    try:
        twins.append(load("c_twin", "c"))
    except ImportError:
        pytest.skip("the C twin was not built")
    run(*twins)
