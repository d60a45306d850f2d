"""The storm between processes: a short one succeeds, and each fault that is put in fails.

`python -m tests.remote.storm --removals 1000` is the long one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ref_proxy
from tests.support import one_twin

pytest.importorskip("fcntl", reason="needs Unix sockets")

from .storm.faults import FAULTS

ROOT = Path(__file__).parents[2]
SEED = 1

pytestmark = [one_twin, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and becomes a subreaper")]


def storm(*arguments: str, patience: float = 55) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(Path(ref_proxy.__file__).parents[1]), str(ROOT), os.environ.get("PYTHONPATH")]))
    environ = {**os.environ, "PYTHONPATH": path, "REF_PROXY_BACKEND": ref_proxy.BACKEND}
    command = [sys.executable, "-m", "tests.remote.storm", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=patience)


@pytest.fixture(params=["unix", "postgresql"])
def address(request: pytest.FixtureRequest) -> str:
    return "unix" if request.param == "unix" else request.getfixturevalue("own_server").uri(lease=1.5)


def test_sixty_removals_in_a_storm_of_kills_hang_nowhere_release_nothing_early_and_leave_nothing(address, tmp_path):
    done = storm("--removals", "60", "--seed", str(SEED), "--json", str(tmp_path / "verdict.json"), address)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "verdict.json").read_text())
    counts = told["counts"]
    assert told["failures"] == [] and told["seed"] == SEED
    assert counts["removals"] >= 60
    assert counts["sections"] > 1000
    # That it was a storm: what is done is chosen by the seed, and the moment alone is the machine's.
    for what in ("killed", "kills at a line", "stopped", "drained", "replace", "revoke", "attached", "refused"):
        assert counts[what], f"nothing was proved of: {what}"


# It ends at what it finds. The moments are the machine's, and the fault that is met most seldom is met once in some 100 removals.
@pytest.mark.once
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_put_in_fails(fault):
    done = storm("--removals", "2000", "--seed", str(SEED), "--patience", "8", "--broken", fault, patience=170)
    assert done.returncode == 1 and "FAILURE: " in done.stdout, done.stdout + done.stderr
