"""Makes the weather, and judges what came of it."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import select
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic, monotonic_ns, sleep
from typing import TYPE_CHECKING, Any

from . import faults, places
from .board import COUNTED, STEPS, Board, Events
from .doom import Doom, Fate
from .owner import Owner
from .remains import Remains
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .places import Place

__all__ = ["Config", "Verdict", "storm"]

KINDS = ("replace", "replace", "replace", "replace", "revoke", "revoke", "impatient", "ask")
SOON = 3000  # sections within which a worker has noticed that its owner is dead: by what it does, not by the clock
LEASES = 30  # times as many where a server has to notice first
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Config:
    removals: int
    seed: int
    workers: int = 6
    patience: float = 20.0  # seconds that any step of anybody may take
    broken: str | None = None
    address: str = "unix"


@dataclass
class Verdict:
    """What was done, and what is wrong. `counts`: how often; `struck`: at how many different lines; `took`: milliseconds."""

    seed: int
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    struck: set[str] = field(default_factory=set)
    took: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        counts = ", ".join(f"{name} {number:,}" for name, number in self.counts.items())
        spread = sorted(self.took) or [0.0]
        quick = f"{median(spread):.1f} ms in the median, {spread[len(spread) * 99 // 100]:.1f} ms for 99 of 100"
        said = [counts, f"struck at {len(self.struck)} different lines; a removal without a fence took {quick}"]
        if self.failures:
            return said + [f"FAILURE: {each} (seed {self.seed})" for each in dict.fromkeys(self.failures)]
        sections = f"{self.counts['removals']:,} removals, {self.counts['sections']:,} sections"
        return [*said, f"SUCCESS: {sections} in {self.seconds:.1f} s, seed {self.seed}: no hang, no early release, nothing left"]

    def to_dict(self) -> dict[str, Any]:
        told = {"seed": self.seed, "seconds": self.seconds, "counts": dict(self.counts), "struck": sorted(self.struck)}
        return {**told, "median_ms": median(self.took or [0.0]), "failures": self.failures}


class Over(Exception):
    """It has failed: the rest is of no use."""


class Post:
    """What one worker after another does."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.turn = 0
        self.pid = 0
        self.stopped = False
        self.since = monotonic_ns()  # when it was started, or went on

    def goes_on(self) -> None:
        self.stopped = False
        self.since = monotonic_ns()


class Conductor:
    """Forks workers and owners, and has them killed and stopped at random."""

    def __init__(self, config: Config, place: Place, directory: Path) -> None:
        self.config = config
        self.place = place
        self.pages = directory / "pages"
        self.pages.mkdir()
        self.random = Random(config.seed)
        self.events = Events(directory / "events")
        self.board = Board(config.workers)
        self.posts = [Post(number) for number in range(config.workers)]
        self.verdict = Verdict(config.seed)
        self.copies: set[int] = set()
        self.strangers = children()  # a server
        self.ending = False
        self.deaths: dict[int, float] = {}
        self.owner = 0
        self.owners = 0
        self._asks = self._answers = -1
        self._heard = b""
        self.serial = 0  # the last one that was made
        self.live = 0  # the one that is announced, as far as is known
        self.epoch = 0
        self.epochs: dict[int, int] = {}
        self.fence: float | None = None
        self.cut: dict[int, set[int]] = {}  # whom the removal of a page has named
        self.excused: set[int] = set()  # pages whose owner was killed as it cut somebody off
        self.orphans: set[int] = set()  # pages whose owner was killed
        self.before = [0] * config.workers  # how many sections each had counted when the last owner was killed
        self.touched: list[dict[str, Any]] = []  # what was found released, and is not judged yet
        self.reasons: set[int] = set()  # who had a reason to be silent

    # ---- Processes ----

    def spawn(self, role: Callable[[], object]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for fd in (self._asks, self._answers):
                if fd >= 0:
                    os.close(fd)
            faulthandler.register(signal.SIGUSR1, all_threads=True)
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which is what is tried here
            logging.getLogger("ref_proxy").addHandler(Told(self.events, self.place))
            role()
        except BaseException:
            self.events.tell("fault", text=f"a process failed: {traceback.format_exc()}")
            os._exit(1)
        os._exit(0)

    def staff(self, post: Post) -> None:
        """A worker for the post, and perhaps its doom."""
        post.turn += 1
        seed = f"{self.config.seed} {post.number} {post.turn}"
        fate = None
        if self.random.random() < 0.6:
            fate = Fate(self.random.randrange(1, 400), "kill" if self.random.random() < 0.7 else "stop")
        late = self.random.random() < 0.5

        def role() -> None:
            faults.put_in(self.config.broken, "worker")
            doom = None if fate is None else Doom(fate, self.events)
            slot = self.board.slot(post.number)
            Worker(self.place, self.board, slot, self.events, seed, doom, late, self.config.patience).run()

        post.pid = self.spawn(role)
        post.goes_on()
        self.verdict.counts["workers"] += 1

    def found(self) -> None:
        """An owner, and perhaps its doom."""
        fate = Fate(self.random.randrange(1, 8000), "kill") if self.random.random() < 0.4 and not self.ending else None
        asks, self._asks = os.pipe()
        self._answers, answers = os.pipe()
        mine = self._asks, self._answers

        def role() -> None:
            faults.put_in(self.config.broken, "owner")
            if fate is not None:
                Doom(fate, self.events)
            Owner(self.place, self.pages, self.config.patience, asks, answers).run()

        self.owner = self.spawn(role)
        os.close(asks)
        os.close(answers)
        self._asks, self._answers = mine
        self._heard = b""
        self.owners += 1

    def bury(self) -> None:
        """The owner is dead: what it had announced nobody will release."""
        for fd in (self._asks, self._answers):
            os.close(fd)
        self._asks = self._answers = -1
        self.before = [self.board.slot(post.number)["sections"] for post in self.posts]
        fresh = self.epochs.keys() - self.cut.keys() - self.orphans
        self.orphans |= fresh
        if self.fence is not None:
            self.excused |= fresh
        self.owner = self.live = 0
        self.verdict.counts["owners killed"] += 1

    # ---- What goes on ----

    def tend(self) -> None:
        """See who has ended, stopped, failed, or has not been heard of; and put others in their place."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            post = next((post for post in self.posts if post.pid == pid), None)
            if os.WIFSTOPPED(status):
                self.reasons.add(pid)
                if post is not None:
                    post.stopped = True
                continue
            self.deaths[pid] = monotonic()
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGALRM):
                self.fail(f"process {pid} died of {signal.Signals(os.WTERMSIG(status)).name}")
            if post is not None:
                post.pid = 0
        self.listen()
        if not self.ending:
            for post in self.posts:
                if not post.pid:
                    self.staff(post)
        self.watch()

    def watch(self) -> None:
        late = monotonic_ns() - self.config.patience * 1e9
        for post in self.posts:
            slot = self.board.slot(post.number)
            if not post.pid or post.stopped:
                continue
            who = f"worker {post.number}, process {post.pid}, {STEPS[slot['step']]}"
            if post.since < late and slot["beat"] < late:
                self.hang(who)
            since = slot["sections"] - self.before[post.number]
            if slot["serial"] in self.orphans and since > SOON * (LEASES if self.place.leases else 1):
                self.fail(f"{who} of page {slot['serial']} for {since} sections after its owner was killed")

    def hang(self, who: str) -> None:
        for pid in filter(None, [self.owner, *(post.pid for post in self.posts if not post.stopped)]):
            print(f"process {pid}:", file=sys.stderr, flush=True)
            os.kill(pid, signal.SIGUSR1)
            sleep(0.1)
        self.fail(f"no end within {self.config.patience:g} s: {who}")
        raise Over

    def fail(self, what: str) -> None:
        self.verdict.failures.append(what)

    def listen(self) -> None:
        for event in self.events.new():
            match event["what"]:
                case "early" | "again":
                    self.touched.append(event)
                case "epoch":
                    self.fail(f"epoch {event['was']} was followed by {event['epoch']}")
                case "struck":
                    self.verdict.struck.add(event["where"])
                    self.verdict.counts[f"{event['how']}s at a line"] += 1
                    if event["how"] == "stop":
                        self.reasons.add(event["pid"])
                case "copied":
                    self.copies.add(event["pid"])
                case "home":
                    for each in event["left"]:
                        self.fail(f"a worker has left {each}")
                case _:
                    self.fail(event["text"])

    def judge(self, finally_: bool = False) -> None:
        """Whether those who found a page released had been named."""
        rest = []
        for event in self.touched:
            serial, pid = event["serial"], event["pid"]
            if event["what"] == "again" and self.place.gated:
                self.fail(f"process {pid} got page {serial} once more, after it had seen that it was released")
            elif serial in self.excused:
                self.verdict.counts["not judged"] += 1
            elif serial in self.cut:
                if pid in self.cut[serial]:
                    self.verdict.counts["seen by who was named"] += 1
                else:
                    self.fail(f"early release: page {serial} was released under process {pid}, {event.get('where', 'again')}")
            elif serial in self.orphans or finally_:
                self.fail(f"early release: page {serial}, whose owner was killed, was released under process {pid}")
            else:
                rest.append(event)
        self.touched = rest

    # ---- The owner ----

    def ask(self, do: str, weather: Callable[[], object] = lambda: None, **more: Any) -> dict[str, Any] | None:
        """Have the owner do it, and return its answer. None: it was killed."""
        began = monotonic()
        try:
            os.write(self._asks, json.dumps({"do": do, **more}).encode() + b"\n")
        except BrokenPipeError:
            pass
        while b"\n" not in self._heard:
            weather()
            self.tend()
            if monotonic() > began + 1.5 * self.config.patience + 2:
                self.hang(f"the owner, process {self.owner}, at {do}")
            if select.select([self._answers], [], [], 0.0005)[0]:
                data = os.read(self._answers, 65536)
                if not data:
                    self.bury()
                    return None
                self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def announced(self, serial: int, epoch: int) -> None:
        if epoch <= self.epoch:
            self.fail(f"epoch {self.epoch} was followed by {epoch}")
        self.epochs[serial], self.epoch, self.live = epoch, epoch, serial

    def announce(self) -> bool:
        if not self.owner:
            self.found()
        self.serial += 1
        self.fence = None
        self.epochs[self.serial] = 0  # it may be killed before it says which
        answer = self.ask("announce", serial=self.serial)
        if answer is not None:
            self.announced(answer["serial"], answer["epoch"])
        return answer is not None

    def settle(self) -> bool:
        """Wait until two workers have been inside of what is announced now. False: the owner was killed meanwhile."""
        began = monotonic()
        while sum(self.board.slot(post.number)["serial"] == self.live for post in self.posts) < 2:
            self.tend()
            self.calm(0.0 if monotonic() > began + 0.1 else 1.0)
            if self.owner in self.deaths:
                self.bury()
                return False
            if monotonic() > began + self.config.patience:
                self.hang(f"page {self.live}, to which nobody attaches")
            sleep(0.0005)
        return True

    def remove(self) -> bool:
        """One removal, and what befalls everybody meanwhile. False: the owner was killed."""
        kind = self.random.choice(KINDS)
        self.fence = self.random.uniform(0.1, 0.25) if self.random.random() < 0.35 else None
        more: dict[str, Any] = {"fence": self.fence}
        if kind == "replace":
            self.serial += 1
            more["serial"] = self.serial
            self.epochs[self.serial] = 0
        if self.random.random() < 0.05 and self.ask("fork") is None:
            return False
        answer = self.ask(kind, self.weather(), **more)
        if answer is None:
            return False
        if "late" in answer:
            self.fail(f"{kind} of page {self.live} did not end: {answer['late']}")
            raise Over
        self.weigh(kind, answer)
        return True

    def weigh(self, kind: str, answer: dict[str, Any]) -> None:
        """Whether it may have ended like that."""
        serial, holders, counts = answer["serial"], answer["holders"], self.verdict.counts
        self.cut[serial] = {pid for pid, *_ in holders}
        counts["removals"] += 1
        counts[kind] += 1
        counts[answer["state"]] += 1
        counts["named"] += len(holders)
        if self.fence is None:
            self.verdict.took.append(1000 * answer["took"])
        unasked = [text for _, _, state, text in holders if self.fence is None and not (self.place.leases and state == "lost")]
        if (answer["state"] == "drained") != (not holders) or unasked:
            self.fail(f"{kind} of page {serial}, fence {self.fence}, ended as {answer['state']} with {holders}")
        if answer["epoch"] != self.epochs[serial]:
            self.fail(f"page {serial} has epoch {self.epochs[serial]}, and its removal says {answer['epoch']}")
        for pid, epoch, _, text in holders:
            if not self.place.leases and self.deaths.get(pid, answer["began"]) < answer["began"]:
                self.fail(f"the removal of page {serial} waited for one that was dead: {text}")
            if epoch != answer["epoch"]:
                self.fail(f"the removal of page {serial}, epoch {answer['epoch']}, names a holder of another one: {text}")
            counts["named, and merely slow"] += pid not in self.reasons and pid not in self.deaths
        if kind == "replace":
            self.announced(answer["next"], answer["next_epoch"])
        else:
            self.live = 0
        self.listen()
        self.judge()

    def weather(self) -> Callable[[], object]:
        """What is to happen at which moment of the next removal."""
        began = monotonic()
        acts: list[tuple[float, Callable[[], object]]] = []
        for _ in range(self.random.choice((0, 1, 1, 2))):
            when = began + self.random.choice((0.0, 0.001, 0.004, 0.02)) * self.random.random()
            acts.append((when, self.kill if self.random.random() < 0.6 else self.stop))
        if self.random.random() < 0.03:
            acts.append((began + 0.006 * self.random.random(), self.kill_owner))
        acts.sort(key=lambda act: act[0], reverse=True)

        def happen() -> None:
            while acts and acts[-1][0] <= monotonic():
                acts.pop()[1]()
            self.calm(0.05 if self.fence is None else 0.001)

        return happen

    def running(self) -> list[Post]:
        return [post for post in self.posts if post.pid and not post.stopped]

    def kill(self) -> None:
        post = self.random.choice(self.posts)
        if post.pid:
            os.kill(post.pid, signal.SIGKILL)
            self.verdict.counts["killed"] += 1

    def stop(self) -> None:
        running = self.running()
        if len(running) > len(self.posts) // 2:
            post = self.random.choice(running)
            self.reasons.add(post.pid)
            os.kill(post.pid, signal.SIGSTOP)
            post.stopped = True
            self.verdict.counts["stopped"] += 1

    def calm(self, chance: float) -> None:
        """Have those go on that are stopped, with that chance for each."""
        for post in self.posts:
            if post.pid and post.stopped and self.random.random() < chance:
                os.kill(post.pid, signal.SIGCONT)
                post.goes_on()

    def kill_owner(self) -> None:
        if self.owner:
            os.kill(self.owner, signal.SIGKILL)

    # ---- All of it ----

    def run(self) -> None:
        for post in self.posts:
            self.staff(post)
        while self.verdict.counts["removals"] < self.config.removals and not self.verdict.failures:
            if (self.live or self.announce()) and self.settle():
                self.remove()
        if not self.verdict.failures:
            self.send_home()

    def send_home(self) -> None:
        """Everybody lets go, by itself, and says what it has left."""
        self.ending = True
        self.board.end()
        deadline = monotonic() + self.config.patience
        while any(post.pid for post in self.posts):
            self.calm(1.0)
            self.tend()
            if monotonic() > deadline:
                self.hang("those who are to go home")
            sleep(0.001)
        done = None
        while done is None:
            self.fence = None
            if not self.live and not self.announce():
                continue
            answer = self.ask("revoke", fence=None)
            if answer is not None:
                self.weigh("revoke", answer)
                done = self.ask("finish")
        for each in done["left"]:
            self.fail(f"the owner has left {each}")
        self.listen()
        self.judge(finally_=True)

    def clear(self) -> None:
        """End what is still there, and look at what should not be."""
        failed = bool(self.verdict.failures)
        self.listen()
        deadline = monotonic() + self.config.patience
        while left := children() - self.strangers:
            for pid in left if failed else left & self.copies:
                os.kill(pid, signal.SIGKILL)
            if monotonic() > deadline:
                for pid in left:
                    os.kill(pid, signal.SIGUSR1)  # which says where
                    sleep(0.1)
                    os.kill(pid, signal.SIGKILL)
                self.fail(f"{len(left)} processes were left")
                break
            os.waitpid(-1, os.WNOHANG)
            sleep(0.001)
        for fd in (self._asks, self._answers):
            if fd >= 0:
                os.close(fd)
        self.events.close()
        if not failed:
            orphans = {f"page-{serial}" for serial in self.orphans}
            for name in {path.name for path in self.pages.iterdir()} - orphans:
                self.fail(f"the segment {name} was left")
            for each in self.place.left():
                self.fail(f"{each} was left")
        for post in self.posts:
            for name in COUNTED:
                self.verdict.counts[name] += self.board.slot(post.number)[name]


def children() -> set[int]:
    """This process's, and those that have lost their parents."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()))


class Told(logging.Handler):
    """What the library reports as an error is one, but for what the storm itself has told already."""

    def __init__(self, events: Events, place: Place) -> None:
        super().__init__(logging.ERROR)
        self._events = events
        self._expected = (FileNotFoundError, ConnectionError) if place.leases else FileNotFoundError  # its line was cut

    def emit(self, record: logging.LogRecord) -> None:
        if not record.exc_info or not isinstance(record.exc_info[1], self._expected):
            self._events.tell("fault", text=f"reported: {logging.Formatter().format(record)}")


def storm(config: Config) -> Verdict:
    """Run one, in a process that has no threads."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # whoever loses his parent becomes a child of this process
    began = monotonic()
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        directory = Path(name)
        place = places.place(config.address, directory / "names")
        remains = Remains()
        conductor = Conductor(config, place, directory)
        try:
            conductor.run()
        except Over:
            pass
        finally:
            conductor.clear()
            place.close()
        verdict = conductor.verdict
        if not verdict.failures:
            verdict.failures += [f"the conductor has left {each}" for each in remains.left(1.0)]
    verdict.seconds = monotonic() - began
    return verdict
