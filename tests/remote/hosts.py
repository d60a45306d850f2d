"""Another host, as far as that goes on one machine: its own network, its own process numbers, and a link that can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import count

from .server import Lacking

_numbers = count()


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise Lacking(f"ip {' '.join(words)}: {done.stderr.strip()}")


class OtherHost:
    """Commands that begin with `prefix` run there. `server` is this host's address, as seen from there."""

    def __init__(self) -> None:
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
            raise Lacking("another host needs root, ip and unshare")
        number = next(_numbers)
        self.name = f"rp{os.getpid() % 100000}n{number}"
        self.link = f"{self.name}a"
        net = f"10.{200 + number % 50}.{os.getpid() % 250}"
        self.server = f"{net}.1"
        self.prefix = ("ip", "netns", "exec", self.name, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        try:
            ip("netns", "add", self.name)
            ip("link", "add", self.link, "type", "veth", "peer", "name", "b", "netns", self.name)
            ip("addr", "add", f"{self.server}/24", "dev", self.link)
            ip("link", "set", self.link, "up")
            ip("-n", self.name, "addr", "add", f"{net}.2/24", "dev", "b")
            ip("-n", self.name, "link", "set", "dev", "b", "up")
        except Lacking:
            self.remove()
            raise

    def cut(self) -> None:
        """Pull the cable: nothing comes through any more, and nobody is told."""
        ip("link", "set", self.link, "down")

    def mend(self) -> None:
        ip("link", "set", self.link, "up")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.link], capture_output=True)
