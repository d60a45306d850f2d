"""`ref-proxy demo`: the storm keeps its promises, its checker notices when they are broken, and the command always ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("termios", reason="needs pseudo-terminals")
pytest.importorskip("serial", reason="needs ref-proxy[demo]")
pytest.importorskip("rich", reason="needs ref-proxy[demo]")

import pty
import tty

import ref_proxy
from ref_proxy import cli
from ref_proxy.demo import apart, source, storm
from ref_proxy.demo.record import FOREIGN, Haul, RecordDecoder, encode
from ref_proxy.demo.tally import Counts, Steps, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

ENOUGH = 30.0  # seconds that a storm may take until it has seen what its test waits for: it is ended by that, not by time
PACKAGES = str(Path(ref_proxy.__file__).parents[1])


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


# The decoder: a checker, so it has to find what is put in.

RECORDS = [encode(7, number, f"{number:04x}") for number in range(1, 6)]


def feed(stream: bytes) -> Haul:
    """Read a stream as the line does: never more than is missing of the record at hand."""
    decoder, total = RecordDecoder(7), Haul()
    while stream:
        chunk, stream = stream[: decoder.missing], stream[decoder.missing :]
        total = Haul(*map(sum, zip(total, decoder.feed(chunk), strict=True)))
    return total


def test_the_decoder_reads_what_the_instrument_sends() -> None:
    assert feed(b"".join(RECORDS)) == Haul(records=5)
    assert RecordDecoder(7).feed(b"".join(RECORDS)) == Haul(records=5)


def test_the_decoder_may_begin_in_the_middle_of_a_record() -> None:
    assert feed(b"".join(RECORDS)[10:]) == Haul(records=4)


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        ([*RECORDS[:2], RECORDS[2].replace(b"3", b"4"), *RECORDS[3:]], Haul(records=4, wrong=1, lost=1)),
        ([*RECORDS[:2], RECORDS[2][:-4], *RECORDS[3:]], Haul(records=4, wrong=1, lost=1)),
        ([*RECORDS[:2], *RECORDS[3:]], Haul(records=4, lost=1)),
        ([*RECORDS[:2], encode(8, 3, "00"), *RECORDS[2:]], Haul(records=5, foreign=1)),
    ],
    ids=["a flipped digit", "a torn record", "a record left out", "a record of another line"],
)
def test_the_decoder_finds_what_is_wrong(stream: list[bytes], found: Haul) -> None:
    assert RecordDecoder(7).feed(b"".join(stream)) == found


def test_the_decoder_finds_what_the_instrument_never_sent() -> None:
    haul = RecordDecoder(7).feed(RECORDS[0] + FOREIGN + RECORDS[1])
    assert haul.foreign == 1
    assert haul.records == 2


# The storms.


def test_a_protected_storm_keeps_every_promise() -> None:
    def enough(tally: Tally) -> bool:
        return tally.unplugs >= 40 and len(tally.removals) == 3 and tally.counts.refused > 0 and tally.counts.hung_up > 0

    tally, album = storm.run(storm.Config(ENOUGH, seed=1), enough)
    counts = tally.counts
    assert tally.broken() == []
    assert enough(tally)
    assert len(tally.steps) == tally.unplugs
    assert counts.interrupted > 0
    assert counts.records > 0
    assert counts.granted > counts.interrupted + counts.hung_up
    assert album is not None
    picture = album.typical()
    assert picture is not None
    assert picture.inside > 0
    assert sorted(picture.marks) == list(picture.marks)


def test_the_unprotected_storm_comes_to_an_end() -> None:
    tally = apart.run_apart(storm.Config(0.7, seed=1, protected=False), lambda _: None)
    assert (tally.cut_short, tally.note) == ("", "")
    assert tally.unplugs > 0
    assert tally.counts.refused == 0
    assert tally.broken()


def test_an_unprotected_storm_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SILENCE", 0.0)
    assert "said nothing" in apart.run_apart(storm.Config(ENOUGH, seed=1, protected=False), lambda _: None).cut_short


def test_figures_survive_the_way_to_another_process() -> None:
    tally = Tally(Counts(granted=3, errors={"TypeError": 1}), {"gone": 2}, [Steps("gone", 1, 0.1, 0.2, 0.3, 0.4)], robbed=1)
    assert Tally.from_dict(tally.to_dict()) == tally


# The command.


def test_the_command_shows_both_storms_and_draws_one_unplug(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs ref-proxy[demo]")
    drawn = tmp_path / "unplug.png"
    done = python("-m", "ref_proxy.cli", "demo", "--seconds", "1", "--seed", "1", "--verbose", "--plot", str(drawn))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "KEPT" in done.stdout
    assert re.search(r"^uses after close +0 +[1-9]", done.stdout, re.MULTILINE)
    assert re.search(r"^drain( +\d+\.\d{3}){3} *$", done.stdout, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout), "control characters where there is no terminal"
    assert drawn.read_bytes().startswith(b"\x89PNG")


FAULTS = """
from ref_proxy import Provider
from ref_proxy.demo import command

class without_draining(Provider):
    def revoke(self, timeout=None):
        self._removal._deny()
        self._removal._run_interrupt()
        return self._removal._run_release()

class without_denying(Provider):
    def __init__(self, line, **options):
        super().__init__(line, **options)
        self.undeniable = Provider(line)
    def proxy(self, name=None):
        return self.undeniable.proxy(name)

class without_patience(Provider):
    def revoke(self, timeout=None):
        return super().revoke(timeout=0)

class without_releasing(Provider):
    def __init__(self, line, *, release, **options):
        super().__init__(line, **options)

class releasing_twice(Provider):
    def __init__(self, line, *, release, **options):
        def twice(line):
            release(line)
            line.close = lambda: None  # a second one would close descriptors of somebody else
            release(line)
        super().__init__(line, release=twice, **options)
"""


@pytest.mark.parametrize(
    ("fault", "phrases"),
    [
        ("without_draining", ["releases while somebody was inside", "uses after close"]),
        ("without_denying", ["accesses granted after the denial", "uses after close"]),
        ("without_patience", ["revokes that timed out"]),
        ("without_releasing", ["lines not released"]),
        ("releasing_twice", ["lines released more than once"]),
    ],
)
def test_a_broken_promise_is_noticed_and_named(fault: str, phrases: list[str]) -> None:
    code = f"{FAULTS}\nraise SystemExit(command.run(seconds=0.5, seed=1, contrast=False, make={fault}))"
    done = python("-W", "ignore", "-c", code)
    assert done.returncode == 1, done.stdout + done.stderr
    for phrase in phrases:
        assert re.search(rf"^BROKEN with ref_proxy: [1-9]\d* {phrase}", done.stdout, re.MULTILINE), done.stdout


def test_a_picture_that_cannot_be_written_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs ref-proxy[demo]")
    assert cli.main(["demo", "--seconds", "0.5", "--no-contrast", "--plot", str(tmp_path / "none" / "x.png")]) == 2
    out, err = capsys.readouterr()
    assert "KEPT" in out
    assert re.fullmatch(r"ref-proxy demo: .* was not written: .*\n", err)


def test_a_storm_without_an_unplug_proves_nothing() -> None:
    [phrase] = Tally().broken()
    assert phrase.startswith("nothing was proved")


@pytest.mark.parametrize(("module", "extra"), [("serial", "pyserial"), ("rich", "rich"), ("matplotlib", "matplotlib")])
def test_a_missing_extra_is_named_in_one_line(module: str, extra: str) -> None:
    done = python(
        "-c",
        f"import sys; sys.modules[{module!r}] = None\n"
        "from ref_proxy import cli; raise SystemExit(cli.main(['demo', '--seconds', '0.1', '--plot', 'x.png']))",
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ref-proxy demo needs {extra}: pip install ref-proxy[demo]\n"


@pytest.mark.parametrize("arguments", [[], ["demo", "--seconds", "0"], ["demo", "--seconds", "nan"], ["no such command"]])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: ref-proxy" in capsys.readouterr().err


# Real hardware, played by a pseudo-terminal behind a name that comes and goes, as a device node does.


class Hardware:
    def __init__(self, folder: Path) -> None:
        self.node = folder / "ttyUSB0"
        self._ends: tuple[int, ...] = ()
        self.plug()

    def plug(self) -> None:
        self._ends = pty.openpty()
        tty.setraw(self._ends[1])
        os.set_blocking(self._ends[0], False)
        self.node.symlink_to(os.ttyname(self._ends[1]))

    def unplug(self) -> None:
        if self._ends:
            self.node.unlink()
            for end in self._ends:
                os.close(end)
            self._ends = ()

    def say(self, text: bytes) -> None:
        os.write(self._ends[0], text)


@pytest.fixture
def hardware(tmp_path: Path) -> Iterator[Hardware]:
    hardware = Hardware(tmp_path)
    yield hardware
    hardware.unplug()


def test_a_device_is_removed_and_opened_again_also_when_it_is_really_unplugged(hardware: Hardware) -> None:
    state = "at work"
    back_at = 0

    def watch(tally: Tally) -> bool:
        nonlocal state, back_at
        if state == "at work" and tally.removals.get(source.ADMINISTRATOR, 0) >= 2:
            hardware.unplug()
            state = "unplugged"
        elif state == "unplugged" and source.GONE in tally.removals:
            hardware.plug()
            state, back_at = "back", tally.counts.records
        if state != "unplugged":
            hardware.say(b"24.7 degrees\n")
        return state == "back" and tally.counts.records > back_at

    tally, _ = storm.run(storm.Config(ENOUGH, seed=1, device=str(hardware.node)), watch)
    assert state == "back"
    assert (tally.broken(), tally.note) == ([], "")


def test_a_device_that_stays_away_breaks_no_promise(hardware: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RETURN", 0.0)

    def watch(tally: Tally) -> None:
        if tally.unplugs:
            hardware.unplug()

    tally, _ = storm.run(storm.Config(ENOUGH, seed=1, device=str(hardware.node)), watch)
    assert "did not come back" in tally.note
    assert tally.broken(silent=True) == []


def test_the_command_takes_a_device_that_has_nothing_to_say(hardware: Hardware, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--seconds", "0.8", "--seed", "1", "--no-contrast", "--device", str(hardware.node)]) == 0
    assert "KEPT" in capsys.readouterr().out


def test_a_device_that_cannot_be_opened_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--seconds", "0.8", "--device", str(tmp_path / "none")]) == 2
    assert re.fullmatch(r"ref-proxy demo: .*none cannot be opened: .*\n", capsys.readouterr().err)
