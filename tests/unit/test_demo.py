"""`ref-proxy demo`: the storm keeps its promises, its checker notices when they are broken, and the command always ends."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from asyncio import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("termios", reason="needs pseudo-terminals")
pytest.importorskip("serial", reason="needs ref-proxy[demo]")
pytest.importorskip("rich", reason="needs ref-proxy[demo]")

import pty
import tty

import ref_proxy
from ref_proxy import Revoked, cli
from ref_proxy.demo import apart, source, storm
from ref_proxy.demo.actions import Actions
from ref_proxy.demo.ledger import Ledger, Outcome
from ref_proxy.demo.line import Interrupted
from ref_proxy.demo.plug import ASYNCIO, LINES, OLD, THREADS, Plug
from ref_proxy.demo.record import FOREIGN, Haul, RawDecoder, RecordDecoder, encode
from ref_proxy.demo.tally import Counts, Steps, Tally
from ref_proxy.demo.visit import Visit

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


# What the checker writes down of an access.


class Visited:
    """A visit, and what it is told in its course."""

    def __init__(self) -> None:
        self.counts, self.ledger = Counts(), Ledger()
        self.visit = Visit("reader", self.counts, self.ledger)

    def access(self, error: BaseException | None = None) -> Outcome:
        with self.visit, self.visit.inside():
            if error is not None:
                raise error
        return self.visit.outcome


def test_a_visit_tells_how_an_access_ended() -> None:
    at = Visited()
    assert (at.access(), at.visit.goes_on) == (Outcome.READ, True)
    assert (at.access(Interrupted()), at.visit.goes_on) == (Outcome.INTERRUPTED, True)
    assert (at.access(Interrupted()), at.visit.goes_on) == (Outcome.INTERRUPTED, False)
    assert (at.access(OSError(errno.EIO, "")), at.visit.goes_on) == (Outcome.FAILED, False)
    at.ledger.hung_up = True
    assert (at.access(OSError(errno.EIO, "")), at.visit.goes_on) == (Outcome.HUNG_UP, False)
    with at.visit:
        raise Revoked
    assert (at.visit.outcome, at.visit.goes_on) == (Outcome.REFUSED, False)
    assert at.counts == Counts(granted=5, interrupted=2, hung_up=1, refused=1, errors={"OSError: EIO": 1})
    assert [span.outcome for span in at.ledger.spans][-2:] == [Outcome.HUNG_UP, Outcome.REFUSED]


def test_a_visit_counts_a_cancellation_that_comes_out_as_revoked_and_no_other() -> None:
    at = Visited()
    with at.visit:
        try:
            with at.visit.inside():
                raise CancelledError
        except CancelledError as cancellation:
            raise Revoked from cancellation
    assert (at.visit.outcome, at.counts) == (Outcome.CANCELLED, Counts(granted=1, cancelled=1))
    with pytest.raises(CancelledError):
        at.access(CancelledError())


def test_a_visit_swallows_nothing_that_it_has_not_counted() -> None:
    at = Visited()
    for error in (ValueError(), RuntimeError(), KeyboardInterrupt()):
        with pytest.raises(type(error)), at.visit:
            raise error
    with pytest.raises(KeyboardInterrupt):
        at.access(KeyboardInterrupt())


def test_a_visit_finds_what_must_not_be() -> None:
    at = Visited()
    with at.visit:
        at.ledger.denied = True
        with at.visit.inside():
            assert at.ledger.release() == 1
    assert at.counts == Counts(granted=1, after_close=1, longest_overstay=at.counts.longest_overstay)
    at.access()
    assert (at.counts.granted_late, at.counts.after_close) == (1, 2)


# What is counted of the actions of a device.


@pytest.fixture
def plug() -> Iterator[Plug]:
    master, slave = pty.openpty()
    plug = Plug([os.ttyname(slave)] * len(LINES), 115200, [RawDecoder() for _ in LINES])
    yield plug
    for port in plug.ports.values():
        port.line.close()
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("released", "inside", "ran", "early", "amiss"),
    [
        ([THREADS, ASYNCIO, OLD], [], ["sign off", "switch off"], 0, 0),
        ([THREADS, ASYNCIO], [], ["sign off", "switch off"], 2, 0),
        ([THREADS, ASYNCIO, OLD], [OLD], ["sign off", "switch off"], 2, 0),
        ([THREADS, ASYNCIO, OLD], [], ["switch off", "sign off"], 0, 1),
        ([THREADS, ASYNCIO, OLD], [], ["sign off", "switch off", "switch off"], 0, 1),
        ([THREADS, ASYNCIO, OLD], [], ["sign off"], 0, 1),
    ],
    ids=["as it should be", "a line is open", "somebody is inside", "in the wrong order", "once too often", "not all"],
)
def test_actions_are_to_run_once_each_the_last_one_first_when_all_is_closed(
    plug: Plug, released: list[str], inside: list[str], ran: list[str], early: int, amiss: int
) -> None:
    tally = Tally()
    actions = Actions(plug, tally)
    for name in inside:
        plug.ports[name].ledger.enter()
    for name in released:
        plug.ports[name].ledger.release()
    for name in ran:
        actions.run(name)
    actions.settle()
    assert (tally.actions, tally.actions_early, tally.actions_amiss) == (len(ran), early, amiss)


def test_a_plug_of_which_one_line_cannot_be_opened_leaves_none_open(plug: Plug) -> None:
    before = os.listdir("/dev/fd")
    with pytest.raises(OSError, match="no such line"):
        Plug([plug.ports[OLD].line.name, plug.ports[OLD].line.name, "/no such line"], 115200, [RawDecoder() for _ in LINES])
    assert os.listdir("/dev/fd") == before


# The storms.


def test_a_protected_storm_keeps_every_promise() -> None:
    def enough(tally: Tally) -> bool:
        counts = tally.counts
        return tally.unplugs >= 40 and len(tally.removals) == 3 and all([counts.refused, counts.hung_up, counts.cancelled])

    tally, album = storm.run(storm.Config(ENOUGH, seed=1), enough)
    counts = tally.counts
    assert tally.broken() == []
    assert enough(tally)
    assert len(tally.steps) == tally.unplugs
    assert tally.actions == tally.unplugs * len(Actions.NAMES)
    assert counts.interrupted > 0
    assert counts.records > 0
    assert counts.granted > counts.interrupted + counts.cancelled + counts.hung_up
    assert set(tally.granted) == {THREADS, ASYNCIO, OLD}
    assert all(tally.granted.values())
    assert sum(tally.granted.values()) == counts.granted
    assert album is not None
    picture = album.typical()
    assert picture is not None
    assert picture.inside > 0
    assert sorted(picture.marks) == list(picture.marks)


def test_the_unprotected_storm_comes_to_an_end() -> None:
    tally = apart.run_apart(storm.Config(0.7, seed=1, protected=False), lambda _: None)
    assert (tally.cut_short, tally.note) == ("", "")
    assert tally.unplugs > 0
    assert (tally.counts.refused, tally.counts.cancelled) == (0, 0)
    assert tally.actions == tally.unplugs * len(Actions.NAMES)
    assert all(tally.granted.values())
    assert tally.broken()


def test_an_unprotected_storm_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SILENCE", 0.0)
    assert "said nothing" in apart.run_apart(storm.Config(ENOUGH, seed=1, protected=False), lambda _: None).cut_short


def test_figures_survive_the_way_to_another_process() -> None:
    tally = Tally(
        Counts(granted=3, errors={"TypeError": 1}), {OLD: 3}, {"gone": 2}, [Steps("gone", 1, 0.1, 0.2, 0.3, 0.4, 0.5)], robbed=1
    )
    assert Tally.from_dict(tally.to_dict()) == tally


# The command.


def test_the_command_shows_both_storms_and_draws_one_unplug(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs ref-proxy[demo]")
    drawn = tmp_path / "unplug.png"
    done = python("-m", "ref_proxy.cli", "demo", "--seconds", "1", "--seed", "1", "--verbose", "--plot", str(drawn))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "KEPT" in done.stdout
    assert "9 consumers of an instrument" in done.stdout
    assert re.search(r"^uses after close +0 +[1-9]", done.stdout, re.MULTILINE)
    assert re.search(r"^drain( +\d+\.\d{3}){3} *$", done.stdout, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout), "control characters where there is no terminal"
    assert drawn.read_bytes().startswith(b"\x89PNG")


FAULTS = """
from ref_proxy import Device, Provider, Revoked, aio

class without_draining(Device):
    def remove(self, timeout=None):
        self._deny()
        removals = [provider._removal for provider in self._tree()]
        for removal in removals:
            removal._run_interrupt()
        for removal in removals:
            removal._run_release()
        return self._take_apart()

class one_line_after_the_other(Device):
    def remove(self, timeout=None):
        for provider in self._tree():
            provider.revoke(timeout)
        return super().remove(timeout)

class without_denying(Device):
    undenied = []
    def provide(self, line, **options):
        super().provide(line, **options)
        self.undenied.append(Provider(line))
        return self.undenied[-1]

class without_patience(Device):
    def remove(self, timeout=None):
        return super().remove(timeout=0)

class without_releasing(Device):
    def provide(self, line, *, release, **options):
        return super().provide(line, **options)

class releasing_twice(Device):
    def provide(self, line, *, release, **options):
        def twice(line):
            release(line)
            line.close = lambda: None  # a second one would close descriptors of somebody else
            release(line)
        return super().provide(line, release=twice, **options)

class acting_at_once(Device):
    def add_action(self, fn, *args):
        fn(*args)

class without_acting(Device):
    def add_action(self, fn, *args):
        pass

class acting_twice(Device):
    def add_action(self, fn, *args):
        super().add_action(fn, *args)
        super().add_action(fn, *args)

class never_cancelling:
    def __init__(self, proxy):
        self.proxy = proxy
    async def __aenter__(self):
        self.section = self.proxy.access()
        return self.section.resource
    async def __aexit__(self, *error):
        self.section.end()

class just_cancelling(aio.cancelling):
    async def __aexit__(self, *error):
        try:
            return await super().__aexit__(*error)
        except Revoked as gone:
            raise gone.__cause__

def unguarded(proxy):
    with proxy.access() as line:
        return line
"""

RUN = """
from ref_proxy.demo import command, protected, storm
protected.PATIENCE, storm.HOMEWARD = 0.3, 0.3  # seconds: enough, and more than that only where somebody stays inside
raise SystemExit(command.run(seconds=0.5, seed=1, contrast=False, make={}))
"""
LET_IN = "import sys; sys.modules['ref_proxy.{}'].{} = {{}}\n" + RUN.format("Device")
SEEDED = {"make": RUN, "cancelling": LET_IN.format("aio", "cancelling"), "guarded": LET_IN.format("guarded", "guarded")}


@pytest.mark.parametrize(
    ("fault", "phrases"),
    [
        ("make=without_draining", ["releases while somebody was inside", "uses after close"]),
        ("make=one_line_after_the_other", ["accesses granted after the denial", "releases while somebody was inside"]),
        ("make=without_denying", ["accesses granted after the denial", "uses after close"]),
        ("make=without_patience", ["removals that timed out"]),
        ("make=without_releasing", ["lines not released"]),
        ("make=releasing_twice", ["lines released more than once"]),
        ("make=acting_at_once", ["actions run before all lines were released"]),
        ("make=without_acting", ["unplugs whose actions did not run once each"]),
        ("make=acting_twice", ["unplugs whose actions did not run once each"]),
        ("cancelling=never_cancelling", ["removals that timed out", "consumers that never came back"]),
        ("cancelling=just_cancelling", ["died in the storm: .*asyncio task 1"]),
        ("guarded=unguarded", ["accesses granted after the denial", "releases while somebody was inside"]),
    ],
)
def test_a_broken_promise_is_noticed_and_named(fault: str, phrases: list[str]) -> None:
    """In the place of `Device`, or of what lets a consumer in."""
    what, by = fault.split("=")
    done = python("-W", "ignore", "-c", f"{FAULTS}\n{SEEDED[what].format(by)}")
    assert done.returncode == 1, done.stdout + done.stderr
    for phrase in phrases:
        assert re.search(rf"^BROKEN with ref_proxy: ([1-9]\d* )?{phrase}", done.stdout, re.MULTILINE), done.stdout


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
    out, _ = capsys.readouterr()
    assert "KEPT" in out
    assert "6 consumers of" in out, "it has one line, that of the threads"


def test_a_device_that_cannot_be_opened_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--seconds", "0.8", "--device", str(tmp_path / "none")]) == 2
    assert re.fullmatch(r"ref-proxy demo: .*none cannot be opened: .*\n", capsys.readouterr().err)
