"""The owner's side of the back end for one host: who holds what it announces, and until when each of them counts.

A holder is one connection, under one epoch. It counts until it says `left`, or its process has ended, which a pidfd tells: the
end of the connection alone would not, for a forked child may have inherited it. Where there are no pidfds (macOS) the end of the
connection has to do; children that Python forks close theirs at once, on every system.

The owner's part is changed in the hub's thread alone, but for what `recall()` has to do at once, in its caller's thread:

    recall     say that it is over [RECALLED], then close the gate of every holder there is
    register   add the holder [HELD], then look whether it is over: then it is refused

of which at least one sees the other, as with [PUBLISH] and [JOIN] in the mechanism.
"""

from __future__ import annotations

import atexit
import errno
import os
import socket
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import report
from ..waiting import Bell, spawn
from . import wire
from .backend import Announcement
from .gate import Gate
from .hub import ending, hub, outlived
from .peers import SHORT, Peer, me
from .records import TO_REPORT, Holder, NotAnnounced, ProtocolError, Report, Survey, listed
from .unix_link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backend import Info, Landlord
    from .place import Place

__all__ = ["BREATH", "HANDSHAKE", "Desk"]

BREATH = 0.2  # seconds until it is tried again to let somebody in
HANDSHAKE = 10.0  # seconds that a connection may take to say what it wants
CUT_OFF = "its owner has cut it off"

_desks: dict[Desk, None] = {}  # all that are open, for a forked child to close


class _Held:
    """One holder."""

    def __init__(self, link: Link, process: str, gate: Gate | None, announcement: _Announcement) -> None:
        self.link = link
        self.process = process
        self.gate = gate
        self.announcement = announcement
        self.state = "attached"
        self.report = Report()
        self.asked = self.answered = 0

    def record(self) -> Holder:
        return Holder(_host(), self.link.peer.pid, self.process, self.announcement.epoch, self.state, self.report)  # type: ignore[arg-type]

    def heard(self, message: dict[str, Any]) -> None:
        if message["do"] == "left":
            self.over()
        elif message["do"] == "report":
            self.report = Report(tuple(map(str, message["proxies"])), tuple(map(str, message["inside"])))
            self.answered = self.asked
            self.state = "attached" if self.state == "silent" else self.state
            self.announcement.bell.ring()
        else:
            self.faulty(ProtocolError(f"a holder says {message['do']!r}"))

    def faulty(self, error: ProtocolError) -> None:
        # It counts until its process has ended: what it does with the resource nobody knows.
        report.logger().error(
            "%s: %s, which is attached, is not understood any more: %s",
            self.announcement.desk.place.address,
            self.record(),
            error,
        )
        hub().unwatch(self.link.connection.fileno())
        self.hung_up()

    def hung_up(self) -> None:
        if self.link.peer.pidfd is None or self.link.peer.dead:
            self.over()
        else:
            self.state = "lost"  # it may have become another program (exec), or have closed what it does not know: until it ends

    def over(self) -> None:
        """It does not count any more: it has let go, or is dead, or is cut off."""
        self.announcement.held.pop(self, None)
        self.link.close()
        self.announcement.bell.ring()

    def cut_off(self) -> None:
        if self in self.announcement.held and not self.link.peer.dead:
            self.state = "fenced"
            self.announcement.cut_off.append(self.record())
            if self.gate is not None:
                self.gate.close()
                self.announcement.desk.cut_off(self.gate)
            self.link.say("gone", replaced=False, reason=CUT_OFF)
        self.over()


class _Announcement(Announcement):
    def __init__(self, desk: Desk, info: Info) -> None:
        self.desk = desk
        self.info = info
        self.epoch = desk.place.next_epoch()
        self.bell = Bell()
        self.held: dict[_Held, None] = {}
        self._rounds = count(1)
        self._asked = 0
        self.recalled = ""  # or "replaced", or "revoked"
        self._told = ""  # the same, when all that has to be done for it was done
        self.cut_off: list[Holder] = []

    def recall(self, *, replaced: bool) -> None:
        if self._told == "revoked" or (replaced and (self._told or self.recalled == "revoked")):
            return
        self.recalled = "replaced" if replaced else "revoked"  # [RECALLED]
        if not replaced:
            for held in self.held.copy():
                if held.gate is not None:
                    held.gate.close()
        hub().post(lambda: self._tell(replaced))
        self._told = self.recalled  # last: what Ctrl-C has broken off is done again by the next one

    def _tell(self, replaced: bool) -> None:
        for held in self.held.copy():
            held.link.say("gone", replaced=replaced, reason=f"the owner has {'replaced' if replaced else 'revoked'} it")

    def wait(self, deadline: float | None) -> bool:
        if self.held and ending():
            raise ConnectionError(
                f"{self.desk.place.address!r} is denied, and not released: the interpreter is on its way out, and hears nobody "
                f"any more; held, until they see that this process has ended, by: {listed(self.holders())}; revoke it before, or "
                "register what does so at exit after the import of ref_proxy.remote"
            )
        return self.bell.wait(lambda: not self.held, deadline)

    def fence(self) -> None:
        hub().post(self._fence)

    def _fence(self) -> None:
        for held in self.held.copy():
            held.cut_off()

    def holders(self, ask: float = 0.0) -> list[Holder]:
        if ask and self.held:
            this = next(self._rounds)
            hub().post(lambda: self._ask(this))
            if not self.bell.wait(lambda: self._asked >= this and not self._unanswered(this), monotonic() + ask):
                for held in self._unanswered(this):
                    held.state = "silent"
        return [held.record() for held in self.held.copy()]

    def _ask(self, this: int) -> None:
        for held in self.held.copy():
            held.asked = this
            held.link.say("who")
        self._asked = this
        self.bell.ring()

    def _unanswered(self, this: int) -> list[_Held]:
        """Those asked in that round who may still answer."""
        return [held for held in self.held.copy() if held.asked >= this > held.answered and held.state != "lost"]

    @property
    def cut(self) -> Sequence[Holder]:
        return tuple(self.cut_off)

    def succeed(self, info: Info) -> Announcement:
        self.desk.current = fresh = _Announcement(self.desk, info)
        return fresh

    def withdraw(self) -> None:
        self.desk.close()


class Desk:
    """Where an owner listens: one name, and whoever comes to it."""

    def __init__(self, place: Place, landlord: Landlord) -> None:
        self.place = place
        self._landlord = landlord

    def open(self, info: Info) -> Announcement:
        """Take the name. Raises `FileExistsError`."""
        the_hub = hub()  # before anybody counts on this process: it may have no descriptor left for that
        self.place.check(make=True)
        try:
            self.place.lock()
            self.current = _Announcement(self, info)
            self.listener = self.place.listen()
            _desks[self] = None
            the_hub.post(self._listen)
            return self.current
        except BaseException:
            self.close()
            raise

    def _listen(self) -> None:
        hub().watch(self.listener.fileno(), lambda _: self._accept())

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no descriptor is left, so far: whoever knocks waits
            self._short(error)
            hub().unwatch(self.listener.fileno())
            hub().call_at(self, monotonic() + BREATH, self._listen)
            return
        try:
            link = Link(connection, Peer(connection), wire.Lines(wire.MOST_ASKED))
        except OSError as error:
            with connection, suppress(OSError):
                if error.errno in SHORT:  # the same, but who is let in already has to be told
                    connection.send(wire.encode("refused", **self._short(error)))
            return
        if not link.peer.may_attach():
            self._refuse(link, f"{self.place.address!r} is user {os.geteuid()}'s, not user {link.peer.uid}'s", PermissionError)
            return
        link.heard = lambda message: self._begin(link, message)
        link.faulty = lambda error: self._refuse(link, str(error))
        link.hung_up = link.died = link.close
        hub().call_at(link, monotonic() + HANDSHAKE, link.close)
        link.open()

    def _short(self, error: object) -> dict[str, Any]:
        """What is said to whoever has to come again, for this process has no descriptor or thread left, so far."""
        report.logger().error("%s: whoever comes has to wait: %s", self.place.address, error)
        reason = f"the owner of {self.place.address!r}, process {os.getpid()}, has no descriptor or thread left: {error}"
        return {"version": wire.VERSION, "error": "BlockingIOError", "reason": reason}

    def _refuse(self, link: Link, reason: str, error: type[Exception] = ProtocolError) -> None:
        link.close(kind="refused", version=wire.VERSION, error=error.__name__, reason=reason)

    def _begin(self, link: Link, message: dict[str, Any]) -> None:
        hub().cancel(link)
        match message:
            case {"do": "attach", "process": process, "gate": gate}:
                self._attach(link, process, gate)
            case {"do": "list"}:
                self._work(link, lambda: {"kind": "listed", "survey": wire.plain(self.survey())})
            case {"do": "revoke", "timeout": timeout, "fence_after": fence_after}:
                self._work(link, lambda: self._revoke(timeout, fence_after))
            case _:
                self._refuse(link, f"a connection does not begin with {message['do']!r}")

    def _attach(self, link: Link, process: str, has_gate: bool) -> None:
        fd = link.descriptor()
        try:
            if has_gate and fd is None:
                raise OSError(errno.EMFILE, "that of a gate was lost on its way")
            gate = None if fd is None else Gate.take(fd)
        except OSError as error:
            link.close(kind="refused", **self._short(error))
            return
        except ValueError as error:
            self._refuse(link, str(error))
            return
        if gate is not None and gate.closed:  # it follows a replacement, and took too long
            self._refuse(link, CUT_OFF, NotAnnounced)
            return
        while True:
            current = self.current
            held = _Held(link, process[:200], gate, current)
            current.held[held] = None  # [HELD]
            if not current.recalled:
                break
            current.held.pop(held, None)
            current.bell.ring()
            if current.recalled == "revoked":
                self._refuse(link, f"{self.place.address!r} is revoked", NotAnnounced)
                return
        link.heard, link.faulty, link.hung_up, link.died = held.heard, held.faulty, held.hung_up, held.over
        link.say("welcome", version=wire.VERSION, epoch=current.epoch, info=current.info)

    def cut_off(self, gate: Gate) -> None:
        """Tell whoever reads that gate, which is closed: he may hold what has replaced what he was cut off from."""
        for held in self.current.held.copy():
            if held.gate is not None and held.gate.number == gate.number:
                held.link.say("gone", replaced=False, reason=CUT_OFF)

    def survey(self) -> Survey:
        current = self.current
        owner = f"process {os.getpid()} ({me()}) on {_host()}"
        state = "draining" if current.recalled else "live"
        return Survey(self.place.address, owner, current.epoch, state, tuple(current.holders(ask=TO_REPORT)))  # type: ignore[arg-type]

    def _revoke(self, timeout: float | None, fence_after: float | None) -> dict[str, Any]:
        return {"kind": "outcome", "outcome": wire.plain(self._landlord.asked(timeout, fence_after))}

    def _work(self, link: Link, job: Callable[[], dict[str, Any]]) -> None:
        """Answer with what `job()` returns: in a thread of its own, for it waits for what the hub's hears."""

        def answer() -> None:
            try:
                said = job()
            except BaseException as error:  # a hook may raise what ends a thread
                said = {"kind": "failed", **wire.failure(error)}
            hub().post(lambda: link.close(version=wire.VERSION, **said))

        try:
            spawn(answer)
        except BlockingIOError as error:
            link.close(kind="refused", **self._short(error))

    def close(self) -> None:
        """Give the name up. May be called again, also where it was broken off."""
        closed = Bell()

        def end() -> None:
            if self in _desks:  # whose close() was broken off may have done it
                hub().cancel(self)
                hub().unwatch(self.listener.fileno())
                self._leave()
            closed.ring()

        if self in _desks and not ending():  # when the interpreter ends, so does the hub
            try:
                hub().post(end)
                closed.wait(lambda: self not in _desks, monotonic() + HANDSHAKE)
                return
            except BlockingIOError:  # it is not there, and does not listen
                pass
        self._leave()

    def _leave(self) -> None:
        self.place.leave()
        if hasattr(self, "listener"):
            self.listener.close()
        _desks.pop(self, None)

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self.listener.close()
        self.place.forget()


def _host() -> str:
    return socket.gethostname()


@atexit.register
def _at_end() -> None:
    """Give the names up, where the process goes on."""
    if outlived():
        for desk in list(_desks):
            desk.close()


def _after_fork() -> None:
    for desk in list(_desks):
        desk.abandon()
    _desks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
