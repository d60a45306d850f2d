"""Which process: so that another one on the same host, and nobody else, can ask the kernel whether it is alive."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import NamedTuple

__all__ = ["Identity", "Watched"]


class Identity(NamedTuple):
    """A process, by what no other one ever has. `boot` is empty where the system has no such thing: then nobody can tell."""

    host: str
    pid: int
    boot: str = ""
    space: str = ""  # the process and time namespaces, in which the number and the moment mean something
    started: str = ""

    @classmethod
    def mine(cls) -> Identity:
        """That of this process."""
        pid = os.getpid()
        started = _started(pid)
        try:
            with open("/proc/sys/kernel/random/boot_id") as file:
                boot = file.read().strip()
            space = "/".join(os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "time"))
        except OSError:
            return cls(socket.gethostname(), pid)
        if started is None or started == "":
            return cls(socket.gethostname(), pid)
        return cls(socket.gethostname(), pid, boot, space, started)

    @classmethod
    def told(cls, host: str | None, pid: str | None, boot: str | None, space: str | None, started: str | None) -> Identity:
        """The one that a row of a table tells of."""
        return cls(host or "", int(pid or 0), boot or "", space or "", started or "")

    def within_sight_of(self, other: Identity) -> bool:
        """Whether that process can ask the kernel about this one."""
        return bool(self.boot) and (self.boot, self.space) == (other.boot, other.space)

    def is_dead(self) -> bool:
        """Whether the kernel says so; False where this process cannot ask it."""
        return self.within_sight_of(Identity.mine()) and self.has_ended()

    def has_ended(self) -> bool:
        """Or another one has its number by now."""
        return _started(self.pid) not in {self.started, None}


class Watched:
    """A process of this host: whether it has ended, and a descriptor that becomes readable when it does, where there is one."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._dead = False
        self.fd: int | None = None
        if hasattr(os, "pidfd_open"):
            try:
                self.fd = os.pidfd_open(identity.pid)
            except OSError as error:
                # No such process, or it is a thread of some other one.
                self._dead = error.errno in {errno.ESRCH, errno.EINVAL, errno.ENOENT}

    def ended(self) -> bool:
        """Whether it has ended, or another one has its number by now."""
        self._dead = self._dead or self._identity.has_ended()
        if self._dead:
            self.close()
        return self._dead

    def close(self) -> None:
        """Give the descriptor up."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _started(pid: int) -> str | None:
    """When it was started, as the kernel counts; empty if it has ended, None if that is not told."""
    if sys.platform != "linux":
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if _runs(pid) else ""  # it may be hidden (hidepid)
    except OSError:
        return None
    # A first thread that has ended is a zombie, too, for as long as there are others.
    return "" if state in {b"Z", b"X"} and int(fields[16]) <= 1 else fields[18].decode()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
