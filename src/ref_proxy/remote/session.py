"""This process's session at one server: one connection and one thread for all that it announces and holds there.

The thread alone uses the connection, and does what others `post()`; so there is no lock, and nobody but it can be held up by a
network that hangs. It sleeps until the server speaks, somebody posts, or its lease is due for renewal.

**The lease.** A session is good for `lease` seconds from the moment at which the last statement that was answered was *sent*.
When they are over, it is lost, whatever the server thinks: everybody here is told, and denies. That moment is before the end of
the session at the server; so an owner that counts as many seconds from when it hears of that end cannot be early. Nor does it
matter whether this thread runs then: each access looks at the clock itself, and refuses from that moment on.
"""

from __future__ import annotations

import atexit
import errno
import os
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from .. import report
from ..waiting import Bell, Claim, spawn
from . import sql
from .identity import Identity
from .libpq import Lost, Refused, Talk, clock
from .peers import me
from .records import ProtocolError
from .wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .dsn import Dsn
    from .libpq import Row, Value

__all__ = ["SAY_SO", "Holding", "Member", "Server", "Session"]

T = TypeVar("T")
OLDEST = 140000
LINGER = 0.25  # seconds that a session which nobody needs is kept for the next one
SAY_SO = 0.05  # seconds after which a holder that has not let go yet says that it has denied
LAST_WORDS = 1.0  # seconds that the end of the process waits for what it holds


class Member(Protocol):
    """One thing that a session is there for. All is called in its thread, and does not block."""

    def renewed(self, until: int) -> bool:
        """Hear until when the session is good, in `boottime()`. False where an access was refused for that, before."""
        ...

    def asked(self, number: int) -> None:
        """Hear that somebody asked who is inside, or for a removal, by the number of the epoch, or of the owner."""
        ...

    def lost(self, reason: str) -> None:
        """Hear that the session is over."""
        ...

    def ending(self) -> None:
        """Hear that this process is."""
        ...


class Holding(Member, Protocol):
    """What this process holds."""

    epoch: int
    owner: int

    def over(self, verdict: str) -> None:
        """Hear what the tables say: "gone", "revoked", "replaced", or "fenced", if it still held what is replaced."""
        ...


class _Job(Generic[T]):
    """Something to be done in the thread, and what came of it. It is over when the first to say how has said so."""

    def __init__(self, do: Callable[[Session], T], undo: Callable[[T], object]) -> None:
        self.do = do
        self.undo = undo
        self.bell = Bell()
        self.over: dict[str, tuple[T] | BaseException] = {}

    def run(self, session: Session) -> None:
        if not self.over:  # whoever wanted it may have given up
            result = (self.do(session),)
            if self.over.setdefault("", result) is not result:
                self.undo(result[0])
            self.bell.ring()

    def fail(self, error: BaseException) -> None:
        self.over.setdefault("", error)
        self.bell.ring()

    def done_by(self, session: Session, timeout: float | None) -> T:
        """What it returned, or raises what it raised. Whoever does not get that takes no part in it: it is undone."""
        try:
            session.post(self)
            self.bell.wait(lambda: bool(self.over), None if timeout is None else monotonic() + timeout)
            how = self.over.setdefault("", GaveUp())
            if isinstance(how, BaseException):
                raise how
            return how[0]
        except BaseException as error:  # Ctrl-C
            how = self.over.setdefault("", error)
            if isinstance(how, tuple):
                self.undo(how[0])
            raise


class Ended(Exception):
    """The session had ended already: another one will do it."""


class GaveUp(Exception):
    """Nobody has done it in time."""


class Session:
    """One connection, from its first use until nobody needs it, or it is lost."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.desks: dict[Member, None] = {}  # what it announces
        self.holdings: dict[Holding, None] = {}
        self.ended = self.ending = False
        self.changed = Bell()  # somebody has told something
        self.told = 0  # how often
        self.wake = Wake()
        self._posted: deque[_Job[object]] = deque()
        self._thread: dict[str, Claim] = {}
        self._due: dict[object, tuple[float, Callable[[], object]]] = {}
        self._renewed = clock()
        self._idle_since: float | None = None
        self._look = False  # somebody says that something we hold is gone
        self._backend: str | None = None
        self.has_schema = False
        self.identity = Identity.mine()

    def start(self) -> None:
        """See that its thread is there. Raises: `ConnectionError` where none can be had."""
        if not self._thread:
            try:
                spawn(self.run)
            except BlockingIOError as error:
                raise Lost(errno.EAGAIN, f"no session at {self.server.dsn.shown}: {error.strerror}") from None

    @property
    def here(self) -> bool:
        """Whether this is its thread."""
        return any(claim.mine for claim in self._thread.copy().values())

    def post(self, job: _Job[T]) -> None:
        """Have it done in the thread. From anywhere; never blocks."""
        self._posted.append(job)  # type: ignore[arg-type]
        if self.ended:  # either the thread finds it when it ends, or we see that it has
            job.fail(Ended())
        self.wake()

    def soon(self, job: Callable[[], object]) -> None:
        """The same for what nobody waits for."""
        self.post(_Job(lambda _: job(), lambda _: None))

    def wait_for_more(self, seen: int, deadline: float) -> None:
        """Wait until somebody has told something after `told` was so many, or it is over."""
        self.changed.wait(lambda: self.told > seen or self.ended, deadline)

    # ---- In its thread ----

    def run(self) -> None:
        me = Claim()
        if self._thread.setdefault("", me) is not me:  # here, where no Ctrl-C comes between that and what it is for
            return
        self.talk = Talk(self.server.dsn, self.wake, self._woken)
        failure: Exception = Ended()
        try:
            self._begin()
            self._serve()
        except Exception as error:
            failure = error
            if not isinstance(error, (ConnectionError, PermissionError)):
                report.logger().exception("the session at %s has failed", self.server.dsn.shown)
        finally:
            self.server.sessions.pop("", None)  # before it says that it has ended: who hears that finds another one
            self.ended = True
            self.talk.close()
            self.wake.close()
            self.changed.ring()
            for member in self.members():
                try:
                    member.lost(str(getattr(failure, "strerror", None) or failure))
                except Exception:
                    report.logger().exception("the end of the session at %s could not be told", self.server.dsn.shown)
            self.holdings.clear()
            self.desks.clear()
            while self._posted:
                self._posted.popleft().fail(failure)

    def _woken(self) -> None:
        if self.ending and self._backend is None:
            raise Lost(errno.ECANCELED, "this process is at its end")

    def _begin(self) -> None:
        lease = self.server.dsn.lease
        self.talk.connect(me())
        if self.talk.pgconn.server_version < OLDEST:
            version = self.talk.pgconn.server_version
            raise ProtocolError(f"{self.server.dsn.shown} is PostgreSQL {version // 10000}, and 14 is the oldest that will do")
        self._renewed = clock()
        # The server gives up on a peer that is silent, but not before its lease is over.
        self.execute(sql.SET_UP, max(1, round(lease)), int(1500 * lease) + 1)
        self._backend, standby = self.execute(sql.WHERE)[0]
        if standby == "t":
            raise ProtocolError(f"{self.server.dsn.shown} is a standby, which can be read only: name the primary")
        if self._backend != str(self.talk.pgconn.backend_pid):
            self._refuse_pooled()
        self.execute(sql.LISTEN)

    def look_for_schema(self) -> bool:
        """Whether it is there. Raises `ProtocolError` where it is another version's."""
        if not self.has_schema and self.execute(sql.IS_THERE) == [("t",)]:
            self._check_version(*self.execute(sql.SCHEMA_VERSION)[0])
            self.has_schema = True
        return self.has_schema

    def _check_version(self, version: str | None) -> None:
        if version != str(sql.FORMAT):
            raise ProtocolError(
                f"the schema ref_proxy at {self.server.dsn.shown} is of version {version}, and this program speaks {sql.FORMAT}"
            )

    def _refuse_pooled(self) -> None:
        """Something stands in between. If it lends the server's sessions by the transaction, ours can be had by another one."""
        other = Talk(self.server.dsn, self.wake)
        until = clock() + self.server.dsn.lease
        try:
            other.connect(me())
            for _ in range(3):
                try:
                    other.execute(sql.BEGIN_HERE, until=until)
                except ConnectionError:  # it lends them by the statement
                    self._pooled()
                theirs = other.execute(sql.HERE, until=until)
                mine = None if theirs == [(self._backend,)] else self.execute(sql.HERE)
                other.execute("rollback", until=until)
                if mine != [(self._backend,)]:
                    self._pooled()
        finally:
            other.close()

    def _pooled(self) -> None:
        raise ProtocolError(
            f"{self.server.dsn.shown} is a pooler that lends sessions by the transaction: advisory locks and notifications "
            "would be lost there; give the address of the server itself, or of a pool in session mode"
        )

    def members(self) -> list[Member]:
        return [*self.desks, *self.holdings]

    def execute(self, statement: str, *values: Value) -> list[Row]:
        """Run a statement. Its answer renews the lease; without one before the end of the lease the session is lost."""
        sent = clock()
        try:
            rows = self.talk.execute(statement, *values, until=self._renewed + self.server.dsn.lease)
        except Refused:
            self._answered(sent)
            raise
        self._answered(sent)
        return rows

    def _answered(self, sent: float) -> None:
        self._hear()
        if self._look:  # what was said before the answer comes first: who renews has denied
            return
        self._renewed = sent
        if False in [member.renewed(self.until) for member in self.members()]:
            raise Lost(errno.ETIMEDOUT, f"the lease was over before the answer of {self.server.dsn.shown} was dealt with")

    @property
    def until(self) -> int:
        """When the lease is over, in `boottime()`."""
        return int((self._renewed + self.server.dsn.lease) * 1e9)

    def make_schema(self) -> None:
        """Make it, unless it is there."""
        if not self.look_for_schema():
            self.talk.script(sql.SCHEMA, until=self._renewed + self.server.dsn.lease)
            self.look_for_schema()

    def call_in(self, seconds: float, key: object, job: Callable[[], object]) -> None:
        self._due[key] = clock() + seconds, job

    def _serve(self) -> None:
        lease = self.server.dsn.lease
        end_at: float | None = None
        while True:
            self._hear()
            while self._posted:
                self._do(self._posted.popleft())
            now = clock()
            if now >= self._renewed + lease:
                raise Lost(errno.ETIMEDOUT, f"the lease has run out: {self.server.dsn.shown} has not answered for {lease:g} s")
            for key, (moment, job) in list(self._due.items()):
                if moment <= now:
                    del self._due[key]
                    job()
            if self._look or now >= self._renewed + lease / 3:
                self.check()
            if self.ending and end_at is None:
                end_at = clock() + LAST_WORDS
                for member in self.members():
                    member.ending()
            if self._over(clock(), end_at):
                return
            if not self._posted and not self._look:
                moments = [self._renewed + lease / 3, *(moment for moment, _ in self._due.values())]
                moments += [end_at] if end_at is not None else []
                moments += [self._idle_since + LINGER] if self._idle_since is not None else []
                self.talk.pause(min(moments))

    def _do(self, job: _Job[object]) -> None:
        try:
            job.run(self)
        except Exception as error:
            job.fail(error)
            if isinstance(error, Lost):
                raise

    def _over(self, now: float, end_at: float | None) -> bool:
        if self._posted:
            return False
        if self.desks or self.holdings:
            self._idle_since = None
            return end_at is not None and now >= end_at
        self._idle_since = now if self._idle_since is None else self._idle_since
        return self.ending or now >= self._idle_since + LINGER

    def _hear(self) -> None:
        while self.talk.heard:
            word, number = sql.hint(self.talk.heard.popleft()) or ("", 0)
            if word == "gone":
                self._look = self._look or any(holding.epoch == number for holding in self.holdings)
            elif word == "who":
                for holding in self.holdings:
                    holding.asked(number)
            elif word == "ask":
                for desk in self.desks:
                    desk.asked(number)
            else:
                self.told += 1
                self.changed.ring()

    def check(self) -> None:
        """Renew the lease, and look what has become of all that this process holds."""
        self._look = False
        held = list(self.holdings)
        sent = clock()
        until = self._renewed + self.server.dsn.lease
        if held:
            rows = self.talk.execute(
                sql.CHECK, _array(each.epoch for each in held), _array(each.owner for each in held), until=until
            )
        else:
            rows = [("", "", each[0]) for each in self.talk.execute(sql.HERE, until=until)]
        for epoch, verdict, backend in rows:
            if backend != self._backend:
                self._pooled()
            for each in held:
                if str(each.epoch) == epoch and verdict != "live":
                    each.over(str(verdict))
        self._answered(sent)


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


class Server:
    """One server, under one address: where this process's session with it is to be had."""

    def __init__(self, dsn: Dsn) -> None:
        self.dsn = dsn
        self.sessions: dict[str, Session] = {}  # one at most
        _servers[self] = None

    def session(self) -> Session:
        """The one there is, or a new one."""
        session = self.sessions.get("")
        if session is None:
            if _ending:
                raise Lost(errno.ECANCELED, f"this process is at its end, and has no session at {self.dsn.shown} any more")
            fresh = Session(self)
            session = self.sessions.setdefault("", fresh)
            if session is not fresh:
                fresh.wake.close()
        session.start()
        return session

    def call(self, do: Callable[[Session], T], undo: Callable[[T], object] = lambda _: None, timeout: float | None = None) -> T:
        """Have it done in the session's thread, and wait for that. Whoever gives up has it undone.

        Raises: what it raises; `ConnectionError`, `PermissionError` from the server; `TimeoutError`.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            session = self.session()
            try:
                if session.here:  # where no thread could be had for whoever wants it
                    return do(session)
                return _Job(do, undo).done_by(session, None if deadline is None else max(deadline - monotonic(), 0))
            except Ended:
                pass
            except Refused as error:
                raise self.explained(error) from None
            except GaveUp:
                raise TimeoutError(errno.ETIMEDOUT, f"{self.dsn.shown} has not answered within {timeout:g} s") from None

    def explained(self, error: Refused) -> OSError:
        """What a refused statement means for whoever wanted it."""
        if error.code == "42501":
            return PermissionError(errno.EACCES, f"{self.dsn.shown}: {error}; this role needs rights on the schema ref_proxy")
        return error

    @property
    def open(self) -> bool:
        """Whether it is of use to try again: not at the end of the process."""
        return not _ending

    def forget(self) -> None:
        """In a forked child: it has no session."""
        self.sessions.clear()


_ending: dict[str, None] = {}
_servers: WeakKeyDictionary[Server, None] = WeakKeyDictionary()


@atexit.register
def _end() -> None:
    _ending[""] = None
    for server in list(_servers):
        for session in server.sessions.copy().values():
            session.ending = True
            session.wake()


def _after_fork() -> None:
    for server in list(_servers):
        server.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
