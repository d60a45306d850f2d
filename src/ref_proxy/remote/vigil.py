"""The owner's wait for one epoch, on a connection of its own: the server says when nobody holds it any more, or has the right to.

First it waits for the lock of the epoch, exclusively. Then it judges the rows that are left: those of holders whose session has
ended before they acknowledged. Of one on this host the kernel says whether that process is alive, and when it ends. One that may
be alive is *lost*: it has until its lease is over for certain, counted from now, to come back and acknowledge late; by then it
has denied.
"""

from __future__ import annotations

import atexit
import errno
import json
from time import monotonic
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from .. import report
from ..waiting import Bell, Claim, spawn
from . import sql
from .identity import Identity, Watched
from .libpq import Lost, Refused, Talk, clock
from .peers import me
from .records import Holder, Report
from .wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from .libpq import Row, Value
    from .session import Server

__all__ = ["Vigil", "said"]

CANCELLED = "57014"
CANCELLING = 1.0  # seconds that the process's session may take to have the wait given up
SLOWEST = 1.0  # seconds between two attempts to reach a server that is away
_vigils: WeakKeyDictionary[Vigil, None] = WeakKeyDictionary()


class Vigil:
    """Runs from the recall until nobody is left, in a thread that sleeps."""

    def __init__(self, server: Server, epoch: int, owner: int, name: str, *, after: int | None = None) -> None:
        self.final = False  # whether nothing takes its place
        self.recalled = False  # in the tables
        self.over = False
        self.cut: dict[int, Holder] = {}  # by the number of its row
        self._server = server
        self.epoch = epoch
        self._after = after  # it is not known which epoch: the last one of this owner, if there is any after this one
        self._owner = owner
        self._name = name
        self._bell = Bell()
        self._wake: Wake | None = None
        self._claims: dict[str, Claim] = {}
        self._fenced = self._ended = self._waiting = False
        self._until: dict[int, float] = {}  # by the number of its row: when its lease is over, of whoever is lost
        self._watched: dict[int, Watched] = {}

    def start(self) -> None:
        """Begin, unless it has begun. Raises: `BlockingIOError` where no thread can be had; the next one tries again."""
        if self._server.open and not self._claims:
            _vigils[self] = None
            spawn(self._run)

    def recall(self, execute: Callable[..., object]) -> None:
        """Say in the tables that it is over, and notify everybody. May be done twice."""
        execute(sql.RECALL, self.epoch, self._owner if self.final else None)  # [OVER]
        self.recalled = True

    def wait(self, deadline: float | None) -> bool:
        """Wait for the end of it."""
        self.start()
        over = self._bell.wait(lambda: self.over or self._ended or not self._server.open, deadline)
        if over and not self.over:
            raise Lost(errno.ECANCELED, f"{self._name!r}: this process is at its end, and its holders are not waited for")
        return over

    def fence(self) -> None:
        """Cut off who is left."""
        self._fenced = True
        self._ring()

    def end(self) -> None:
        """Give up: this process is at its end."""
        self._ended = True
        self._ring()

    def _ring(self) -> None:
        self._bell.ring()
        if self._wake is not None:
            self._wake()

    # ---- In its thread ----

    def _run(self) -> None:
        me = Claim()
        if self._claims.setdefault("", me) is not me:  # here, where no Ctrl-C comes between that and what it is for
            return
        pause, told = 0.01, False
        try:
            while not self.over and not self._ended:
                try:
                    if self._wake is None:
                        self._wake = Wake()
                        continue  # who came before could not ring: look again
                    self._attempt(self._wake)
                except Exception as error:  # whatever it was: nobody else would go on with it
                    if isinstance(error, Refused) and error.code == CANCELLED:
                        continue
                    if not told and not self._ended:
                        told = True
                        report.logger().warning("%r: the removal goes on when the server does: %s", self._name, error)
                    self._bell.wait(lambda: self._ended, monotonic() + pause)  # nothing would tell of its return
                    pause = min(2 * pause, SLOWEST)
        finally:
            for watched in self._watched.values():
                watched.close()
            if self._wake is not None:
                self._wake.close()
            self._bell.ring()

    def _attempt(self, wake: Wake) -> None:
        self.talk = Talk(self._server.dsn, wake, self._woken)
        try:
            self.talk.connect(me())
            lease = self._server.dsn.lease
            self._execute(sql.SET_UP, max(1, round(lease)), int(1500 * lease) + 1)
            [[self._backend]] = self._execute(sql.HERE)  # in a pool it is another one than libpq says
            if not self.recalled:
                self.recall(self._execute)
            if self._after is not None and not self._found(self._after):
                self.over = True
                return
            self._wait_for_lock()
            self._execute(sql.LISTEN)  # not before: who listens and does not read holds up the server's queue
            self._judge()
            self._execute(sql.FORGET_ALL, self.epoch)
            self.over = True
        finally:
            self.talk.close()

    def _found(self, after: int) -> bool:
        [[latest]] = self._execute(sql.LATEST, self._owner, after)
        if latest is not None:
            self.epoch = int(latest)
            self.recall(self._execute)
        return latest is not None

    def _execute(self, statement: str, *values: Value) -> list[Row]:
        return self.talk.execute(statement, *values, until=clock() + self._server.dsn.lease)

    def _woken(self) -> None:
        if self._ended:
            raise Lost(errno.ECANCELED, "this process is at its end")
        if self._fenced and self._waiting:
            self._cancel()

    def _cancel(self) -> None:
        """Have the server give up the wait for the lock: by the process's session, which is there.

        Not as libpq does it, by another connection: while none is to be had, that blocks, and keeps the GIL. Where the session
        does not answer either, this connection is given up, and the wait that is left at the server harms nobody.
        """
        self._waiting, until = False, monotonic() + CANCELLING
        try:
            while not self._server.call(lambda session: session.execute(sql.CANCEL, self._backend), timeout=CANCELLING):
                # It does not wait yet: told so now it would forget that. Or it has what it waited for.
                if self.talk.speaks(0.01):
                    return
                if monotonic() > until:
                    raise Lost(errno.ETIMEDOUT, f"the server does not say within {CANCELLING} s that anybody waits")
        except OSError as error:
            raise Lost(errno.ECONNRESET, f"the wait could not be given up: {error}") from None

    def _wait_for_lock(self) -> None:
        """Until nobody's session holds it. That of a dead process may live on, where a copy of the process has its connection."""
        while not self._fenced:
            watched = self._alive()
            self._waiting = True
            try:
                self.talk.execute(sql.WAIT, sql.key("epoch", self.epoch), until=None, also=watched, then=self._cancel)  # [WAIT]
                return
            except Refused as error:
                if error.code != CANCELLED:
                    raise
            finally:
                self._waiting = False

    def _alive(self) -> list[int]:
        """What becomes readable when a holder on this host ends. The sessions of those that have are ended."""
        alive, dead = list[int](), list[int]()
        for row in self._execute(sql.LEFT_BEHIND, self.epoch):
            which, identity = _who(row)
            if self._dead(which, identity):
                dead.append(which)
            elif (watched := self._watched.get(which)) is not None and watched.fd is not None:
                alive.append(watched.fd)
        self._end_sessions(dead, "dead processes")
        return alive

    def _end_sessions(self, holders: list[int], whose: str, *, cut_off: bool = False) -> None:
        refused = list[Refused]()
        for holder in holders:
            try:
                self._execute(sql.END, holder)
            except Refused as error:  # another role's: one that lives denies all the same, by what it is told, or by its lease
                refused.append(error)
                if cut_off:
                    self._execute(sql.CUT_OFF, holder)
        if refused:
            report.logger().warning(
                "%r: the sessions of %d %s could not be ended: %s", self._name, len(refused), whose, refused[0]
            )

    def _judge(self) -> None:
        cut_off = False
        while True:
            if self._fenced and not cut_off:
                cut_off = True
                holders = [int(row[0] or 0) for row in self._execute(sql.NOT_DENIED, self.epoch)]
                self._end_sessions(holders, "holders", cut_off=not self.final)  # what is revoked is denied as it is
            rows = self._execute(sql.LEFT_BEHIND, self.epoch)
            left = [row for row in rows if not self._settled(row)]
            if not left:
                return
            while not self.talk.heard and clock() < min(self._until.values()) and self._fenced == cut_off:
                fds = [watched.fd for watched in self._watched.values() if watched.fd is not None]
                self.talk.pause(min(self._until.values()), fds)
                if any(watched.ended() for watched in self._watched.values()):
                    break
            self.talk.heard.clear()

    def _settled(self, row: Row) -> bool:
        """Whether this holder need not be waited for any more: it is dead, or cut off, or its lease is over."""
        _, host, pid, _, _, _, process, lease, denied, told = row
        which, identity = _who(row)
        if which in self.cut:
            return True
        if self._dead(which, identity):
            self._execute(sql.FORGET, f"{{{which}}}")
        else:
            until = self._until.setdefault(which, clock() + float(lease or 0))
            if clock() < until and not (self._fenced and denied == "t"):
                return False
            state: Literal["fenced", "lost"] = "fenced" if self._fenced else "lost"
            self.cut[which] = Holder(host or "", int(pid or 0), process or "", self.epoch, state, said(told))
        self._until.pop(which, None)
        return True

    def _dead(self, which: int, identity: Identity) -> bool:
        """Whether the kernel says so."""
        if not identity.within_sight_of(Identity.mine()):
            return False
        watched = self._watched.get(which) or self._watched.setdefault(which, Watched(identity))
        return watched.ended()


def _who(row: Row) -> tuple[int, Identity]:
    number, host, pid, boot, space, started, *_ = row
    return int(number or 0), Identity.told(host, pid, boot, space, started)


def said(text: str | None) -> Report:
    """What a holder has told."""
    told = json.loads(text or "{}")
    return Report(tuple(map(str, told.get("proxies", ()))), tuple(map(str, told.get("inside", ()))))


@atexit.register
def _end() -> None:
    for vigil in list(_vigils):
        vigil.end()
