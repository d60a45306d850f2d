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
    """`python -m module arguments`, with the same interpreter, and the same ref_proxy whatever made that one importable.

    `apart`: Ctrl-C, which reaches every process at the terminal, does not reach it.
    """

    def __init__(self, module: str, *arguments: str, apart: bool = False) -> None:
        path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
        self._module = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0 if apart else None,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._heard = b""

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def receive(self, timeout: float) -> str:
        assert self.process.stdout is not None
        deadline = monotonic() + timeout
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - monotonic()))
            if not ready:
                raise Silence(f"{self._module} said nothing for {timeout:.0f} s")
            chunk = self.process.stdout.read(65536)
            if not chunk:
                raise Silence(f"{self._module} ended early, with status {self.process.wait()}")
            self._heard += chunk
        line, self._heard = self._heard.split(b"\n", 1)
        return line.decode()

    def hang_up(self) -> None:
        """Close its input, which tells it to end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> None:
        """Tell it to end, and kill it when it does not."""
        assert self.process.stdout is not None
        self.hang_up()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
