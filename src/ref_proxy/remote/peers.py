"""Who is at the other end of a socket: the kernel says, and tells when that process has ended."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys

from .address import shown

__all__ = ["SHORT", "Peer", "me"]

SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}  # there is no descriptor left, so far, or no memory
SO_PEERPIDFD = 77  # Linux 6.5
LOCAL_PEERCRED, LOCAL_PEERPID = 0x001, 0x002  # macOS


class Peer:
    """The process that connected a socket, or listened: also when another one, its child, has the descriptor by now."""

    def __init__(self, connection: socket.socket) -> None:
        self.pid, self.uid = _credentials(connection)
        self.pidfd = _pidfd(connection, self.pid)

    @property
    def dead(self) -> bool:
        """Whether it has ended, for certain."""
        if self.pidfd is None:
            return False
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def lives(self) -> bool:
        """Whether it has not ended, as far as can be told."""
        if self.pidfd is not None:
            return not self.dead
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is another user's
            pass
        return True

    def close(self) -> None:
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def may_attach(self) -> bool:
        """Whether it is of this user, or root."""
        return self.uid in (os.geteuid(), 0)


def _credentials(connection: socket.socket) -> tuple[int, int]:
    if sys.platform == "darwin":
        (pid,) = struct.unpack("i", connection.getsockopt(0, LOCAL_PEERPID, 4))
        _, uid = struct.unpack("II", connection.getsockopt(0, LOCAL_PEERCRED, 76)[:8])
        return pid, uid
    pid, uid, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _pidfd(connection: socket.socket, pid: int) -> int | None:
    """What becomes readable when it ends. None where the system has no such thing: then the end of its connection has to do."""
    if sys.platform != "linux":
        return None
    try:
        fd = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        os.set_inheritable(fd, False)
        return fd
    except OSError as error:
        _let_pass(error, errno.ENOPROTOOPT, errno.EINVAL, errno.ENODATA, errno.ESRCH)
    try:  # an older kernel: if it ended this moment, and its number is another's already, its connection has ended too
        return os.pidfd_open(pid)
    except OSError as error:
        _let_pass(error, errno.ENOSYS, errno.EINVAL, errno.ESRCH, errno.EPERM)
        return None


def _let_pass(error: OSError, *known: int) -> None:
    """Whoever has no descriptor left must not take that for a kernel without pidfds."""
    if error.errno not in known:
        raise error


def me() -> str:
    """What this process calls itself, for others to read: without a password, and in ASCII, which each database can spell."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and (name := multiprocessing.current_process().name) != "MainProcess":
        return _spelled(str(name))
    command = [os.path.basename(word) if i < 2 else word for i, word in enumerate(map(shown, sys.orig_argv))]
    return _spelled(" ".join(command)) or "python"


def _spelled(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")[:120]
