"""What the tests between processes share: a place of their own, and nothing left behind."""

from __future__ import annotations

import gc
import os
import threading
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from ref_proxy.remote.hub import hub
from ref_proxy.waiting import _job_ended, _jobs
from tests import PATIENCE

from .puppet import Puppet
from .server import Lacking, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs Unix sockets")

_numbers = count()


@pytest.fixture(autouse=True)
def directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where names live during this test."""
    path = tmp_path_factory.mktemp("r", numbered=True)
    path.chmod(0o700)
    monkeypatch.setenv("REF_PROXY_DIR", str(path))
    return path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """At the end this process has the threads and descriptors that it had."""

    def here() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    hub()  # which keeps a pipe for good
    before = here()
    yield
    assert _job_ended.wait(lambda: not _jobs, monotonic() + PATIENCE), f"threads are left: {threading.enumerate()}"
    gc.collect()  # of what a traceback or a warning still held
    left = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in here() - before if os.path.exists(f"/proc/self/fd/{fd}")}
    assert not left, f"descriptors are left: {left}"


@pytest.fixture
def puppets() -> Iterator[Callable[..., Puppet]]:
    """Makes processes, and ends them."""
    made: list[Puppet] = []

    def make(die_at: str = "", **how: object) -> Puppet:
        made.append(Puppet(die_at, **how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for puppet in made:
        puppet.__exit__()


def made(prepare: Callable[[Path], object] = lambda _: None) -> PostgresServer:
    """A server, or a skip."""
    pytest.importorskip("psycopg", reason="needs psycopg, and libpq", exc_type=ImportError)
    try:
        return PostgresServer(prepare)
    except Lacking as lacking:
        pytest.skip(f"needs a PostgreSQL server: {lacking}")


def postgres_server() -> Iterator[PostgresServer]:
    server = made()
    yield server
    server.remove()


server = pytest.fixture(postgres_server, scope="session")
own_server = pytest.fixture(postgres_server)  # which a test may stop


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"test-{os.getpid()}-{next(_numbers)}"
