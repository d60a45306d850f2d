"""`ref-proxy demo --processes`: it keeps its promises, its checker notices when they are broken, and nothing is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fcntl", reason="needs POSIX signals, and fork()")
pytest.importorskip("rich", reason="needs ref-proxy[demo]")

import ref_proxy
from ref_proxy import cli, remote
from ref_proxy.demo.processes import storm
from ref_proxy.demo.processes.segment import PAGE, PAGES, Segment, sweep
from ref_proxy.demo.processes.tally import END, FENCED, KILLED, PLAIN, Tally
from tests.support import one_twin

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = one_twin
ENOUGH = 30.0  # seconds that a storm may take until it has seen what its test waits for: it is ended by that, not by time
FAMILY = f"ref_proxy-test-{os.getpid()}"
PACKAGES = str(Path(ref_proxy.__file__).parents[1])


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Python, with `folder` for its temporary files. Its standard error ends when all of its workers have ended too."""
    path = os.pathsep.join(filter(None, [PACKAGES, str(folder), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *arguments], env=env, stdout=pipe, stderr=pipe, text=True)


def segments(pid: int) -> list[Path]:
    """What is left of that process's segments, where the system shows them."""
    return list(Path("/dev/shm").glob(f"ref_proxy-{pid}-*"))


# The segment: a checker, so it has to find what is done to it.


@pytest.fixture
def segment() -> Iterator[Segment]:
    segment = Segment.make(FAMILY, 7, Random(1))
    yield segment
    segment.unlink()
    segment.close()


def whole(segment: Segment) -> list[bool]:
    return [segment.whole(number) for number in range(PAGES)]


def test_a_segment_is_whole_for_whoever_attaches_to_it_until_it_is_spoiled(segment: Segment) -> None:
    other = Segment.attach(segment.info)
    assert all(whole(other))
    segment.spoil()
    assert not any(whole(other))
    other.close()
    with pytest.raises(ValueError, match="released"):
        other.whole(0)


def test_a_page_that_is_changed_is_found(segment: Segment) -> None:
    segment._bytes[3 * PAGE + 100] ^= 1
    assert [number for number, whole in enumerate(whole(segment)) if not whole] == [3]


def test_pages_of_another_generation_are_found(segment: Segment) -> None:
    other = Segment.attach({**segment.info, "generation": 8})
    assert not any(whole(other))
    other.close()


def test_a_segment_that_was_left_behind_is_found_once() -> None:
    Segment.make(FAMILY, 8, Random(1)).close()
    assert sweep(FAMILY, 8)
    assert not sweep(FAMILY, 8)


# The storms.


def test_a_protected_storm_keeps_every_promise() -> None:
    tally = storm.run(storm.Config(3, ENOUGH, seed=1), lambda tally: tally.replacements >= 20)
    assert tally.broken() == []
    assert tally.replacements >= 20
    assert {met for met, waits in tally.waits.items() if waits} == {PLAIN, KILLED, FENCED, END}
    assert tally.workers == 3 + tally.killed
    assert tally.refused >= tally.stopped + tally.forked + 3, "those who were stopped, the forked children, and all at the end"
    assert tally.read >= tally.granted > 0
    assert segments(os.getpid()) == []


def test_the_unprotected_storm_comes_to_an_end() -> None:
    tally = storm.run(storm.Config(3, 0.5, seed=1, protected=False), lambda _: None)
    assert (tally.cut_short, tally.astray, tally.left_behind) == ("", 0, 0)
    assert tally.killed and tally.granted and tally.read
    assert (tally.refused, tally.unnamed, tally.let_in) == (0, tally.stopped, tally.forked)
    assert tally.broken()


# The command.


def test_the_command_shows_both_storms_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = start(tmp_path, "-m", "ref_proxy.cli", "demo", "--processes", "3", "--seconds", "1", "--seed", "1")
    out, err = command.communicate(timeout=50)
    assert (command.returncode, err) == (0, ""), out
    assert "3 processes on one segment of shared memory" in out
    assert re.search(r"^KEPT: every promise, in \d+ removals", out, re.MULTILINE)
    assert re.search(r"^stopped workers the owner knew nothing of +0 +[1-9]", out, re.MULTILINE)
    assert re.search(r"^a worker was killed +[1-9]\d*( +\d+\.\d{3}){3} *$", out, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out), "control characters where there is no terminal"
    assert (list(tmp_path.iterdir()), segments(command.pid)) == ([], [])


def test_workers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    command = start(tmp_path, "-m", "ref_proxy.cli", "demo", "--processes", "2", "--seconds", "30", "--no-contrast")
    attached = 0
    while attached < 2:
        assert command.poll() is None
        for socket in tmp_path.glob("*/segment"):
            attached = sum(len(survey.holders) for survey in remote.survey(f"unix:{socket}"))
    command.kill()
    command.communicate(timeout=30)


OWNERS = """
from ref_proxy import RevokeTimeout, remote
from ref_proxy.remote import Outcome, recall

class Faulty:
    def __init__(self, address, first, **options):
        self.shared, self.current = remote.announce(address, first, **options), first
    def replace(self, new, **options):
        self.current, old = new, self.current
        return self.instead(old, new, **options)
    def revoke(self, timeout):
        return self.shared.revoke(timeout)

class without_draining(Faulty):
    recall.TO_REPORT = 0
    def instead(self, old, new, **options):
        try:
            return self.shared.replace(new, **{**options, "timeout": 0})
        except RevokeTimeout:
            return old, Outcome("drained", (), 0)

class without_naming(Faulty):
    def instead(self, old, new, **options):
        _, outcome = self.shared.replace(new, **options)
        return old, outcome._replace(state="drained", holders=())

class without_patience(Faulty):
    def instead(self, old, new, **options):
        return self.shared.replace(new, **{**options, "timeout": 0})

class without_revoking(Faulty):
    def instead(self, old, new, **options):
        return self.shared.replace(new, **options)
    def revoke(self, timeout):
        pass
"""

WORKERS = """
import sys
from time import sleep
from ref_proxy.demo.processes import worker
from ref_proxy.remote import worker as attached
from ref_proxy.remote.gate import Gate

worker.PAUSES = 0.9  # sections that last, so that most removals find somebody inside
gone = attached._Stay.gone

def acknowledging_at_once(stay, *args, **options):
    gone(stay, *args, **options)
    stay.registration.acknowledge()

def slow_to_hear(stay, *args, **options):
    sleep(0.1)
    gone(stay, *args, **options)

match {fault!r}:
    case "acknowledging_at_once":
        attached._Stay.gone = acknowledging_at_once
    case "without_a_gate":  # and so it goes on with the old one, when it has been stopped and cut off
        attached._Stay.gone = slow_to_hear
        Gate.make = classmethod(lambda cls: None)
    case "letting_children_in":
        attached._Attachment.after_fork = lambda self: None
    case "dying":
        worker.Worker._visit = lambda *_: sys.exit("no")

if __name__ == "__main__":
    worker.main()
"""

RUN = """
from ref_proxy.demo.processes import command, mishaps, storm
mishaps.PATIENCE, storm.HOMEWARD = 2, 1  # seconds: enough, and more than that only where somebody does not come back
raise SystemExit(command.run(processes=3, seconds=0.3, seed=1, contrast=False, {}))
"""


def noticed(folder: Path, script: str, phrases: list[str]) -> None:
    command = start(folder, "-W", "ignore", "-c", script)
    out, err = command.communicate(timeout=50)
    assert command.returncode == 1, out + err
    for phrase in phrases:
        assert re.search(rf"^BROKEN with ref_proxy: ([1-9]\d* )?{phrase}", out, re.MULTILINE), out + err
    assert segments(command.pid) == []


@pytest.mark.parametrize(
    ("fault", "phrases"),
    [
        ("without_draining", ["segments released while somebody was inside"]),
        ("without_naming", ["stopped workers that no outcome named"]),
        ("without_patience", ["removals that timed out", "it ended early: "]),
        ("without_revoking", ["workers that never came back", "segments or sockets left behind"]),
    ],
)
def test_an_owner_that_breaks_a_promise_is_noticed(fault: str, phrases: list[str], tmp_path: Path) -> None:
    noticed(tmp_path, OWNERS + RUN.format(f"announce={fault}"), phrases)


@pytest.mark.parametrize(
    ("fault", "phrases"),
    [
        ("acknowledging_at_once", ["segments released while somebody was inside"]),
        ("without_a_gate", ["accesses granted after the removal"]),
        ("letting_children_in", ["forked children that were let in"]),
        ("dying", [r"it ended early: worker \d+ ended with status 1"]),
    ],
)
def test_a_worker_that_breaks_a_promise_is_noticed(fault: str, phrases: list[str], tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(WORKERS.format(fault=fault))
    noticed(tmp_path, RUN.format("worker='faulty'"), phrases)


def test_a_storm_without_mishaps_proves_nothing() -> None:
    [phrase] = Tally(protected=True, granted=1, killed=1, stopped=1).broken()
    assert phrase == "nothing was proved: 1 accesses, 1 workers killed, 1 stopped, 0 forked"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["0"], "--processes"),
        (["8", "--device", "/dev/ttyUSB0"], "--device"),
        (["8", "--plot", "x.png"], "--plot"),
        (["8", "--baud", "9600"], "--baud"),
        (["8", "--verbose"], "--verbose"),
    ],
)
def test_what_is_about_the_serial_line_is_refused(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["demo", "--processes", *arguments])
    assert end.value.code == 2
    assert f"argument {named}: " in capsys.readouterr().err
