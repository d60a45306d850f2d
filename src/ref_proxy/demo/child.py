"""A child process that is talked to in lines of text, and that is never waited for without a deadline."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from time import monotonic

__all__ = ["Child", "Silence"]

PACKAGES = str(Path(__file__).resolve().parents[2])


class Silence(Exception):
    """A child ended, or said nothing in time."""


class Child:
    """`python -m module arguments`, with the same interpreter, and the same ref_proxy whatever made that one importable."""

    def __init__(self, module: str, *arguments: str) -> None:
        path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._heard = b""

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def receive(self, timeout: float) -> str:
        assert self._process.stdout is not None
        deadline = monotonic() + timeout
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                raise Silence(f"{self._module} said nothing for {timeout:.0f} s")
            chunk = self._process.stdout.read(65536)
            if not chunk:
                raise Silence(f"{self._module} ended early, with status {self._process.wait()}")
            self._heard += chunk
        line, self._heard = self._heard.split(b"\n", 1)
        return line.decode()

    def end(self) -> None:
        """Close its input, which tells it to end, and kill it when it does not."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
