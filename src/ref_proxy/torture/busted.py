"""The negative controls: storms over a mechanism that is broken on purpose, each of which has to fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from .._backend import BACKEND
from .broken import MECHANISM, POLICY
from .forks import without_forks
from .machine import GIL
from .substitutions import SUBSTITUTIONS, Unfit, build

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Control", "Unfit", "break_it", "controls", "run_apart"]

HUNG = 30.0  # seconds after which a storm that says nothing is ended: its own watchdog is much sooner

# It puts the busted twin, where there is one, in the place of the right one: before the package is imported, so that no line of
# the package need know of it.
BOOT = """
import json, sys
from importlib.util import spec_from_file_location

core, options = sys.argv[1:]

class Instead:
    @staticmethod
    def find_spec(name, *_):
        return spec_from_file_location(name, core) if name == "ref_proxy._core" else None

if core:
    sys.meta_path.insert(0, Instead)
from ref_proxy.torture.command import storm
raise SystemExit(storm(**json.loads(options)))
"""


class Control(NamedTuple):
    """One fault. `shows`: why it cannot show on this build; None where it has to."""

    name: str
    sort: str
    what: str
    hidden: str | None


def controls() -> list[Control]:
    """All faults of the twin that runs here, and of the policy, which is the same over both."""
    found: list[Control] = []
    if BACKEND == "c":
        for name, each in SUBSTITUTIONS.items():
            hidden = "needs a free-threaded build" if each.free_threaded and GIL else None
            found.append(Control(name, "C twin", each.what, hidden))
    else:
        found += [Control(name, "Python twin", what, None) for name, (_, what) in MECHANISM.items()]
    found += [Control(name, "policy", what, None) for name, (_, what) in POLICY.items()]
    without = without_forks()
    return [each._replace(hidden="there are no forks here") if without and "fork" in each.name else each for each in found]


def break_it(name: str) -> None:
    """Put a fault that is Python's into this process, for good."""
    {**MECHANISM, **POLICY}[name][0]()


def run_apart(control: Control, options: dict[str, Any]) -> tuple[int, str]:
    """Run the storm in a process of its own, which may die of it. Returns its exit status, and what it died of.

    Raises: `Unfit` where this fault cannot be tried here; `LookupError` where the source has changed under a substitution.
    """
    if control.hidden is not None:
        raise Unfit(f"{control.name} cannot show on this build: it {control.hidden}")
    packages = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")]))
    with TemporaryDirectory() as folder:
        core = str(build(control.name, Path(folder))) if control.sort == "C twin" else ""
        broken = None if core else control.name
        command = [sys.executable, "-P", "-c", BOOT, core, json.dumps({**options, "broken": broken})]
        sys.stdout.flush()
        environment = {**os.environ, "PYTHONPATH": path, "REF_PROXY_BACKEND": BACKEND}
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            status = process.wait(HUNG)
        except subprocess.TimeoutExpired:
            return 1, f"the process hung for {HUNG:.0f} s"
        finally:
            _end(process)
    if status < 0:
        return 1, f"the process was killed by {signal.Signals(-status).name}"
    return status, ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a storm: if that was killed, children that it had forked may go on, and keep its output open."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
