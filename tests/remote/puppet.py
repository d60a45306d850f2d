"""A process of its own, which does what a test tells it, over a pipe: an owner, or one of those who attach.

    with Puppet() as worker:
        worker.ask("attach", address=address)
        worker.ask("enter")

`die_at` names a step of the protocol at which it is killed by SIGKILL, by its own hand, so that nothing can be done any more.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ref_proxy import Revoked, remote
from ref_proxy.remote import worker
from tests import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

ROOT = Path(__file__).parents[2]


class Died(Exception):
    """The process has ended before it answered."""


class Failed(Exception):
    """What was told raised an exception there."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class Puppet:
    """The test's side."""

    def __init__(self, die_at: str = "", env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [*prefix, sys.executable, "-m", "tests.remote.puppet", die_at]
        environment = {**os.environ, **(env or {})}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment, bufsize=0
        )
        self._rest = b""

    def complaints(self) -> bytes:
        """What it has said on its standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, what: str, **how: Any) -> None:
        """Tell it, and do not wait."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"what": what, **how}).encode() + b"\n")
        except BrokenPipeError:
            raise Died(what) from None

    def hear(self, patience: float = PATIENCE) -> Any:
        """Its next answer. Raises what the command raised, as `Failed`, `Died`, or `TimeoutError`."""
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], patience)[0]:
                raise TimeoutError(f"puppet {self.pid} has not answered within {patience} s")
            data = self.process.stdout.read(65536)
            if not data:
                raise Died(self.process.wait(PATIENCE))
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"], answer["message"])
        return answer["value"]

    def ask(self, what: str, **how: Any) -> Any:
        """Tell it, and return what it answers."""
        self.tell(what, **how)
        return self.hear()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """Stop it (SIGSTOP), and return when it has stopped."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def kill(self) -> None:
        """Kill it, and return when it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def ended(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        sys.stderr.write(self.complaints().decode(errors="replace"))
        self._errors.close()


# ---- The process itself ----


class Doings:
    """What can be told. Each returns what JSON can say."""

    def __init__(self, die_at: str, answers: int) -> None:
        self.die_at = die_at
        self.answers = answers
        self.sections: list[Any] = []
        self.released = threading.Event()
        self.count = 0
        self.spun = threading.Event()
        self.owned: Any = None
        self.seed_deaths()

    def seed_deaths(self) -> None:
        """Patch what is under this process's feet, so that it dies at that step."""
        steps: dict[str, tuple[Any, str, bool]] = {
            "before registering": (worker._Attachment, "_register", False),
            "registered": (worker._Attachment, "_register", True),
            "recalled": (worker._Stay, "gone", False),
            "denied": (worker._Attachment, "deny", True),
            "released": (worker._Attachment, "_leave", False),
        }
        if self.die_at in steps:
            owner, name, after = steps[self.die_at]
            old = getattr(owner, name)

            def dying(*args: Any, **kwargs: Any) -> Any:
                if not after:
                    self.die()
                old(*args, **kwargs)
                self.die()

            setattr(owner, name, dying)
        when, _, number = self.die_at.partition(" statement ")
        if number:
            self.seed_death_at_statement(int(number), answered=when == "after")

    def seed_death_at_statement(self, number: int, *, answered: bool) -> None:
        """Patch what runs statements: it dies at this one, and a copy that C forked has the connection until stdin is closed."""
        from ref_proxy.remote.libpq import Talk

        execute, numbers = Talk.execute, itertools.count(1)

        def dying(*args: Any, **kwargs: Any) -> Any:
            now = next(numbers) == number
            rows = execute(*args, **kwargs) if answered or not now else None
            if now:
                self.copy(until_closed=True)
                self.die()
            return rows

        Talk.execute = dying  # type: ignore[method-assign]

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def maybe_die(self, step: str) -> None:
        if self.die_at == step:
            self.die()

    def release(self, resource: Any) -> None:
        self.maybe_die("releasing")
        self.released.set()

    def open(self, info: Any) -> list[Any]:
        self.maybe_die("opening")
        if "fifo" in info:
            Path(info["fifo"]).read_bytes()  # for as long as the test wants
        return [info]

    # as one who attaches

    def attach(self, address: str, dies: str = "", **how: Any) -> Any:
        hooks = {"release": self.release, **({dies: sys.exit} if dies else {})}
        self.handle = remote.attach(address, open=self.open, **hooks, **how)
        self.proxy = self.handle.proxy("puppet")
        return {"epoch": self.handle.epoch, "info": self.handle.info}

    def access(self) -> Any:
        """What an access finds; None where it is refused."""
        try:
            with self.proxy.access() as resource:
                return resource
        except Revoked:
            return None

    def enter(self) -> None:
        self.sections.append(self.proxy.access())

    def leave(self) -> None:
        self.sections.pop().end()

    def spin(self) -> None:
        """Access without end, in a thread, until refused."""

        def run() -> None:
            try:
                while True:
                    with self.proxy.access():
                        self.count += 1
            except Revoked:
                self.spun.set()

        threading.Thread(target=run, daemon=True).start()

    def spun_out(self) -> int:
        assert self.spun.wait(PATIENCE)
        return self.count

    def gone(self) -> Any:
        """Wait until it was released here."""
        assert self.released.wait(PATIENCE)
        return {"reason": self.handle.reason}

    def look(self) -> Any:
        return {"state": self.handle.state, "reason": self.handle.reason, "epoch": self.handle.epoch, "info": self.handle.info}

    def close(self) -> bool:
        return self.handle.close()

    # as an owner

    def announce(self, address: str, info: Any = None, dies: str = "") -> int:
        hooks: dict[str, Any] = {"release": lambda _: self.maybe_die("owner releasing"), **({dies: sys.exit} if dies else {})}
        self.owned = remote.announce(address, ["owned"], **hooks, info=info)
        if self.die_at == "owner recalled":
            self.owned._sharing.final._drain = lambda *_: self.die()
        return int(self.owned.epoch)

    def revoke(self, **how: Any) -> Any:
        outcome = self.owned.revoke(**how)
        return {"state": outcome.state, "pids": [holder.pid for holder in outcome.holders]}

    # as a process

    def fork(self) -> Any:
        """Fork a child that inherits everything. It says what an access gives it, and then lives on until it is killed."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, json.dumps(self.access() if hasattr(self, "proxy") else None).encode() + b"\n")
            signal.pause()
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            return {"pid": child, "access": json.loads(lines.readline())}

    def exhaust(self, but: int) -> None:
        """Have no descriptor left, but so many."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        self.taken: list[int] = []
        try:
            while True:
                self.taken.append(os.dup(0))
        except OSError:
            pass
        for _ in range(but):
            os.close(self.taken.pop())

    def relieve(self) -> None:
        for fd in self.taken:
            os.close(fd)

    def starve(self) -> None:
        """Have no thread any more: there is no room for one with such a stack."""
        threading.stack_size(1 << 46)

    def feed(self) -> None:
        threading.stack_size(0)

    def copy(self, *, until_closed: bool = False) -> int:
        """Fork in C, where no hook is run: the copy has all descriptors, and does nothing. Its number.

        One that is to end with the test has not those that tell the test of this process's end.
        """
        import ctypes

        libc = ctypes.PyDLL(None)  # keeps the GIL, which a copy could not take again
        buffer = ctypes.create_string_buffer(1)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(60.0)  # nor is it to be asked for that
        time.sleep(0.001)
        child: int = libc.fork()
        if child == 0:
            if until_closed:
                libc.close(self.answers)
                while libc.read(0, buffer, 1) > 0:
                    pass
                libc._exit(0)
            while True:
                libc.pause()
        sys.setswitchinterval(interval)
        return child

    def become(self, program: list[str]) -> None:
        os.execvp(program[0], program)

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))


def main(die_at: str) -> None:
    answers, commands = os.fdopen(os.dup(1), "w"), sys.stdin
    doings = Doings(die_at, answers.fileno())
    os.dup2(2, 1)
    for line in commands:
        command = json.loads(line)
        do: Callable[..., Any] = getattr(doings, command.pop("what"))
        try:
            answer: dict[str, Any] = {"value": do(**command)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
