"""Where a name lives on this host: a socket in a directory that is the user's own, and a lock that says who has it."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
import time
from pathlib import Path

from .address import NAME
from .peers import Peer
from .records import NotAnnounced, ProtocolError

__all__ = ["Place", "names"]

LONGEST = 103  # bytes of a socket's path, on macOS; Linux has 107

# What this interpreter has locked, by directory and name, however they are spelled. To the system a lock is the process's, and is
# given up with any descriptor of the file that is closed: so that is not even opened where the process has it already.
_mine: dict[tuple[int, int, str], object] = {}


def _directory() -> Path:
    """The user's own: REF_PROXY_DIR, or in XDG_RUNTIME_DIR, or beside other temporary files."""
    if chosen := os.environ.get("REF_PROXY_DIR"):
        return Path(chosen).absolute()  # now: the program may go elsewhere
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "ref_proxy"
    return Path(tempfile.gettempdir()) / f"ref_proxy-{os.geteuid()}"


def names() -> list[str]:
    """All names in the user's directory that have a socket."""
    try:
        found = sorted(_directory().iterdir())
    except FileNotFoundError:
        return []
    return [path.name for path in found if NAME.fullmatch(path.name) and path.is_socket()]


class Place:
    """The place of one name. `name` is a plain one, or the absolute path of a socket."""

    def __init__(self, name: str) -> None:
        self.address = f"unix:{name}"
        self.path = Path(name) if name.startswith("/") else _directory() / name
        self._lock: int | None = None
        self._key = (0, 0, "")  # of what is locked
        self._socket: tuple[int, int] | None = None  # which file this place has made: another owner's is not removed
        if len(os.fsencode(self.path)) > LONGEST:
            raise ValueError(
                f"{self.address!r} has its socket at {self.path}, which is longer than the {LONGEST} bytes that one may have"
            )

    def check(self, *, make: bool) -> None:
        """See that nobody else can put anything there. Raises `PermissionError`, naming the directory."""
        directory = self.path.parent
        if make:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except FileExistsError:
                pass
        try:
            found = os.lstat(directory)
        except FileNotFoundError:
            return
        mine = os.geteuid()
        if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or (found.st_uid != mine and (make or mine != 0)):
            raise PermissionError(
                errno.EPERM,
                f"{self.address!r} is in {directory}, which is not a directory of this user's alone: its mode must be 0700, its "
                f"owner {mine}, not {stat.filemode(found.st_mode)} of {found.st_uid}; say another one with REF_PROXY_DIR",
            )

    def lock(self) -> None:
        """Take the name. Raises `FileExistsError` where another owner is alive, or there is what no owner has left.

        The lock is the process's (POSIX, not `flock`): a child that was forked does not hold it when its parent is gone.
        """
        from fcntl import LOCK_EX, LOCK_NB, lockf

        directory = self.path.parent.stat()
        key, me = (directory.st_dev, directory.st_ino, self.path.name), object()
        try:
            if _mine.setdefault(key, me) is not me:
                raise self._taken(os.getpid())
            self._look()
            fd = self._lock = os.open(
                self.path.parent / f".{self.path.name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                lockf(fd, LOCK_EX | LOCK_NB)
            except OSError as error:
                _, owner = _read(fd)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise self._taken(owner) from None
                raise
            self._key = key
        except BaseException:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            if _mine.get(key) is me:
                del _mine[key]
            raise

    def _look(self) -> None:
        """See that nobody lives there: in another interpreter of this process, or with a lock whose file somebody has removed."""
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise FileExistsError(
                    errno.EEXIST,
                    f"{self.address!r} is to have its socket at {self.path}, where there is something else: "
                    "remove that, or announce another name",
                )
            with self.connect(0) as connection:
                peer = Peer(connection)
        except (FileNotFoundError, NotAnnounced):
            return
        except TimeoutError:
            raise self._taken(None) from None
        lives = peer.lives
        peer.close()
        if lives:  # else it is a copy of a dead owner that has the socket
            raise self._taken(peer.pid)

    def _taken(self, owner: int | None) -> FileExistsError:
        who = "which is too busy to say who it is" if owner is None else f"process {owner}"
        return FileExistsError(
            errno.EEXIST,
            f"{self.address!r} has an owner already, {who}: revoke it there first, or announce another name",
        )

    def next_epoch(self) -> int:
        """An epoch above all that were announced here before. The clock is in it, for a restart may lose the directory."""
        assert self._lock is not None
        last, _ = _read(self._lock)
        epoch = max(last + 1, time.time_ns() // 1_000_000)
        os.pwrite(self._lock, f"{epoch:20d} {os.getpid():10d}\n".encode(), 0)
        return epoch

    def listen(self) -> socket.socket:
        """The socket, in the place of one that a dead owner has left. To be called with the lock."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
            self._socket = self._there()
            os.chmod(self.path, 0o600)
            listener.listen(socket.SOMAXCONN)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def connect(self, timeout: float | None) -> socket.socket:
        """A connection to whoever owns the name. Raises `NotAnnounced`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(str(self.path))
        except BaseException as error:
            connection.close()
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                left = "" if isinstance(error, FileNotFoundError) else "its owner is gone, and has left the socket behind; "
                raise NotAnnounced(
                    errno.ENODEV,
                    f"nobody announces {self.address!r} ({self.path}): {left}start its owner, with the same REF_PROXY_DIR, or "
                    "give attach() some patience=",
                ) from None
            if isinstance(error, OSError) and error.errno == errno.EPROTOTYPE:
                raise ProtocolError(
                    f"{self.address!r} has its socket at {self.path}, where there is one of another kind: remove that, "
                    "or use another name"
                ) from None
            if isinstance(error, TimeoutError | BlockingIOError):
                raise TimeoutError(errno.ETIMEDOUT, f"the owner of {self.address!r} did not answer within {timeout} s") from None
            raise
        return connection

    def leave(self) -> None:
        """Give the name up, and leave nothing of the socket. That is closed after it: until then no other file has its number."""
        if self._lock is not None:
            if self._socket is not None and self._socket == self._there():
                self.path.unlink(missing_ok=True)
            self.forget()

    def _there(self) -> tuple[int, int] | None:
        """Which file is there."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def forget(self) -> None:
        """Give up the descriptor of the lock, and with it the lock, unless that is a parent's."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            _mine.pop(self._key, None)


def _read(fd: int) -> tuple[int, int]:
    """The last epoch, and whose it is."""
    words = os.pread(fd, 64, 0).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 and all(word.isdigit() for word in words) else (0, 0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mine.clear)
