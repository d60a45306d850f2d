"""A conversation with a PostgreSQL server that cannot hang: libpq's calls that do not block, and a `Wake` for who sleeps.

One thread has it. Whatever it waits for, it wakes up when it is told to, at a deadline, and when the server says anything.
"""

from __future__ import annotations

import errno
import os
import select
from _thread import allocate_lock
from collections import deque
from typing import TYPE_CHECKING

try:
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import conninfo_attempts, conninfo_to_dict, make_conninfo
except ImportError as missing:
    raise ImportError(
        "a postgresql:// address needs psycopg 3: pip install 'ref-proxy[postgres]', "
        f"or psycopg and the system's libpq ({missing})"
    ) from missing

from ..clock import boottime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from psycopg.pq.abc import PGconn

    from .dsn import Dsn
    from .wake import Wake

    Row: TypeAlias = tuple[str | None, ...]
    Value: TypeAlias = str | int | float | bool | None

__all__ = ["Lost", "Refused", "Talk", "clock"]

CONNECT = 5.0  # seconds that one host may take to let us in, where the address does not say `connect_timeout`
_talks: dict[Talk, None] = {}  # all there are, for a forked child to drop
_calling = allocate_lock()  # held while libpq may open a socket: no fork then, for the child would not know of it


def clock() -> float:
    """As `boottime()`, in seconds."""
    return boottime() / 1e9


class Lost(ConnectionError):
    """The conversation is over, or could not be begun."""


class Refused(ConnectionError):
    """The server has refused a statement; `code` says why (SQLSTATE)."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Talk:
    """One connection. `woken()` is called in its thread when somebody rang; it may raise, which ends what is being waited for."""

    def __init__(self, dsn: Dsn, wake: Wake, woken: Callable[[], object] = lambda: None) -> None:
        self._dsn = dsn
        self._wake = wake
        self._woken = woken
        self._pgconn: PGconn | None = None
        self._said = ""  # by the server, last, out of turn
        self.heard: deque[str] = deque()  # notifications
        _talks[self] = None

    def connect(self, process: str) -> None:
        """Begin. Raises `Lost`."""
        try:
            given = conninfo_to_dict(self._dsn.conninfo)
            quiet = str(max(1, round(self._dsn.lease)))
            defaults = {
                "fallback_application_name": f"ref_proxy: {process}",
                "target_session_attrs": "primary",  # where several hosts are named, or one name is that of several
                "keepalives_idle": quiet,
                "keepalives_interval": quiet,
                "keepalives_count": "2",
            }
            timeout = float(given.get("connect_timeout") or 0) or CONNECT
            failures: list[str] = []
            for attempt in conninfo_attempts({**defaults, **given}):
                try:
                    return self._connect(make_conninfo("", **attempt), clock() + timeout)
                except psycopg.Error as error:
                    failures.append(str(error))
            raise Lost(errno.ECONNREFUSED, f"{self._dsn.shown} cannot be reached: {'; '.join(failures).strip()}")
        except psycopg.Error as error:  # a name that cannot be resolved
            raise Lost(errno.ECONNREFUSED, f"{self._dsn.shown} cannot be reached: {error}") from None

    def _connect(self, conninfo: str, deadline: float) -> None:
        with _calling:
            pgconn = self._pgconn = pq.PGconn.connect_start(conninfo.encode())
        while pgconn.status != pq.ConnStatus.BAD:
            with _calling:
                status = pgconn.connect_poll()
            if status == pq.PollingStatus.OK:
                pgconn.nonblocking = 1
                pgconn.notice_handler = self._notice
                return
            if status == pq.PollingStatus.FAILED:
                break
            if clock() >= deadline:
                raise psycopg.OperationalError("it did not answer in time")
            self._sleep(deadline, select.POLLOUT if status == pq.PollingStatus.WRITING else select.POLLIN)
        raise psycopg.OperationalError(pgconn.get_error_message())

    def _notice(self, result: pq.abc.PGresult) -> None:
        self._said = result.get_error_message().strip()

    @property
    def pgconn(self) -> PGconn:
        """What libpq has. Raises `Lost` after the end."""
        if self._pgconn is None:
            raise Lost(errno.ENOTCONN, f"the session at {self._dsn.shown} is over")
        return self._pgconn

    def execute(
        self, sql: str, *values: Value, until: float | None, also: Iterable[int] = (), then: Callable[[], object] = lambda: None
    ) -> list[Row]:
        """Run one statement, and return its rows. Raises `Refused`; `Lost`, also where there is no answer until then.

        As soon as one of the descriptors in `also` is readable, and the answer is not there, it does `then()`, once, and goes on.
        """
        try:
            self.pgconn.send_query_params(sql.encode(), [None if value is None else str(value).encode() for value in values])
            return self._results(until, list(also), then)
        except psycopg.Error as error:
            raise self._lost(error) from None

    def script(self, sql: str, *, until: float | None) -> None:
        """Run several statements as one transaction."""
        try:
            self.pgconn.send_query(sql.encode())
            self._results(until)
        except psycopg.Error as error:
            raise self._lost(error) from None

    def _results(
        self, until: float | None, also: list[int] | None = None, then: Callable[[], object] = lambda: None
    ) -> list[Row]:
        pgconn, rows, refused = self.pgconn, list["Row"](), None
        while True:
            while (unsent := pgconn.flush()) or pgconn.is_busy():
                if until is not None and clock() >= until:
                    raise Lost(errno.ETIMEDOUT, f"the lease has run out: {self._dsn.shown} has not answered in time")
                if self._listen(until, bool(unsent), also or ()) and pgconn.is_busy():  # or the answer came with it
                    also = None
                    then()
            result = pgconn.get_result()
            if result is None:
                break
            if result.status == pq.ExecStatus.TUPLES_OK:
                rows = [
                    tuple(
                        None if (cell := result.get_value(row, column)) is None else cell.decode()
                        for column in range(result.nfields)
                    )
                    for row in range(result.ntuples)
                ]
            elif result.status != pq.ExecStatus.COMMAND_OK:
                code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
                refused = refused or Refused(result.get_error_message().strip(), code)
        if pgconn.status == pq.ConnStatus.BAD:
            raise self._lost(refused or "the connection is closed")
        if refused is not None:
            raise refused
        return rows

    def speaks(self, seconds: float) -> bool:
        """Whether the answer is there, or more of it comes within that time."""
        if not self.pgconn.is_busy():
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def pause(self, until: float | None, also: Iterable[int] = ()) -> None:
        """Sleep until the server speaks, somebody rings, one of these descriptors is readable, or it is time."""
        try:
            self._listen(until, False, also)
        except psycopg.Error as error:
            raise self._lost(error) from None

    def _listen(self, until: float | None, unsent: bool, also: Iterable[int] = ()) -> bool:
        """Returns whether one of these is readable."""
        others = self._sleep(until, select.POLLIN | (select.POLLOUT if unsent else 0), also)
        pgconn = self.pgconn
        pgconn.consume_input()
        while (notification := pgconn.notifies()) is not None:
            self.heard.append(notification.extra.decode("utf-8", "replace"))
        return others

    def _sleep(self, until: float | None, events: int, also: Iterable[int] = ()) -> bool:
        poll = select.poll()
        poll.register(self.pgconn.socket, events)
        for fd in (self._wake.fd, *also):
            poll.register(fd, select.POLLIN)
        left = None if until is None else max(until - clock(), 0) * 1000
        ready = dict(poll.poll(left))
        if self._wake.fd in ready:
            self._wake.heard()
            self._woken()
        return any(fd in ready for fd in also)

    def _lost(self, why: object) -> Lost:
        said = self._said or str(why).strip()
        return Lost(errno.ECONNRESET, f"the session at {self._dsn.shown} is lost: {said}")

    def close(self) -> None:
        """End it. May be called again."""
        pgconn, self._pgconn = self._pgconn, None
        if pgconn is not None:
            pgconn.finish()
        _talks.pop(self, None)

    def abandon(self) -> None:
        """In a forked child: close it, and say nothing to the server. psycopg finishes it in its own process only."""
        pgconn, self._pgconn = self._pgconn, None
        try:
            if pgconn is not None:
                os.close(pgconn.socket)
        except (psycopg.Error, OSError):
            pass


def check(conninfo: str) -> None:
    """Raises `ValueError` for what libpq cannot read, with nothing in it that is secret."""
    from .address import shown

    try:
        patience = str(conninfo_to_dict(conninfo).get("connect_timeout") or 0)
    except psycopg.Error as error:
        secret = shown(conninfo) != conninfo
        raise ValueError(
            f"{shown(conninfo)!r} is no address of a PostgreSQL server" + ("" if secret else f": {str(error).strip()}")
        ) from None
    if not patience.isdecimal():
        raise ValueError(f"connect_timeout={patience} in {shown(conninfo)!r} is no number of seconds")


def _after_fork() -> None:
    if _calling.locked():
        _calling.release()
    for talk in list(_talks):
        talk.abandon()
    _talks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_calling.acquire, after_in_parent=_calling.release, after_in_child=_after_fork)
