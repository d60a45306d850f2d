"""Forks in the midst of it all: in the child exactly the sections of the forking thread are open, and nothing hangs."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import traceback
from _thread import get_ident
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING

from .._backend import BACKEND
from ..errors import RevokeDeadlock
from .actor import Actor
from .keepers import Lives
from .machine import GIL

if TYPE_CHECKING:
    from ..provider import Provider
    from .life import Life
    from .specimen import Specimen
    from .stage import Stage

__all__ = ["Forker", "forbidden_by_sanitizer", "without_forks"]

PAUSE = 0.2  # seconds between two: a fork costs all others some milliseconds
CHILD = 3.0  # seconds for each removal in a child
PATIENCE = 4  # seconds until a child that hangs is killed by its own alarm, and says where it hangs
HUNG = 6.0  # seconds until it is killed by its parent


def without_forks() -> str | None:
    """Why there are no forks in this build; None where there are."""
    if not hasattr(os, "fork"):
        return "this system cannot fork"
    if not GIL and BACKEND == "py":
        return "free-threaded CPython leaves a dict locked in a child if another thread was in it at the fork"
    return forbidden_by_sanitizer()


def forbidden_by_sanitizer() -> str | None:
    """Why a process that runs under a sanitizer must not fork; None where it may."""
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        return "AddressSanitizer leaves its own lock taken in a child if another thread was allocating at the fork"
    if "TSAN_OPTIONS" in os.environ:
        return "ThreadSanitizer takes a thread that a child starts for one that the parent had, and ends the child"
    return None


class Forker(Actor):
    """A thread that forks. Its providers have no hooks and no rivals: so a free-threaded child finds no dict's lock taken."""

    group = "forks"
    kinds = ("child checked",)

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name, stage)
        self.lives = Lives(self, stage.lane(name))

    def act(self, kind: str) -> int:
        life, provider = self.lives.begin(bare=True)
        inside, leave = Event(), Event()

        def partner() -> None:
            with life.proxy.access() as specimen:
                token = self.arrive(specimen)
                inside.set()
                leave.wait()
                self.depart(specimen, token)

        thread = Thread(target=partner, name="beside the fork", daemon=True)
        thread.start()
        inside.wait()
        with life.proxy.access() as specimen:
            token = self.arrive(specimen)
            said = self._fork(life, provider)
            self.depart(specimen, token)
        if said:
            self.stage.fault(f"in a forked child: {said}")
        if life.proxy.revoked:
            self.stage.fault("a removal in a forked child has reached its parent")
        leave.set()
        thread.join()
        life.revoke(self, provider)
        self.lives.end(life)
        for _ in range(int(PAUSE / 0.01)):
            if not self.stage.over:
                sleep(0.01)
        return not said

    def _fork(self, life: Life, provider: Provider[Specimen]) -> str:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = "it died"
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                faulthandler.register(signal.SIGALRM, chain=True)  # a child that hangs says where
                signal.alarm(PATIENCE)
                said = self._in_child(life, provider)
            except BaseException as error:
                said = "".join(traceback.format_exception_only(error)).strip()
            finally:
                os.write(write, said.encode())
                os._exit(0)
        self.stage.children.add(pid)
        os.close(write)
        with open(read, encoding="utf-8") as pipe:
            if not select.select([pipe], [], [], HUNG)[0]:
                os.kill(pid, signal.SIGKILL)  # it hung before it could ask for an alarm
            said = pipe.read()
        _, status = os.waitpid(pid, 0)
        self.stage.children.discard(pid)
        return f"it was killed by {signal.Signals(status & 0x7F).name}" if os.WIFSIGNALED(status) else said

    def _in_child(self, life: Life, provider: Provider[Specimen]) -> str:
        found = [blocker.ident for blocker in provider.blockers()]
        if found != [get_ident()]:
            return f"{len(found)} sections are open, not its own alone"
        try:
            provider.revoke(timeout=CHILD)
            return "a revoke() in a section of its own came back"
        except RevokeDeadlock:
            pass
        others = [lane.life for lane in self.stage.lanes if lane.life is not life] if GIL else []
        for other in others:
            theirs = None if other is None else other.provider()
            if theirs is not None:
                theirs.revoke(timeout=CHILD)
        return ""

    def clear_up(self) -> None:
        self.lives.close()
