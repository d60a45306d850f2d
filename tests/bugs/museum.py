"""The museum: bugs that others have reported, each shown twice, without ref_proxy and with it.

An exhibit has one *scene*: something is removed at the worst moment of its use. It is played in a child process, which may crash
or hang, first over `Bare`, which is how everybody does it, then over a `Provider`. The child tells what happens in single words.
"""

from __future__ import annotations

import importlib
import os
import platform
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ref_proxy
from ref_proxy import Provider, Revoked
from tests.support import Call, until

ROOT = Path(__file__).parents[2]
PACKAGES = Path(ref_proxy.__file__).parents[1]
ROUNDS = 50  # how often a scene is played; always in the same order of events, so that a bug shows the first time, and every time
DEADLINE = 45.0  # seconds until a child counts as hanging; it takes one


# In the child.


class Bare:
    """What there is without ref_proxy: everybody holds the thing itself, and whoever removes it releases it there and then.

    It looks like a Provider and its proxies in one, so that the same scene is played over both.
    """

    def __init__(self, resource: Any, *, release: Callable[[Any], object], interrupt: object = None) -> None:
        self._resource, self._release = resource, release
        self.state = "live"

    def proxy(self) -> Bare:
        return self

    def access(self) -> nullcontext[Any]:
        return nullcontext(self._resource)

    def revoke(self) -> None:
        self._release(self._resource)
        self.state = "revoked"

    def replace(self, new: Any) -> Any:
        old, self._resource = self._resource, new
        return old


class Hasty(Provider[Any]):
    """A seeded fault, which the scenes are to notice: it denies and interrupts, and does not wait."""

    def revoke(self, timeout: float | None = None) -> bool:
        self._removal._deny()
        self._removal._run_interrupt()
        return self._removal._run_release()


Owner = type[Bare] | type[Provider[Any]]
Scene = Callable[[Owner], None]


def play(module: str, owner: str) -> None:
    """Play the scene of a module, again and again, and leave no core behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    scene: Scene = importlib.import_module(module).scene
    for _ in range(ROUNDS):
        scene({"Bare": Bare, "Hasty": Hasty, "Provider": Provider}[owner])


def note(word: str) -> None:
    """Tell the parent what happened: at once, whole, and from any thread, so that it outlives a crash."""
    os.write(1, f"{word}\n".encode())


def use_midway(owner: Bare | Provider[Any], use: Callable[[Any], bool]) -> None:
    """Have three threads use it, remove it while each is in the middle of its use, and have them go on, and come again.

    `use()` is half a use, and returns whether what it found there was right.
    """
    midway: list[None] = []

    def user() -> None:
        proxy = owner.proxy()
        try:
            with proxy.access() as resource:
                note("done" if use(resource) else "wrong")
                midway.append(None)
                until(lambda: owner.state != "live")  # here it strikes: released, or, with ref_proxy, denied
                note("done" if use(resource) else "wrong")
            with proxy.access() as resource:
                note("done" if use(resource) else "wrong")
        except Revoked:
            note("refused")

    calls = [Call(user) for _ in range(3)]
    until(lambda: len(midway) == len(calls) or any(call.returned for call in calls))
    owner.revoke()
    for call in calls:
        call.result()


# In the parent.


@dataclass
class Ending:
    """How a child ended, and what it had told."""

    how: str  # "exit 0", "SIGSEGV", "hang"
    told: Counter[str]
    stderr: str

    def __str__(self) -> str:
        return f"it ended with {self.how!r}, and had told {dict(self.told)}\n{self.stderr}"

    @property
    def changed(self) -> str:
        """What to say where a bug did not show."""
        return (
            f"the world has changed: without ref_proxy {self}\nThis is {platform.python_implementation()} "
            f"{platform.python_version()} on {platform.platform()}. If the report has been mended there, find out since which "
            "version, write that into the exhibit, and expect the bug before it only; what is played with ref_proxy stays."
        )

    def assert_good(self) -> None:
        """Make sure that work was done, accesses were refused, and nothing else happened at all."""
        assert self.how == "exit 0", self
        assert self.told.keys() == {"done", "refused"}, self
        assert self.stderr == "", self


def run(scene: Scene, owner: Owner) -> Ending:
    """Play the scene in a process of its own, and come back whatever happens there."""
    if not os.access("/proc/self/syscall", os.R_OK):
        pytest.skip("the scenes are set on Linux, whose kernel tells who sleeps where")
    path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    try:
        child = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tests.bugs", scene.__module__, owner.__name__],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE,
        )
    except subprocess.TimeoutExpired as late:
        how, out, err = "hang", late.stdout, late.stderr
    else:
        code, out, err = child.returncode, child.stdout, child.stderr
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
    return Ending(how, Counter((out or b"").decode().split()), (err or b"").decode())
