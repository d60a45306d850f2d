"""Each scene holds in every schedule, and each fault fails in one."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import ModuleType

import pytest

if sys.version_info < (3, 12):
    pytest.skip("the scheduler needs sys.monitoring, which 3.11 does not have", allow_module_level=True)

from tests.schedules.faults import FAULTS, Fault, package
from tests.schedules.scenes import SCENES
from tests.schedules.scheduler import GIL, PREEMPTIONS, bound, explore, interleave_test

pytestmark = [
    # One thread runs at a time in any case: there is nothing new to be seen.
    pytest.mark.skipif(not GIL and not PREEMPTIONS, reason="the same as with the GIL, but slow: PREEMPTIONS=1 runs it"),
    pytest.mark.timeout(200),  # a scene is 10 s of work; a machine may have more to do
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return package(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("scene", SCENES)
def test_it_holds_in_every_schedule(sound: ModuleType, scene: str) -> None:
    preemptions = bound(SCENES[scene].large)
    schedules = explore(sound, SCENES[scene].play, preemptions)
    print(f"{scene}: {schedules} schedules with {preemptions} preemptions at most")
    assert schedules > 1


@pytest.mark.filterwarnings("ignore")  # of what a broken policy leaves behind
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found(tmp_path: Path, fault: Fault) -> None:
    found = first_failure(package(tmp_path, fault), fault.scene)
    gc.collect()
    print(f"{fault.name}: {found}")
    assert found


def first_failure(broken: ModuleType, scene: str) -> str:
    for preemptions in range(3):  # with as few as possible; none needs more
        try:
            explore(broken, SCENES[scene].play, preemptions)
        except (interleave_test.RaceFound, interleave_test.DeadlockError) as failure:
            return f"{type(failure).__name__}, {preemptions} preemptions, schedule {failure.result.schedules_run}"
    return ""


def test_each_scene_has_a_fault() -> None:
    assert set(SCENES) == {fault.scene for fault in FAULTS}
