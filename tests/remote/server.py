"""A PostgreSQL server of the tests' own, on loopback: made in a directory that nobody else has, and removed with it."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


class Lacking(Exception):
    """There is no server to be had here."""


def programs() -> Path:
    """Where initdb and postgres are. Raises `Lacking`."""
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if all(os.access(place / program, os.X_OK) for program in ("initdb", "postgres")):
            return place
    raise Lacking("neither on PATH nor in /usr/lib/postgresql are there initdb and postgres")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def as_nobody() -> dict[str, Any]:
    """For whom to run it: it refuses to be root's."""
    if os.geteuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise Lacking("this is root, whom PostgreSQL refuses to serve, and there is neither a user postgres nor nobody")


def die_with_us() -> None:
    """In the new process: have it end when the run of the tests does, however that ends. Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class PostgresServer:
    """One server, which can be stopped and started again. `prepare` may change what is in its directory before it starts."""

    def __init__(self, prepare: Callable[[Path], object] = lambda _: None) -> None:
        self._programs = programs()
        self._who = as_nobody()
        self.folder = Path(tempfile.mkdtemp(prefix="ref_proxy_pg_"))
        try:
            if self._who:
                os.chown(self.folder, self._who["user"], self._who["group"])
            self.folder.chmod(0o755)  # for the socket in it
            self.port = free_port()
            self._initialise()
            prepare(self.folder / "data")
            for path in self.folder.rglob("*") if self._who else ():
                os.chown(path, self._who["user"], self._who["group"])
            self.start()
        except BaseException:
            self.remove()
            raise

    def _initialise(self) -> None:
        how = ["-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        made = subprocess.run([self._programs / "initdb", *how], capture_output=True, text=True, cwd="/", **self._who)
        if made.returncode:
            raise Lacking(f"initdb failed: {made.stderr.strip()}")
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '*'\nunix_socket_directories = '{self.folder}'\n"
                "fsync = off\nfull_page_writes = off\nshared_buffers = 16MB\nmax_connections = 300\nlog_min_messages = warning\n"
                "max_wal_senders = 0\nwal_level = minimal\nautovacuum = off\n"
            )
        with (self.folder / "data" / "pg_hba.conf").open("a") as file:
            file.write("host all all 0.0.0.0/0 trust\n")

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.folder / "data"],
                stdout=log,
                stderr=log,
                cwd="/",
                preexec_fn=die_with_us,  # noqa: PLW1509  (it makes one call)
                **self._who,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Lacking(f"the server did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)  # there is nothing that would tell

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                pass
        except OSError:
            return False
        from psycopg.pq import PGconn, Ping

        return PGconn.ping(self.uri().encode()) == Ping.OK

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT ends the sessions (fast), SIGQUIT is a crash (immediate)."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        if hasattr(self, "_process"):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def uri(self, host: str = "127.0.0.1", user: str = "postgres", database: str = "postgres", **query: object) -> str:
        options = "&".join(f"{key}={value}" for key, value in query.items())
        return f"postgresql://{user}@{host}:{self.port}/{database}" + (f"?{options}" if options else "")

    def rows(self, sql: str, *values: object, database: str = "postgres") -> list[Any]:
        import psycopg

        with psycopg.connect(self.uri(database=database), autocommit=True) as connection:
            cursor = connection.execute(sql, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
