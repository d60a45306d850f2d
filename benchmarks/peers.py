"""What a user would take instead: each as the statement that is one access, written as its own documentation has it."""

from __future__ import annotations

import importlib
import sys
import threading
import weakref
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.measure import FREE_THREADED, loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Loop

__all__ = ["PEERS", "get", "leases", "versions"]

PACKAGES = ("aiorwlock", "fasteners", "ft_utils", "psycopg", "psycopg_pool", "readerwriterlock")


class Use(NamedTuple):
    """One access: a statement, and what it speaks of."""

    statement: str
    names: dict[str, Any]

    def loop(self) -> Loop:
        return loop(self.statement, **self.names)


def get(module: str) -> Any:
    """A module of a peer's. ImportError where it is not there, which says why, and where it would switch the GIL on."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise ImportError(_left_out().get(name, f"{name} is not installed: {error}")) from error
    if FREE_THREADED and sys._is_gil_enabled():
        raise SystemExit(f"{module} has switched the GIL on, and all figures would be wrong: run with PYTHON_GIL=0")
    return found


def _left_out() -> dict[str, str]:
    """Why `.ci/peers` could not install it."""
    try:
        lines = Path(sys.prefix, "left-out").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {name: why for name, _, why in (line.partition(": ") for line in lines)}


def versions() -> dict[str, str | None]:
    """Of the packages that are compared with."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


@contextmanager
def leases(size: int = 1) -> Iterator[Any]:
    """A pool of `psycopg_pool`, whose connections do nothing and need no server: what is left is what the pool itself takes."""
    idle = get("psycopg.pq").TransactionStatus.IDLE

    class Connection:
        pgconn = SimpleNamespace(transaction_status=idle)

        @classmethod
        def connect(cls, *_: object, **__: object) -> Connection:
            return cls()

        def __enter__(self) -> Connection:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def close(self) -> None:
            pass

    pool = get("psycopg_pool").ConnectionPool(connection_class=Connection, min_size=size, open=True)
    try:
        pool.wait()
        yield pool
    finally:
        pool.close()  # may be called again


class Resource:
    """One that can be referred to weakly."""


RESOURCE = Resource()


@contextmanager
def _lock() -> Iterator[Use]:
    yield Use("with x: pass", {"x": threading.Lock()})


@contextmanager
def _rlock() -> Iterator[Use]:
    yield Use("with x: pass", {"x": threading.RLock()})


@contextmanager
def _null() -> Iterator[Use]:
    yield Use("with x: pass", {"x": nullcontext(RESOURCE)})


@contextmanager
def _weak() -> Iterator[Use]:
    yield Use("x()", {"x": weakref.ref(RESOURCE)})


@contextmanager
def _readerwriterlock() -> Iterator[Use]:
    yield Use("with x.gen_rlock(): pass", {"x": get("readerwriterlock.rwlock").RWLockRead()})


@contextmanager
def _kept_reader() -> Iterator[Use]:
    yield Use("with x: pass", {"x": get("readerwriterlock.rwlock").RWLockRead().gen_rlock()})


@contextmanager
def _fasteners() -> Iterator[Use]:
    yield Use("with x.read_lock(): pass", {"x": get("fasteners").ReaderWriterLock()})


@contextmanager
def _ft_utils() -> Iterator[Use]:
    module = get("ft_utils.synchronization")
    yield Use("with reading(x): pass", {"x": module.RWLock(), "reading": module.RWReadContext})


@contextmanager
def _kept_context() -> Iterator[Use]:
    module = get("ft_utils.synchronization")
    yield Use("with x: pass", {"x": module.RWReadContext(module.RWLock())})


@contextmanager
def _psycopg_pool() -> Iterator[Use]:
    with leases(16) as pool:  # one for each thread: who has to wait for a lease waits for another's use
        yield Use("with x.connection(): pass", {"x": pool})


class Peer(NamedTuple):
    """`use()` is a context manager, in which it can be used. ImportError where it is not there."""

    use: Callable[[], Any]
    slower: float | None = None  # how many times, at least, if it is to be worth while
    only_one: bool = False  # protects nothing from several threads, or is not what is shared by them


PEERS = {
    "`weakref.ref`, called": Peer(_weak, only_one=True),
    "`contextlib.nullcontext`": Peer(_null, only_one=True),
    "`threading.Lock`": Peer(_lock),
    "`threading.RLock`": Peer(_rlock),
    "`ft_utils`, `RWReadContext` of a `RWLock`": Peer(_ft_utils, slower=2),
    "`ft_utils`, one that is kept": Peer(_kept_context, only_one=True),
    "`readerwriterlock`, `gen_rlock()` of a `RWLockRead`": Peer(_readerwriterlock, slower=12),
    "`readerwriterlock`, one that is kept": Peer(_kept_reader, only_one=True),
    "`fasteners`, `read_lock()` of a `ReaderWriterLock`": Peer(_fasteners, slower=20),
    "`psycopg_pool`, `connection()` of a `ConnectionPool`": Peer(_psycopg_pool),
}
