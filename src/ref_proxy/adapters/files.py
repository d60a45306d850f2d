"""Files and devices: a terminal, a serial line, a tun interface, a pipe, a FUSE file; whatever has a descriptor, and may vanish.

`provide()` opens the file, or takes over a descriptor. `open(proxy)` gives a consumer a raw binary file, each call of which is a
section of its own. A blocked call comes back at the removal, and no descriptor is ever closed under anybody:

    The descriptor does not block, so no system call sleeps where only the device could wake it. A call tries first. If there is
    nothing yet it polls the descriptor and, beside it, a *waker*.
    The waker is readable from the interrupt on. Nobody ever reads from it, so it stays so: all who wait are woken, and those who
    come to wait a moment later too.
    Who is woken leaves his section and begins anew. By then he is refused, or finds the file that was put in the place.

What cannot be woken is a system call that sleeps although the descriptor is said not to block: reading a regular file, a FUSE
file, some `ioctl`s. There the removal waits, unless `provide(..., interrupt=...)` knows how to break it off.
"""

from __future__ import annotations

import os

if os.name != "posix":
    raise ImportError("ref_proxy.adapters.files needs poll(2) and descriptors that do not block, which this system has not")

import errno
import fcntl
import io
import select
import stat
import warnings
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

from .._backend import Proxy
from ..errors import Revoked, RevokeDeadlock, RevokeTimeout
from ..provider import Provider
from ..report import describe
from ..waiting import check_timeout
from .gone import GONE, Departure, revoked_from
from .waking import Waker, Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Descriptor", "File", "open", "provide", "replace"]

T = TypeVar("T")
PathOrDescriptor: TypeAlias = "int | str | bytes | os.PathLike[str] | os.PathLike[bytes]"

_LONGEST = 2**31 - 1  # milliseconds that poll(2) takes
_REMOVED = select.POLLHUP | select.POLLERR  # what the kernel, too, says of a device that is gone
_AMBIGUOUS = frozenset({errno.EIO, errno.ENXIO})  # they say that the device is gone, or that one transfer failed
_TUN = (
    10,
    200,
)  # major and minor number of /dev/net/tun, a read of which fails with EFAULT when its interface is deleted meanwhile


class _Woken(Exception):
    """The file is being removed or replaced: leave the section, and begin anew."""


class Descriptor:
    """What a section of a file holds: an open descriptor, that does not block.

    Made by `provide()`. Most consumers want `open(proxy)` instead; this is for what needs the number itself: `termios`, `fcntl`,
    `mmap`, `os.pread`. The number is valid inside the section, and nowhere else.

    Guarantees: S3, S4. Fork: the child shares the open file with its parent, position and flags included, as with any descriptor.

    Attributes:
        name: what messages call it.

    >>> import os
    >>> from ref_proxy.adapters import files
    >>> provider = files.provide(os.devnull)
    >>> proxy = provider.proxy()
    >>> with proxy.access() as file:
    ...     os.pread(file.fileno(), 5, 0)
    b''
    >>> provider.revoke()
    True
    >>> file.fileno()
    Traceback (most recent call last):
    ValueError: '/dev/null' has been released: its number may be used only inside a section
    """

    __slots__ = (
        "__weakref__",
        "_blocked_in",
        "_departure",
        "_handed_over",
        "_hangs_up",
        "_is_tun",
        "_mode",
        "_number",
        "_waker",
        "name",
    )

    def __init__(self, file: PathOrDescriptor, flags: int, name: str | None, departure: Departure) -> None:
        self._number = -1
        if isinstance(file, bool) or not isinstance(file, (int, str, bytes, os.PathLike)):
            raise TypeError(
                f"a file is provided by its path, or by a descriptor that is handed over, not by a {type(file).__name__}; "
                "if that has a descriptor which it closes itself, hand over os.dup(it.fileno())"
            )
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a file must be a str or None, not {type(name).__name__}")
        self._departure = departure
        self._waker = Waker()
        self._handed_over = isinstance(file, int)
        if isinstance(file, int):
            number, self.name = file, name or f"descriptor {file}"
        else:
            # A terminal that is opened here does not become the one that this process gets its Ctrl-C and its hang-ups from.
            number, self.name = os.open(file, flags | os.O_NOCTTY, 0o666), name or os.fsdecode(file)
        try:
            status = os.fstat(number)
            self._hangs_up = stat.S_ISCHR(status.st_mode)
            self._is_tun = self._hangs_up and (os.major(status.st_rdev), os.minor(status.st_rdev)) == _TUN
            self._mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
            self._blocked_in = os.getpid() if self._handed_over and os.get_blocking(number) else None
            os.set_blocking(number, False)
        except BaseException as error:
            if not self._handed_over:
                os.close(number)
            elif isinstance(error, OSError) and error.errno == errno.EBADF:
                raise OSError(
                    errno.EBADF, f"descriptor {number} is not open: hand over one that is, and leave it alone"
                ) from None
            raise
        self._number = number

    def fileno(self) -> int:
        """Return the number, for use inside the section. Raises: `ValueError` once it has been released."""
        if self._number < 0:
            raise ValueError(f"{self.name!r} has been released: its number may be used only inside a section")
        return self._number

    @property
    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return self._mode != os.O_WRONLY

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._mode != os.O_RDONLY

    def close(self) -> None:
        """Close the descriptor: for a provider's release, and for one that was replaced. May be called again."""
        number, self._number = self._number, -1
        if number >= 0:
            try:
                self._restore(number)
            finally:
                _close(number)

    def _give_back(self) -> None:
        """Close it if it was opened here; if it was handed over, let its owner have it again, as it was."""
        if self._handed_over:
            number, self._number = self._number, -1
            self._restore(number)
        else:
            self.close()

    def _restore(self, number: int) -> None:
        # Whoever shares the open file shares how it blocks. Not in a forked child: its parent goes on with it.
        if self._blocked_in == os.getpid():
            os.set_blocking(number, True)

    def _poll(self, events: int, deadline: float | None) -> int:
        """Wait until it is ready for one of `events`, and return for which; 0 when `monotonic()` is past the deadline.

        Raises: `_Woken` once the waker has been woken.
        """
        poll = select.poll()
        poll.register(self._waker, select.POLLIN)
        poll.register(self.fileno(), events)
        while True:
            left = None if deadline is None else min(max(deadline - monotonic(), 0) * 1000, _LONGEST)
            ready = dict(poll.poll(left))
            if self._waker.fileno() in ready:
                raise _Woken
            if ready:
                return ready[self._number]
            if deadline is not None and monotonic() >= deadline:
                return 0

    def _has_hung_up(self) -> bool:
        """Whether the kernel says that what was at the other end has gone."""
        poll = select.poll()
        poll.register(self.fileno(), 0)
        return any(found & _REMOVED for _, found in poll.poll(0))

    def _transfer(self, call: Callable[[int], int], event: int, *, blocking: bool) -> int | None:
        """Do `call(number)`, when it is ready; None where it is not, and is not to be waited for."""
        while True:
            try:
                return call(self.fileno())
            except BlockingIOError:
                if not blocking:
                    return None
            self._poll(event, None)

    def _read_into(self, number: int, buffer: WriteableBuffer) -> int:
        """Read once. An end of file that is a hang-up is an error, as it is for those who were blocked at that moment."""
        size = os.readv(number, [buffer])
        if size == 0 and self._hangs_up and memoryview(buffer).nbytes and self._has_hung_up():
            raise OSError(errno.EIO, "end of file, and it has hung up")
        return size

    def _revoked_from(self, error: OSError) -> Revoked | None:
        """Return the `Revoked` to raise in the place of `error`; None where that does not say that the device is gone.

        EIO and ENXIO also mean that one transfer failed: a bad sector, a tun interface that is down, an I2C address at which
        nobody answers. They count where the kernel says, too, that the device has hung up.
        """
        also = {errno.EFAULT} if self._is_tun else frozenset[int]()
        if isinstance(error, Revoked) or (error.errno in _AMBIGUOUS | also and not self._has_hung_up()):
            return None
        return revoked_from(error, repr(self.name), also)

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            self.close()
            warnings.warn(
                f"{self.name!r} was dropped while open, and has been closed: call close()", ResourceWarning, source=self
            )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: it owns one descriptor of this process")

    def __repr__(self) -> str:
        return f"<ref_proxy.adapters.files.Descriptor {self.name!r}, {'released' if self._number < 0 else self._number}>"


def _close(number: int) -> None:
    try:
        os.close(number)
    except OSError as error:
        # It is closed all the same. What was written could not be flushed; to a device that is gone that is no news.
        if error.errno not in GONE - _AMBIGUOUS:
            raise


class File(io.RawIOBase):
    r"""A consumer's handle on a file that may vanish: a raw binary file, each call of which is a section of its own.

    Made by `open(proxy)`. It reads and writes like `io.FileIO`, iterates by lines, and may be wrapped in `io.BufferedReader` and
    `io.TextIOWrapper`. Calls block as they do there, until there is data, the end of the file, or room; and they raise `Revoked`
    at once when the file is removed, or turns out to have gone away by itself. It has no descriptor to give away: what
    `fileno()` returned might be closed in the next moment, and be somebody else's in the one after; see `watch()`.

    Guarantees: S1, S2, S5, S6. Blocks: `read`, `write` and `poll`, on the device; `close()` never. Threads: any, also several at
    once; they share one position in the file. Fork: as with any file.
    Raises: `Revoked`; what the system call says, where that does not mean "gone"; `ValueError` once the handle, or the proxy
    that it was made of, is closed. Cost: a section and one system call, where nobody has to wait.
    Source: the character devices of the kernel's series; there, after the removal, `poll` reports nothing and readers sleep on.

    >>> import os
    >>> from ref_proxy.adapters import files
    >>> ours, theirs = os.openpty()
    >>> provider = files.provide(theirs, name="ttyUSB0")
    >>> line = files.open(provider.proxy())
    >>> os.write(ours, b"ping\n")
    5
    >>> line.read(80)
    b'ping\n'
    >>> provider.revoke()
    True
    >>> line.read(80)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] a proxy of 'ttyUSB0' was refused: the resource is revoked; ...
    >>> line.close()
    >>> os.close(ours)
    """

    def __init__(self, proxy: Proxy[Descriptor], *, blocking: bool = True) -> None:
        self._watches: dict[int, Watch] = {}
        if not isinstance(proxy, Proxy):
            raise TypeError(
                f"a file is opened by a proxy of the provider that files.provide() made, not by a {type(proxy).__name__}"
            )
        self._proxy = proxy
        self._blocking = blocking
        self._name = self._use(lambda file: file.name)

    def _use(self, call: Callable[[Descriptor], T]) -> T:
        """Do `call(file)` in a section, and once more whenever it is woken: it is refused then, or finds the next file."""
        while True:
            if self.closed:
                raise ValueError(f"this handle on {self._name!r} is closed: open another one")
            with self._proxy.access() as file:
                if not isinstance(file, Descriptor):
                    raise TypeError(
                        f"the resource of {self._proxy!r} is a {type(file).__name__}, which files.provide() did not make"
                    )
                try:
                    for watch in list(self._watches.values()):
                        watch.follow(file.fileno(), file._waker)
                    return call(file)
                except _Woken:
                    continue
                except OSError as error:
                    cause, revoked = error, file._revoked_from(error)
                    if revoked is None:
                        raise
            file._departure.tell()
            raise revoked from cause

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Read into `buffer` what there is, and return its size; 0 at the end of the file."""

        def read(file: Descriptor) -> int | None:
            if not file.readable:
                raise io.UnsupportedOperation(f"{file.name!r} is not open for reading")
            return file._transfer(lambda number: file._read_into(number, buffer), select.POLLIN, blocking=self._blocking)

        return self._use(read)

    def write(self, data: ReadableBuffer, /) -> int | None:
        """Write as much of `data` as there is room for, and return its size."""

        def write(file: Descriptor) -> int | None:
            if not file.writable:
                raise io.UnsupportedOperation(f"{file.name!r} is not open for writing")
            return file._transfer(lambda number: os.write(number, data), select.POLLOUT, blocking=self._blocking)

        return self._use(write)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position that all share who use this file, and return it. Args: `offset` in bytes, from `whence`."""
        return self._use(lambda file: os.lseek(file.fileno(), offset, whence))

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file off, or lengthen it, to `size` bytes, or to where the position is, and return the size."""

        def truncate(file: Descriptor) -> int:
            length = os.lseek(file.fileno(), 0, os.SEEK_CUR) if size is None else size
            os.ftruncate(file.fileno(), length)
            return length

        return self._use(truncate)

    @overload
    def ioctl(self, request: int, arg: int = 0) -> int: ...
    @overload
    def ioctl(self, request: int, arg: bytes) -> bytes: ...
    @overload
    def ioctl(self, request: int, arg: WriteableBuffer) -> Any: ...
    def ioctl(self, request: int, arg: Any = 0) -> Any:
        """Do `fcntl.ioctl()` with `request` and `arg`. One that sleeps in the kernel is not woken by a removal."""
        ioctl: Callable[..., Any] = fcntl.ioctl  # which of its overloads it is, is said above
        return self._use(lambda file: ioctl(file.fileno(), request, arg))

    def poll(self, events: int = select.POLLIN, timeout: float | None = None) -> int:
        """Wait until the file is ready for one of `events`, for at most `timeout` seconds, and return for which; 0 for none.

        A file that is removed has hung up: that is `POLLHUP | POLLERR`, at once and from then on, whatever was asked for; this
        never raises `Revoked`. Blocks: on the device. Raises: `ValueError`, `TypeError` for a bad timeout, or a closed handle.
        """
        check_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        try:
            return self._use(lambda file: file._poll(events, deadline))
        except Revoked:
            return _REMOVED

    def watch(self, events: int = select.POLLIN) -> int:
        """Return a descriptor for `select`, `selectors` and `asyncio`, which is readable when the file is ready for `events`.

        It is readable, too, from the removal on. It is always *reading* that it becomes ready for, with `POLLOUT` for events as
        well: `loop.add_reader(line.watch(select.POLLOUT), send_more)`. It is the handle's own, the same at each call, and valid
        until the handle is closed; a file that is put in the place by `replace()` is followed from the next call on. Nothing
        can be read from it, and it is not the file. Several may watch and one be first: use a handle that does not block.

        Blocks: never. Fork: a child calls it again. Raises: `Revoked` where the file is removed already;
        `io.UnsupportedOperation` where there is no epoll(7).
        """
        if not hasattr(select, "epoll"):
            raise io.UnsupportedOperation("watch() needs epoll(7), which this system has not; poll() in a thread does without")

        def watch(file: Descriptor) -> int:
            found = self._watches.get(events) or Watch(events)
            found.follow(file.fileno(), file._waker)
            return self._watches.setdefault(events, found).fileno()

        return self._use(watch)

    def readable(self) -> bool:
        """Tell whether the file was opened for reading."""
        return self._use(lambda file: file.readable)

    def writable(self) -> bool:
        """Tell whether the file was opened for writing."""
        return self._use(lambda file: file.writable)

    def seekable(self) -> bool:
        """Tell whether the file has positions."""
        return self._use(_is_seekable)

    def isatty(self) -> bool:
        """Tell whether the file is a terminal."""
        return self._use(lambda file: os.isatty(file.fileno()))

    def fileno(self) -> NoReturn:
        """Refuse: `io.UnsupportedOperation`. A number is safe to use inside a section only."""
        raise io.UnsupportedOperation(
            f"{self!r} has no descriptor to give away: event loops take watch(); for all else there is "
            "`with proxy.access() as file: file.fileno()`"
        )

    @property
    def name(self) -> str:
        """What messages call the file."""
        return self._name

    def close(self) -> None:
        """Give up this handle; the file is the provider's. Calls that others are in go on. May be called again, at any time."""
        super().close()
        while self._watches:
            self._watches.popitem()[1].close()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"cannot copy or pickle {self!r}: open another one")

    def __repr__(self) -> str:
        return f"<ref_proxy.adapters.files.File of {self._proxy!r}>"


def _is_seekable(file: Descriptor) -> bool:
    try:
        os.lseek(file.fileno(), 0, os.SEEK_CUR)
    except OSError:
        return False
    return True


def provide(
    file: PathOrDescriptor,
    *,
    flags: int = os.O_RDWR,
    name: str | None = None,
    interrupt: Callable[[Descriptor], object] | None = None,
    on_gone: Callable[[Provider[Descriptor]], object] | None = None,
) -> Provider[Descriptor]:
    """Open a file, or take over a descriptor, and return its provider, which closes it after the last section.

    Guarantees: S1 to S11. Blocks: as `os.open()` does.

    Args:
        file: a path, which is opened here; or the number of an open descriptor, which is the provider's from then on. If this
            fails nothing stays open that was opened here, and a descriptor is the caller's still. While it is provided it does
            not block, which whoever shares the open file with it, by `os.dup()` or a fork, sees too, until the release.
        flags: how to open a path, as for `os.open()`; `O_NOCTTY` and `O_CLOEXEC` are added.
        name: what messages call it; the path where it is left out.
        interrupt: called with the `Descriptor` after blocked calls have been woken, to break off those that cannot be: for a
            FUSE file, say, what writes to its connection's `abort`.
        on_gone: called with the provider, once, by the consumer who finds that the device went away by itself, outside any
            section of the handle's. `Provider.revoke_soon` starts the removal.

    Raises: what `os.open()` does; `TypeError` for what is no path and no number; `OSError` with `EBADF` for one that is not open.

    >>> import os
    >>> from ref_proxy.adapters import files
    >>> ours, theirs = os.openpty()
    >>> provider = files.provide(theirs, name="ttyUSB0", on_gone=Provider.revoke_soon)
    >>> line = files.open(provider.proxy())
    >>> os.close(ours)                                                  # the device is unplugged
    >>> line.read(80)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] 'ttyUSB0' went away by itself (...); ...
    >>> provider.state == "live"
    False
    """
    if interrupt is not None and not callable(interrupt):
        raise TypeError(f"interrupt must be callable with the Descriptor, or None, not {type(interrupt).__name__}")

    def wake(descriptor: Descriptor) -> None:
        descriptor._waker.wake()
        if interrupt is not None:
            interrupt(descriptor)

    departure = Departure(on_gone)
    descriptor = Descriptor(file, flags, name, departure)
    return departure.watch(Provider(descriptor, interrupt=wake, release=Descriptor.close, name=descriptor.name))


def open(proxy: Proxy[Descriptor], *, blocking: bool = True) -> File:  # noqa: A001 - the shape that all adapters have
    """Make a consumer's handle on the file.

    Guarantees: S1, S2, S5. Blocks: never.

    Args:
        proxy: one of a provider that `provide()` made; handles may share it.
        blocking: False for event loops: `read` and `write` return None where there is nothing yet, or no room.

    Raises: `Revoked` where it is removed already; `TypeError` for any other proxy, or none.

    >>> import os
    >>> from ref_proxy import Provider
    >>> from ref_proxy.adapters import files
    >>> provider = files.provide(os.devnull)
    >>> with files.open(provider.proxy()) as null:
    ...     null.write(b"ping")
    4
    >>> provider.revoke()
    True
    >>> files.open(provider.proxy("late"))
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'late' of '/dev/null' was refused: the resource is revoked; ...
    """
    return File(proxy, blocking=blocking)


def replace(
    provider: Provider[Descriptor],
    file: PathOrDescriptor,
    *,
    flags: int = os.O_RDWR,
    on_gone: Callable[[Provider[Descriptor]], object] | None = None,
    timeout: float | None = None,
) -> None:
    r"""Put another file in the place of a provider's, wait until nobody uses the old one, and close that.

    Who is blocked in the old one goes on in the new one; `Provider.replace()` would wait until there is data for him.

    Guarantees: S8, S9, S11. Blocks: on the sections of the old file alone, at most `timeout` seconds.

    Args:
        provider: one that `provide()` made.
        file, flags, on_gone: as for `provide()`; they are the new file's.
        timeout: seconds; None waits without bound.

    Raises:
        RevokeTimeout: the time ran out; the new file is published, and the exception's `pending` is the removal of the old one:
            after `pending.wait()`, that is `pending.resource`, to be closed.
        Revoked, RevokeDeadlock: nothing was changed; a descriptor that was handed over is the caller's still.

    >>> import os
    >>> from ref_proxy.adapters import files
    >>> provider = files.provide(os.devnull)
    >>> zeros = files.open(provider.proxy())
    >>> files.replace(provider, "/dev/zero")
    >>> zeros.read(3)
    b'\x00\x00\x00'
    >>> provider.revoke()
    True
    """
    check_timeout(timeout)
    with provider.proxy().try_access() as current:
        if current is not None and not isinstance(current, Descriptor):
            raise TypeError(f"the resource of {provider!r} is a {type(current).__name__}, which files.provide() did not make")
    departure = Departure(on_gone)
    departure.watch(provider)
    new = Descriptor(file, flags, provider.name, departure)
    try:
        old, pending = provider.replace(new, timeout=0), None
    except (Revoked, RevokeDeadlock):
        new._give_back()
        raise
    except RevokeTimeout as late:
        pending = late.pending
        assert pending is not None and pending.resource is not None
        old = pending.resource
    old._waker.wake()  # after the new one is published; and if nobody is inside, event loops still watch
    if pending is not None and not pending.wait(timeout):
        inside = pending.blockers()
        raise RevokeTimeout(
            f"{provider.name!r} was replaced, but the old file was not free within {timeout} s; still inside: "
            f"{describe(inside)}; the exception's pending.wait() carries on",
            blockers=inside,
            pending=pending,
        )
    old.close()
