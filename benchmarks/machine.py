"""Where and what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from benchmarks.measure import FREE_THREADED
from benchmarks.peers import versions

__all__ = ["cores", "load", "machine"]


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """How many wanted a processor in the last minute: those who measure, and their neighbours."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parent.parent
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def machine() -> dict[str, object]:
    import ref_proxy
    from ref_proxy.torture.machine import cpu

    changed = git("status", "--porcelain", "--", "src", "benchmarks")
    return {
        "cpu": cpu(),
        "cores": cores(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version() + (" free-threaded" if FREE_THREADED else ""),
        "build": sys.version,
        "compiler flags": sysconfig.get_config_var("CFLAGS"),
        "backend": ref_proxy.BACKEND,
        "version": ref_proxy.__version__,
        "peers": versions(),
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "when": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": load(),
    }
