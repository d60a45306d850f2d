"""`ref-proxy torture`: a short storm succeeds, a broken mechanism fails, and so does a storm that proves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ref_proxy import BACKEND
from ref_proxy.torture import busted as negative
from ref_proxy.torture import show, substitutions
from ref_proxy.torture.actor import Actor
from ref_proxy.torture.readers import Reader
from ref_proxy.torture.signals import Interrupted
from ref_proxy.torture.specimen import Pipe, Specimen
from ref_proxy.torture.stage import Stage
from ref_proxy.torture.tally import Tally
from tests.stress import busted

pytestmark = pytest.mark.once  # .ci/run has a storm with each interpreter and twin

SOURCES = str(Path(__file__).parents[2] / "src")
needs_signals = pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="needs POSIX signals")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "REF_PROXY_BACKEND": BACKEND, "COLUMNS": "100"}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=50)


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "ref_proxy.cli", "torture", *arguments)


def test_a_short_storm_succeeds_and_tells_what_it_did(tmp_path):
    done = torture("--seconds", "4", "--seed", "7", "--json", str(tmp_path / "storm.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7" in done.stdout
    assert "SUCCESS" in done.stdout
    told = json.loads((tmp_path / "storm.json").read_text())
    assert (told["seed"], told["twin"], told["failures"]) == (7, BACKEND, [])
    assert told["cpu"] and told["python"] and told["cores"]
    assert [sum(ages[2:]) for ages in told["ages"]] == [0, 0]
    assert all(ages[0] for ages in told["ages"])
    assert all(number for kinds in told["done"].values() for number in kinds.values())


def test_quietly_it_says_the_outcome_alone():
    done = torture("--seconds", "3", "--quiet")
    assert done.stdout.startswith("SUCCESS"), done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_step_that_takes_longer_than_the_patience_is_a_hang():
    done = torture("--seconds", "3", "--quiet", "--patience", "0.0001")
    assert done.returncode == 1
    assert "has been stuck for" in done.stdout


# A representative of each sort; `python -m tests.stress.busted` tries them all.
SAMPLE = {
    "py": ["no-recheck", "fork-keeps-sections", "release-twice"],
    "c": ["stripe-left-out", "no-stripe-lock", "unlink-twice", "replace-does-not-wait"],
}[BACKEND]


@pytest.mark.parametrize("name", [name for name in SAMPLE if name in busted.shown()])
def test_a_broken_mechanism_fails(name):
    outcome = busted.attempt(name)
    assert outcome.failed_as_it_should, outcome.said


def test_a_fault_that_cannot_show_here_is_refused_and_listed():
    listed = torture("--busted", "list")
    assert listed.returncode == 0
    assert all(control.name in listed.stdout for control in negative.controls())
    assert torture("--busted", "no-such-fault").returncode == 2
    for control in negative.controls():
        if control.hidden is not None:
            assert torture("--busted", control.name).returncode == 2
            break


@pytest.mark.skipif(not substitutions.SOURCE.exists(), reason="needs a checkout")
@pytest.mark.parametrize("name", substitutions.SUBSTITUTIONS)
def test_a_substitution_finds_its_words_once(name):
    source = substitutions.SOURCE.read_text()
    assert [source.count(words) for words, _ in substitutions.SUBSTITUTIONS[name].pairs] == [1] * len(
        substitutions.SUBSTITUTIONS[name].pairs
    )


def test_a_substitution_whose_words_are_gone_is_an_error(tmp_path, monkeypatch):
    faulty = substitutions.Substitution("nothing", False, (("words that are not there", ""),))
    monkeypatch.setitem(substitutions.SUBSTITUTIONS, "gone", faulty)
    with pytest.raises(LookupError, match="0 times, not once"):
        substitutions.build("gone", tmp_path)


# The choices.


def choices(seed, name="reader 1", number=200):
    actor = Reader(name, Stage(seed))
    return [(actor.deal(), actor.random.random()) for _ in range(number)]


def test_a_seed_gives_the_same_choices():
    assert choices(1) == choices(1)
    assert choices(1) != choices(2)
    assert choices(1) != choices(1, "reader 2")


def test_each_kind_comes_once_before_any_comes_again():
    kinds = [kind for kind, _ in choices(1, number=2 * len(Reader.kinds))]
    assert sorted(kinds[: len(Reader.kinds)]) == sorted(kinds[len(Reader.kinds) :]) == sorted(Reader.kinds)


# The age, and the verdict.


def test_a_specimen_ages_with_each_end_and_is_poisoned_by_its_own():
    pipe, specimen = Pipe(), Specimen(3)
    assert specimen.look() == (0, True)
    specimen.begun = True
    assert specimen.look() == (1, True)
    assert pipe.end(specimen) == []
    assert specimen.look() == (2, False)
    for _ in range(20):
        pipe.end(Specimen(4))
    assert specimen.age == 10
    assert specimen.end() == ["a resource was released twice"]


def test_an_end_under_a_reader_is_noticed():
    specimen = Specimen(3)
    specimen.visits[object()] = "own proxy"
    assert specimen.end() == ["a resource was released under a reader (own proxy)"]


def proved() -> Tally:
    return Tally(done={"accesses": {"own proxy": 1}})


def test_ages_0_and_1_are_a_success_and_2_is_a_failure():
    tally = proved()
    tally.ages[0][0] = tally.ages[1][1] = 5
    assert tally.failures() == []
    tally.ages[1][2] = 1
    [failure] = tally.failures()
    assert "age 2 or more" in failure


def test_a_storm_in_which_nothing_happened_is_a_failure():
    assert Tally().failures() == ["nothing was proved of: anything"]
    idle = Tally(done={"accesses": {"own proxy": 1, "nested": 0}})
    assert idle.failures() == ["nothing was proved of: nested (accesses)"]


def test_what_went_wrong_is_a_failure():
    tally = proved()
    tally.faults["a resource was released twice"] = 2
    assert tally.failures() == ["a resource was released twice (2 times)"]


# The watchdog, and what is left behind.

HANG = """
import sys, threading
from ref_proxy.torture import storm
from ref_proxy.torture.actor import Actor
from ref_proxy.torture.rivals import Rival

def act(self, kind):
    {hang}

Rival.act = act
def tell(figures):
    print(*figures.failures(), sep="\\n", flush=True)

tell(storm.run(storm.Config({seconds}, 1, patience=1.5), lambda _: None, tell))
"""


def test_the_watchdog_says_who_hangs_and_where_and_ends_the_process():
    done = python("-c", HANG.format(hang="self.since -= 60; threading.Event().wait()", seconds=30))
    assert done.returncode == 1
    assert "rival has been stuck for" in done.stdout
    assert "ref_proxy in process" in done.stderr
    assert "in act" in done.stderr


def test_a_section_that_is_left_open_is_noticed():
    hang = "life = self.life(); sys.kept = life and Provider([1]).proxy().access(); return 1"
    done = python("-c", "from ref_proxy import Provider\n" + HANG.format(hang=hang, seconds=1).replace("1.5", "20"))
    assert "left behind" in done.stdout or "died" in done.stdout, done.stdout + done.stderr


def test_an_actor_that_fails_fails_the_storm():
    stage = Stage(1)

    class Failing(Actor):
        group, kinds = "accesses", ("failing",)

        def act(self, kind: str) -> int:
            raise LookupError("on purpose")

    thread = threading.Thread(target=Failing("one", stage).run)
    thread.start()
    thread.join()
    [fault] = stage.faults
    assert fault.startswith("one died at 'failing' of LookupError: on purpose")


# The report.


@pytest.mark.parametrize("width", [80, 120])
def test_the_report_fits_its_width(width):
    tally = Tally(done={"accesses": dict.fromkeys(Reader.kinds, 123_456_789)}, counts={"refused": 7})
    tally.ages[0][0] = 10**9
    lines = show.report(tally, width)
    assert max(map(len, lines)) <= width
    assert any("123,456,789" in line for line in lines)
    assert max(map(len, show.catalogue(negative.controls(), width))) <= width


@needs_signals
def test_a_strike_comes_only_inside_the_library():
    main = Interrupted("main thread", Stage(1))
    assert main._strike(lambda: None) == 0
