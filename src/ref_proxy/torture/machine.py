"""What a storm ran on: so that its figures say what they are figures of."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from .._backend import BACKEND

__all__ = ["GIL", "cpu", "facts"]

GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


def facts() -> dict[str, Any]:
    """The machine, the interpreter, and the build of the package."""
    return {
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": GIL,
        "commit": _commit(),
        "twin": BACKEND,
    }


def cpu() -> str:
    """What the processor is called."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Of a checkout; with a + where it was changed since."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        if not any((folder / ".git").exists() for folder in here.parents[:4]):
            return None  # installed, in somebody else's repository at most
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
