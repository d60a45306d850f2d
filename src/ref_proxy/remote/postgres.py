"""The back end between hosts: a PostgreSQL server, 14 or newer, which decides who is alive, and in which order things happen.

    announce     the owner's session holds the lock of the name; a row says what is announced, and under which epoch
    register     the holder adds its row and takes the lock of the epoch, shared, if the epoch is live: one statement [ENTER]
    recall       the row of the name says that it is over [OVER], and everybody is notified
    acknowledge  the holder takes its row away, and lets go of the lock: one statement [LEAVE]
    wait         the lock of the epoch, exclusively: granted when every holder has let go, or its session has ended [WAIT]

None slips in between: the server runs [ENTER] and [OVER] one after the other, for both lock the row of the name. If [OVER] is the
first, [ENTER] finds the epoch over; if [ENTER] is, then [WAIT] finds the lock. And whoever has the lock can be found, and ended,
by its row, though it may be killed at any moment. Rows that are left after [WAIT] are those of sessions that ended before they
acknowledged: `vigil.py` judges them.
"""

from __future__ import annotations

import errno
import json
import os
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from .. import report
from ..waiting import Claim, spawn, start
from . import dsn as dsns
from . import libpq, sql, wire
from .backend import Announcement, Backend, Registration
from .holders import who_holds
from .libpq import Lost, Refused, clock
from .peers import me
from .records import TO_REPORT, Holder, NotAnnounced, Survey
from .session import SAY_SO, Holding, Member, Server
from .vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .backend import Info, Landlord, Tenant
    from .gate import Gate
    from .libpq import Row
    from .records import Outcome
    from .session import Session

__all__ = ["Postgres"]

ANSWER = 10.0  # seconds that an owner may take to hear that it is asked
SOON = 1.0  # seconds that a call waits, beyond its own time, for a server that may hang: what was wished is done when it goes on
NOTICED = 0.25  # seconds that a server may take to notice that the owner before has ended: it is often started anew at once
INSTEAD = "revoke it there first, or announce another name"
BREATH = 0.2  # seconds until it is tried again to answer somebody
TRIES = 10  # at a name that is replaced all the time


class _Holding(Registration, Holding):
    """What this process holds, in its session's part."""

    def __init__(self, server: Server, session: Session, name: str, tenant: Tenant, found: Row) -> None:
        epoch, owner, info, _, host, pid, process, _ = found
        self.epoch = int(epoch or 0)
        self.owner = int(owner or 0)
        self.info = json.loads(info or "{}")
        self.lock = sql.key("epoch", epoch)
        self.id = 0
        self._announcer = f"process {pid} ({process}) on {host}"
        self._server = server
        self._session = session
        self._name = name
        self._tenant = tenant
        self._pid = os.getpid()
        self._claims: dict[str, Claim] = {}
        self._said_so = False

    def _first(self, what: str) -> bool:
        me = Claim()
        return self._claims.setdefault(what, me) is me

    # In the session's thread:

    def renewed(self, until: int) -> bool:
        return self._tenant.renewed(until)

    def over(self, verdict: str) -> None:
        gone = f"its owner, {self._announcer}, is gone, or has given the name up"
        reason = {
            "revoked": "the owner has revoked it",
            "replaced": "the owner has replaced it",
            "fenced": "the owner has replaced it, and has cut off who still held what was there before",
        }.get(verdict, gone)
        self._tell(reason, replaced=verdict == "replaced")
        if verdict != "replaced":  # that is granted until the new one is open, which may take long
            self._say_so_soon()

    def lost(self, reason: str) -> None:
        self._tell(reason, replaced=False)

    def ending(self) -> None:
        self._tell("this process is at its end", replaced=False)

    def _tell(self, reason: str, *, replaced: bool) -> None:
        if self._first("replaced" if replaced else "gone"):
            self._tenant.gone(reason, replaced=replaced)

    def _say_so_soon(self) -> None:
        self._session.call_in(SAY_SO, self, self._say_so)

    def _say_so(self) -> None:
        if "left" not in self._claims and not self._said_so and self.id:
            self._said_so = True
            self._session.execute(sql.DENIED, f"{{{self.id}}}")

    def asked(self, number: int) -> None:
        if number == self.epoch and self.id:
            start(self._report)  # it may have many sections to look through

    def _report(self) -> None:
        told = json.dumps(self._tenant.report()._asdict())
        try:
            self._server.call(lambda session: session.execute(sql.TELL, self.id, told))
        except OSError:  # the session is lost: that is what is told then
            pass

    # From anywhere:

    def denied(self) -> None:
        self._session.soon(self._say_so_soon)

    def acknowledge(self) -> None:
        if self._pid == os.getpid() and "left" not in self._claims:
            start(self._leave)

    def _leave(self) -> None:
        if not self._first("left"):  # here, where no Ctrl-C comes between that and the rest
            return None
        lease, pause, told = self._server.dsn.lease, 0.01, False
        until = late = clock() + lease
        while True:
            try:
                return self._server.call(self._let_go)
            except OSError as error:
                now = clock() + pause
                if not self._server.open:
                    return None
                if now > late and not told:
                    told = True
                    report.logger().warning("%s: it was let go, but the server could not be told: %s", self._name, error)
                if not self._session.ended:  # the server refuses, and keeps the lock: so the owner waits
                    until = now + lease
                elif now > until:  # after its lease nobody waits for it any more
                    return None
            sleep(pause)  # there is nothing that would tell of the server's return
            pause = min(2 * pause, 1.0)

    def _let_go(self, session: Session) -> None:
        late = session is not self._session
        if self.id:
            session.execute(sql.LEAVE, self.id, None if late else self.lock, late or self._said_so)
        session.holdings.pop(self, None)


class _Desk(Member):
    """One name that this process announces: all its epochs, one after the other."""

    def __init__(self, server: Server, session: Session, name: str, landlord: Landlord, epoch: int) -> None:
        self.server = server
        self.session = session
        self.name = name
        self.lock = sql.key("name", name)
        self.owner = epoch
        self.pid = os.getpid()
        self._landlord = landlord
        self.current = epoch
        self.strays: list[Vigil] = []

    def renewed(self, until: int) -> bool:
        return self._landlord.renewed(until)

    def asked(self, number: int) -> None:
        if number == self.owner:
            try:
                spawn(self._answer)  # it waits for what this thread does
            except BlockingIOError as error:
                report.logger().error("%r: who asks for its removal has to wait: %s", self.name, error)
                self.session.call_in(BREATH, self, lambda: self.asked(number))

    def _answer(self) -> None:
        try:
            for number, timeout, fence_after in self.server.call(lambda session: session.execute(sql.TAKE_REQUEST, self.owner)):
                answer = json.dumps(self._removed(_seconds(timeout), _seconds(fence_after)))
                self.server.call(partial(self._say, number, answer))
        except OSError as error:
            report.logger().warning("%r: who asked for its removal could not be answered: %s", self.name, error)

    def _say(self, number: str | None, answer: str, session: Session) -> None:
        session.execute(sql.ANSWER, number, answer)

    def _removed(self, timeout: float | None, fence_after: float | None) -> dict[str, Any]:
        try:
            return {"outcome": wire.plain(self._landlord.asked(timeout, fence_after))}
        except BaseException as error:  # a hook may raise what ends a thread
            return wire.failure(error)

    def lost(self, reason: str) -> None:
        self._landlord.lost(reason)

    def ending(self) -> None:
        self.session.execute(sql.RECALL, self.current, self.owner)
        self.session.desks.pop(self, None)


class _Announcement(Announcement):
    def __init__(self, desk: _Desk, epoch: int) -> None:
        self.epoch = epoch
        self._desk = desk
        self._vigil = Vigil(desk.server, epoch, desk.owner, desk.name)
        self._known: list[Holder] = []

    def recall(self, *, replaced: bool) -> None:
        if self._desk.pid != os.getpid():
            return
        self._vigil.final = self._vigil.final or not replaced
        if self._vigil.recalled:
            return
        try:
            self._desk.server.call(lambda session: self._vigil.recall(session.execute), timeout=SOON)
        except OSError as error:
            report.logger().warning("%r: it is recalled as soon as the server can be reached: %s", self._desk.name, error)
        finally:
            self._vigil.start()

    def _vigils(self) -> list[Vigil]:
        """All that a removal has to wait for: the last one also for epochs of which the owner does not know, see `_astray()`."""
        return [self._vigil, *self._desk.strays] if self._vigil.final else [self._vigil]

    def wait(self, deadline: float | None) -> bool:
        vigils = self._vigils()
        over = all(vigil.wait(deadline) for vigil in vigils)
        if over:
            self.epoch = max(vigil.epoch for vigil in vigils)
        return over

    def fence(self) -> None:
        for vigil in self._vigils():
            vigil.fence()

    @property
    def cut(self) -> Sequence[Holder]:
        cut = {number: holder for vigil in self._vigils() for number, holder in vigil.cut.items()}  # two may wait for the same
        return list(cut.values())

    def holders(self, ask: float = 0.0) -> list[Holder]:
        server = self._desk.server
        try:
            self._known = who_holds(server, sorted({vigil.epoch for vigil in self._vigils()}), ask, SOON)
        except OSError as error:
            report.logger().warning("%r: who holds it is what was known before: %s", self._desk.name, error)
        return self._known

    def succeed(self, info: Info) -> Announcement:
        desk = self._desk
        try:
            return _Announcement(desk, desk.server.call(lambda session: self._succeed(session, info), self._astray))
        except BaseException:
            self._in_doubt()
            raise

    def _astray(self, epoch: int) -> None:
        """Ctrl-C came in between: it is announced, and the owner does not know of it."""
        self._desk.strays.append(Vigil(self._desk.server, epoch, self._desk.owner, self._desk.name))

    def _in_doubt(self) -> None:
        """The answer may be lost, and not the statement: that is seen in the tables when the removal is at its end.

        Once is enough: what is not known of is always the last, for there is none after the end of the desk's session.
        """
        desk = self._desk
        if not any(stray.final for stray in desk.strays):
            stray = Vigil(desk.server, 0, desk.owner, desk.name, after=self.epoch)
            stray.final = True
            desk.strays.append(stray)

    def _succeed(self, session: Session, info: Info) -> int:
        rows = session.execute(sql.SUCCEED, self._desk.owner, json.dumps(info)) if session is self._desk.session else []
        if not rows:
            raise ConnectionError(errno.ECONNRESET, f"{self._desk.name!r} is not announced by this process any more")
        self._desk.current = _number(rows[0][0])
        return self._desk.current

    def withdraw(self) -> None:
        if self._desk.pid == os.getpid():
            try:
                self._give_up(SOON)
            except TimeoutError:  # for as long as the session goes on the name is this process's
                start(self._give_up)

    def _give_up(self, timeout: float | None = None) -> None:
        try:
            self._desk.server.call(self._withdraw, timeout=timeout)
        except TimeoutError:
            raise
        except OSError as error:
            report.logger().warning("%r: that it is given up could not be told: %s", self._desk.name, error)

    def _withdraw(self, session: Session) -> None:
        desk = self._desk
        session.execute(sql.WITHDRAW, desk.owner)
        if desk in session.desks:
            del session.desks[desk]
            session.execute(sql.DROP_NAME, desk.lock)


class _Taken(FileExistsError):
    """Another session has the name."""


class Postgres(Backend):
    """The names that are announced in one database."""

    def __init__(self, uri: str) -> None:
        self._dsn = dsns.parse(uri)
        libpq.check(self._dsn.conninfo)
        self._server = Server(self._dsn)

    def announce(self, name: str, info: Info, landlord: Landlord) -> Announcement:
        until = monotonic() + NOTICED
        while True:
            try:
                return self._server.call(
                    lambda session: self._announce(session, name, info, landlord),
                    lambda unwanted: start(unwanted.withdraw),
                    ANSWER,
                )
            except _Taken as taken:
                if monotonic() > until:
                    raise FileExistsError(*taken.args) from None
            sleep(0.01)  # there is nothing that would tell of the end of a session

    def _announce(self, session: Session, name: str, info: Info, landlord: Landlord) -> _Announcement:
        where, lock, mine = self._dsn.address(name), sql.key("name", name), session.identity
        if any(isinstance(desk, _Desk) and desk.name == name for desk in session.desks):
            raise FileExistsError(errno.EEXIST, f"this process announces {where!r} already: {INSTEAD}")
        try:
            session.make_schema()
        except Refused as error:
            if error.code != "42501":
                raise
            raise PermissionError(
                errno.EACCES,
                f"{self._dsn.shown}: this role may not make the schema ref_proxy: {error}; let one that may announce something "
                "first, and grant this one its rights",
            ) from None
        if session.execute(sql.TAKE_NAME, lock) != [("t",)]:
            who = [f"process {pid} ({process}) on {host}" for host, pid, process in session.execute(sql.WHO_OWNS, name)]
            raise _Taken(errno.EEXIST, f"{where!r} is announced already, by {(who or ['another process'])[0]}: {INSTEAD}")
        try:
            rows = session.execute(sql.ANNOUNCE, name, lock, json.dumps(info), mine.host, mine.pid, me())
            session.execute(sql.NOTICE)
            session.execute(sql.TIDY)
        except BaseException as error:
            _give_back(session, error, sql.DROP_NAME, lock)
            raise
        desk = _Desk(self._server, session, name, landlord, _number(rows[0][0]))
        session.desks[desk] = None
        desk.renewed(session.until)
        return _Announcement(desk, desk.owner)

    def register(self, name: str, tenant: Tenant, gate: Gate | None, timeout: float | None) -> Registration:
        return self._server.call(
            lambda session: self._register(session, name, tenant), lambda unwanted: unwanted.acknowledge(), timeout
        )

    def _register(self, session: Session, name: str, tenant: Tenant) -> _Holding:
        for _ in range(TRIES):
            found = self._find(session, name)
            holding = _Holding(self._server, session, name, tenant, found)
            session.holdings[holding] = None  # before it is one: so that it hears of all that comes after
            try:
                mine = session.identity
                values = (mine.host, mine.pid, me(), mine.boot, mine.space, mine.started)
                rows = session.execute(sql.ENTER, holding.epoch, holding.lock, self._dsn.lease, *values)  # [ENTER]
                if rows:
                    holding.id = _number(rows[0][0])
                    return holding
            except BaseException as error:
                _give_back(session, error, sql.LET_GO, holding.lock)
                raise
            finally:
                if not holding.id:
                    session.holdings.pop(holding, None)
        raise NotAnnounced(errno.ENODEV, f"what is announced as {self._dsn.address(name)!r} is replaced all the time: try again")

    def _find(self, session: Session, name: str, *, live: bool = True) -> Row:
        where = self._dsn.address(name)
        rows = session.execute(sql.FIND, name) if session.look_for_schema() else []
        if not rows:
            raise NotAnnounced(errno.ENODEV, f"nobody announces {where!r}: start its owner, or give attach() some patience=")
        _, _, _, state, host, pid, process, owned = rows[0]
        if owned != "t":
            raise NotAnnounced(
                errno.ENODEV, f"nobody announces {where!r} any more: its owner, process {pid} ({process}) on {host}, is gone"
            )
        if live and state != "live":
            raise NotAnnounced(errno.ENODEV, f"nobody announces {where!r} any more: the owner has revoked it")
        return rows[0]

    def survey(self, name: str | None) -> list[Survey]:
        rows = self._server.call(lambda session: self._survey(session, name), timeout=ANSWER)
        if name is not None and not rows:
            raise NotAnnounced(errno.ENODEV, f"nobody announces {self._dsn.address(name)!r}")
        holders = who_holds(self._server, [_number(row[1]) for row in rows], TO_REPORT, ANSWER) if rows else []
        return [
            Survey(
                self._dsn.address(str(each)),
                f"process {pid} ({process}) on {host}",
                _number(epoch),
                "live" if state == "live" else "draining",
                tuple(holder for holder in holders if holder.epoch == _number(epoch)),
            )
            for each, epoch, state, host, pid, process in rows
        ]

    def _survey(self, session: Session, name: str | None) -> list[Row]:
        return session.execute(sql.SURVEY, name) if session.look_for_schema() else []

    def ask(self, name: str, timeout: float | None, fence_after: float | None) -> Outcome:
        server, where = self._server, self._dsn.address(name)
        owner = _number(server.call(lambda session: self._find(session, name, live=False), timeout=ANSWER)[1])
        number = _number(server.call(lambda session: session.execute(sql.REQUEST, owner, timeout, fence_after))[0][0])
        until = clock() + ANSWER
        try:
            while True:
                session = server.session()
                seen = session.told
                [[taken, answer, alive]] = server.call(lambda session: session.execute(sql.ANSWERED, number))
                if answer is not None:
                    return _outcome(json.loads(answer))
                if alive == "t" and taken == "t":
                    until = clock() + ANSWER
                elif clock() > until and alive != "t":
                    raise NotAnnounced(errno.ENODEV, f"the owner of {where!r} is gone, or has given it up, and has not answered")
                elif clock() > until:
                    raise TimeoutError(errno.ETIMEDOUT, f"the owner of {where!r} did not answer within {ANSWER:g} s")
                # Notified when there is an answer, but not when there is nobody any more to give one.
                session.wait_for_more(seen, monotonic() + self._dsn.lease / 3)
        finally:
            server.call(lambda session: session.execute(sql.DROP_REQUEST, number), timeout=ANSWER)


def _give_back(session: Session, error: BaseException, statement: str, lock: int) -> None:
    """Of what failed halfway no lock is kept: the session may go on for long, for other names."""
    if not isinstance(error, Lost):
        session.execute(statement, lock)


def _outcome(answer: dict[str, Any]) -> Outcome:
    """What the owner has answered."""
    if "outcome" in answer:
        return wire.as_outcome(answer["outcome"])
    raise wire.raised(answer)


def _seconds(cell: str | None) -> float | None:
    return None if cell is None else float(cell)


def _number(cell: str | None) -> int:
    return int(cell or 0)


_backends: dict[str, Postgres] = {}


def backend(uri: str) -> Backend:
    """The one of that address. Raises `ValueError` for a bad one."""
    found = _backends.get(uri)
    return _backends.setdefault(uri, Postgres(uri)) if found is None else found


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_backends.clear)
