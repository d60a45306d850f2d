"""Serial ports that vanish: pyserial's, of every kind that it opens.

A removal has to bring back everybody who is blocked in a port, and pyserial's `cancel_read()` brings back one: it writes a byte
to a pipe that readers watch beside the port, and the first to come takes it out. So the removal puts `/dev/null` in the place of
the pipe's reading end, under its number, and then writes the byte: that wakes all who sleep on the pipe, and what they look at
now, as does everybody who comes later, is readable for good. Ports without such a pipe are cancelled by what methods they have.
"""

from __future__ import annotations

import errno
import io
import os
from contextlib import suppress
from select import select
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from ..errors import Revoked
from ..provider import Provider
from .gone import Departure, revoked_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from serial import SerialBase

    from .._backend import Proxy

__all__ = ["SerialPort", "open", "provide"]

T = TypeVar("T")

LINE_END = b"\n"

# What ports in a network raise, besides, when the other side is gone.
_NETWORK = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT})

# pyserial's pipes on POSIX: for readers and for writers, the end that they watch and the end that cancel_...() writes to.
_PIPES = (("pipe_abort_read_r", "pipe_abort_read_w"), ("pipe_abort_write_r", "pipe_abort_write_w"))


def _failures() -> tuple[type[Exception], ...]:
    try:
        import termios
    except ImportError:  # Windows
        return (OSError,)
    return OSError, termios.error  # which is no OSError


_FAILURES = _failures()

_departures: WeakKeyDictionary[SerialBase, Departure] = WeakKeyDictionary()


def _pyserial() -> ModuleType:
    try:
        import serial
    except ImportError as error:
        raise ImportError(
            "serial ports need pyserial, which is not installed: pip install 'ref-proxy[serial]'", name="serial"
        ) from error
    module: ModuleType = serial
    return module


def provide(
    port: str | SerialBase,
    *,
    name: str | None = None,
    on_gone: Callable[[Provider[SerialBase]], object] | None = None,
    **settings: Any,
) -> Provider[SerialBase]:
    """Open a serial port, or take an open one over, and make the `Provider` through which others use it.

    The removal cancels what everybody is blocked in, and closes the port after the last section. `serial_ports.open(proxy)` is
    what a consumer uses; in a section of one's own, `with proxy.access() as port:`, a read that is cancelled returns what it has.

    Guarantees: S3, S4, S6, S14. Blocks: as opening the port does.

    Args:
        port: a device such as "/dev/ttyUSB0", a URL for `serial.serial_for_url()`, or an open port, which is the provider's then.
        name: what messages and reports call it; where it is left out, what pyserial does.
        on_gone: called with the provider, once, outside any section, by the handle that finds that the device went away by
            itself: `Provider.revoke_soon` starts the removal.
        settings: for `serial.serial_for_url()`: `baudrate=115200, timeout=1`.

    Raises:
        ImportError: pyserial is not installed.
        serial.SerialException: the port cannot be opened.
        ValueError: reads of this kind of port cannot be cancelled, and it has no timeout, so a removal might wait for ever; or
            the port that was given is not open. It is still the caller's then.

    >>> from ref_proxy.adapters import serial_ports
    >>> with serial_ports.provide("loop://", name="loop") as provider:
    ...     port = serial_ports.open(provider.proxy("reader"))
    ...     port.write(b"ping"), port.read(4)
    (4, b'ping')
    >>> port.read(4)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'loop' was refused: the resource is revoked; ...
    """
    serial = _pyserial()
    if isinstance(port, str):
        opened: SerialBase = serial.serial_for_url(port, **settings)
        try:
            return _provide(opened, name, on_gone)
        except BaseException:
            opened.close()
            raise
    if not isinstance(port, serial.SerialBase):
        raise TypeError(
            f"serial_ports.provide() takes a device, a URL or an open port of pyserial's, not a {type(port).__name__}"
        )
    if settings:
        raise TypeError(f"{port.name!r} is open, and keeps its settings: set {', '.join(settings)} on it before you provide it")
    return _provide(port, name, on_gone)


def _provide(
    port: SerialBase, name: str | None, on_gone: Callable[[Provider[SerialBase]], object] | None
) -> Provider[SerialBase]:
    if not port.is_open:
        raise ValueError(f"{port.name!r} is not open: open it before you provide it")
    if not hasattr(port, "cancel_read") and port.timeout is None:
        raise ValueError(
            f"a read of {port.name!r} cannot be cancelled, for {type(port).__module__} has no cancel_read(): "
            "give the port a timeout, which is how long a removal may have to wait"
        )
    departure = _departures[port] = Departure(on_gone)

    def interrupt(port: SerialBase) -> None:
        _cancel(port, len(cell.sections(0, cell.number)))

    provider = Provider(port, interrupt=interrupt, release=type(port).close, name=name or port.name)
    cell = provider._cell  # the interrupt must not keep the provider
    return departure.watch(provider)


def _has_pipes(port: SerialBase) -> bool:
    return all(getattr(port, end, None) is not None for pipe in _PIPES for end in pipe)  # None: it was closed


def _cancel(port: SerialBase, inside: int) -> None:
    """Bring back who is blocked, and whoever comes to block later. `inside`: how many there can be, at most."""
    if _has_pipes(port):
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for watched, written in _PIPES:
            os.dup2(null, getattr(port, watched), inheritable=False)
            with suppress(BrokenPipeError):  # nobody sleeps on it
                os.write(getattr(port, written), b"x")
        os.close(null)
    else:  # one call brings one back; there are none that could come later but in the sections that are open now
        for name in ("cancel_write", "cancel_read"):
            for _ in range(inside if hasattr(port, name) else 0):
                getattr(port, name)()


def _in_child() -> None:
    """Give each port pipes of this process's own: what is written to the old ones wakes the parent's readers."""
    for port in list(_departures):
        if _has_pipes(port):
            for pipe in _PIPES:
                for old, new in zip(pipe, os.pipe(), strict=True):
                    os.dup2(new, getattr(port, old), inheritable=False)
                    os.close(new)
                os.set_blocking(getattr(port, pipe[0]), False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _write(port: Any, data: Any) -> int | None:
    """Do as pyserial's `write()` on POSIX does, but wait where that spins, deaf to its pipe: while there is no room at all."""
    serial: Any = _pyserial()
    if not _has_pipes(port) or port.write.__func__ is not serial.Serial.write:
        written: int | None = port.write(data)
        return written
    left = memoryview(serial.to_bytes(data))
    size = len(left)
    deadline = None if port.write_timeout is None else monotonic() + port.write_timeout
    while left:
        time = None if deadline is None else max(0, deadline - monotonic())
        watched: list[int] = [port.pipe_abort_write_r]
        cancelled, room, _ = select(watched, [port.fd], [], time)
        if cancelled or (not room and port.write_timeout == 0):
            break
        if not room:
            raise serial.SerialTimeoutException("Write timeout")
        try:
            left = left[os.write(port.fd, left) :]
        except BlockingIOError:
            pass  # another writer was faster
        except OSError as error:
            raise serial.SerialException(f"write failed: {error}") from error
    return size - len(left)


class SerialPort(io.RawIOBase):
    """A consumer's handle on a serial port that may be revoked, with the methods of pyserial's ports. Made by `open(proxy)`.

    Each call, and each use of a property such as `baudrate`, `timeout` or `in_waiting`, is a section of its own. Once the port is
    revoked it raises `Revoked`: also one that is blocked, at once, and one that the removal cut short. A port that went away by
    itself raises `Revoked` too, from what pyserial raised. Settings are the port's, and so everybody's. After `close()`, which
    gives up this handle alone, calls raise `serial.PortNotOpenError`, as those of a closed port do.

    It has no `fileno()`: the number is the port's, and may be somebody else's after the removal. Threads: any.
    Guarantees: S1 to S3, S5, S6. Raises: `Revoked`, and what pyserial's ports raise.

    >>> from ref_proxy.adapters import serial_ports
    >>> provider = serial_ports.provide("loop://", name="loop")
    >>> port = serial_ports.open(provider.proxy("reader"))
    >>> port.baudrate = 115200
    >>> port.write(b"ping"), port.in_waiting, port.read(4)
    (4, 4, b'ping')
    >>> provider.revoke()
    True
    >>> port.read(4)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'loop' was refused: the resource is revoked; ...
    >>> port.close()
    """

    def __init__(self, proxy: Proxy[SerialBase]) -> None:
        super().__init__()
        self._given_up = False
        self._proxy = proxy
        self._who = repr(proxy._cell.name)
        with proxy.access() as port:
            if not isinstance(port, _pyserial().SerialBase):
                raise TypeError(
                    f"the proxy leads to a {type(port).__name__}, which is no serial port: serial_ports.provide() has those"
                )
            self._departure = _departures.get(port) or Departure(None)
            self._name: str = port.name or ""

    def _use(self, work: Callable[[SerialBase], T], is_whole: Callable[[T], bool] = lambda _: True) -> T:
        """Return `work(port)`, done in a section."""
        if self._given_up:
            raise _pyserial().PortNotOpenError
        try:
            with self._proxy.access() as port:
                result = work(port)
        except Revoked:
            raise
        except _FAILURES as error:
            if self._proxy.revoked:
                raise self._cut_short() from error
            gone = _departure_from(error, self._who)
            if gone is None:
                raise
            self._departure.tell()
            raise gone from error
        if not is_whole(result) and self._proxy.revoked:
            raise self._cut_short()
        return result

    def _cut_short(self) -> Revoked:
        return Revoked(
            errno.ENODEV,
            f"{self._who} was revoked in the middle of this call; drop this handle, and get one from the next provider",
        )

    def _read(self, work: Callable[[SerialBase], bytes], is_whole: Callable[[bytes], bool]) -> bytes:
        return self._use(work, is_whole)

    def _move(self, work: Callable[[SerialBase], int | None], size: int) -> int:
        return self._use(work, lambda moved: moved == size) or 0

    def read(self, size: int = 1, /) -> bytes:
        return self._read(lambda port: port.read(size), lambda data: len(data) == size)

    def read_all(self) -> bytes:
        return self._read(lambda port: port.read_all(), bool)

    def read_until(self, expected: bytes = LINE_END, size: int | None = None) -> bytes:
        return self._read(lambda port: port.read_until(expected, size), lambda data: data.endswith(expected) or len(data) == size)

    def iread_until(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        while data := self.read_until(*args, **kwargs):
            yield data

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._read(lambda port: port.readline(size), lambda line: line.endswith(LINE_END) or len(line) == size)

    def readinto(self, buffer: Any, /) -> int:
        return self._move(lambda port: port.readinto(buffer), len(buffer))

    def write(self, data: Any, /) -> int:
        return self._move(lambda port: _write(port, data), len(data))

    def flush(self) -> None:
        if not self._given_up:  # closing comes by here
            self._use(lambda port: port.flush())

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_open(self) -> bool:
        return not self._given_up and not self._proxy.revoked

    def open(self) -> None:
        raise io.UnsupportedOperation("the port is opened by its provider: get a proxy, and serial_ports.open() that")

    def close(self) -> None:
        """Give up this handle. The port stays open. May be called again, and after the removal."""
        self._given_up = True
        super().close()

    # All else is the port's.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value: Any = self._use(lambda port: getattr(port, name))
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._use(lambda port: getattr(port, name)(*args, **kwargs))

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._use(lambda port: setattr(port, name, value))

    def __repr__(self) -> str:
        state = "closed" if self._given_up else "revoked" if self._proxy.revoked else "live"
        return f"<ref_proxy.adapters.serial_ports.SerialPort on {self._who}, {state}>"


def _departure_from(error: Exception, who: str) -> Revoked | None:
    cause = _system_error(error)
    return None if cause is None else revoked_from(cause, who, also=_NETWORK)


def _system_error(error: BaseException) -> OSError | None:
    """What the system said: pyserial's exceptions have no number but in their text, and termios has one of its own kind."""
    serial: Any = _pyserial()
    if isinstance(error, (serial.SerialTimeoutException, serial.PortNotOpenError)):
        return None
    if isinstance(error, OSError) and error.errno is None and isinstance(error, serial.SerialException):
        cause = error.__context__
        if cause is not None and str(cause) in str(error):
            return _system_error(cause)
        return OSError(errno.EIO, str(error))  # "device reports readiness to read but returned no data", and its like
    return error if isinstance(error, OSError) else OSError(*error.args)


def open(proxy: Proxy[SerialBase]) -> SerialPort:  # noqa: A001
    """Open a handle on a serial port for one consumer: an object with pyserial's methods, each call of which is a section.

    Guarantees: S2, S10. Blocks: never. Raises: `Revoked` once the port is gone; `TypeError` where the proxy leads to no port.

    >>> from ref_proxy.adapters import serial_ports
    >>> with serial_ports.provide("loop://", name="loop") as provider:
    ...     proxy = provider.proxy("reader")
    >>> serial_ports.open(proxy)
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'loop' was refused: the resource is revoked; ...
    """
    return SerialPort(proxy)
