"""The back end for one host: a Unix socket that the owner holds, and the kernel, which says who is alive. There is no server.

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
import select
import selectors
import socket
from functools import partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import report
from ..waiting import Bell, start
from . import wire
from .backend import Announcement, Backend, Registration
from .gate import Gate
from .hub import hub, outlived
from .peers import Peer, me
from .place import Place, names
from .records import Holder, NotAnnounced, Outcome, ProtocolError, Report, Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .backend import Info, Landlord, Tenant

__all__ = ["Unix", "backend"]

BREATH = 0.2  # seconds until it is tried again to let somebody in
HANDSHAKE = 10.0  # seconds that a connection may take to say what it wants
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
CUT_OFF = "its owner has cut it off"
MOST_UNSENT = 1024 * 1024  # bytes: who does not read that much is cut off

_links: dict[Link, None] = {}  # all that is open, for a forked child to close
_desks: dict[_Desk, None] = {}


class Link:
    """One connection in the hub's thread: messages in, messages out, and when the process at the other end ends."""

    def __init__(self, connection: socket.socket, peer: Peer, lines: wire.Lines) -> None:
        self.connection = connection
        self.peer = peer
        self.closed = False
        self.last_words: dict[str, Any] = {}  # at the end of the interpreter
        self.tell_nobody()
        self._lines = lines
        self._unsent = b""
        self._descriptors: list[int] = []
        _links[self] = None

    def tell_nobody(self) -> None:
        """Have nobody called any more."""
        self.heard: Callable[[dict[str, Any]], object] = lambda _: None
        self.faulty: Callable[[ProtocolError], object] = lambda _: None
        self.hung_up: Callable[[], object] = lambda: None  # the connection has ended
        self.died: Callable[[], object] = lambda: None  # the process has

    def open(self) -> None:
        """Begin to listen. In the hub's thread, as all that follows."""
        if self.closed:
            return
        self.connection.setblocking(False)
        hub().watch(self.connection.fileno(), self._ready)
        if self.peer.pidfd is not None:
            hub().watch(self.peer.pidfd, lambda _: self._dead())

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.connection, 65536, 4, CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        try:
            if data:
                self.take(data)
            else:
                hub().unwatch(self.connection.fileno())
                self.hung_up()
        finally:
            for fd in self._descriptors:  # that nobody has asked for
                os.close(fd)
            self._descriptors.clear()

    def take(self, data: bytes) -> None:
        """Deal with what has come."""
        try:
            for message in self._lines.feed(data):
                if not self.closed:
                    self.heard(message)
        except ProtocolError as error:
            self.faulty(error)

    def descriptor(self) -> int | None:
        """One that came with the message that is dealt with just now; the caller is to close it."""
        return self._descriptors.pop(0) if self._descriptors else None

    def say(self, kind: str, **fields: Any) -> None:
        """Send a message, as soon as the other side reads."""
        if not self.closed:
            self._unsent += wire.encode(kind, **fields)
            self._flush()

    def _flush(self) -> None:
        try:
            sent = self.connection.send(self._unsent)
            self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:  # it is over: that is read, too
            self._unsent = b""
        if len(self._unsent) > MOST_UNSENT:
            self._unsent = b""
            self.hung_up()
        elif not self.closed:
            hub().watch(
                self.connection.fileno(), self._ready, selectors.EVENT_READ | (selectors.EVENT_WRITE * bool(self._unsent))
            )

    def _dead(self) -> None:
        if self.peer.pidfd is not None:
            hub().unwatch(self.peer.pidfd)
        self.died()

    def close(self, **last_words: Any) -> None:
        """The end of it, as far as this side goes."""
        if not self.closed:
            if last_words:
                self.say(**last_words)
            self.closed = True
            hub().cancel(self)
            hub().unwatch(self.connection.fileno())
            if self.peer.pidfd is not None:
                hub().unwatch(self.peer.pidfd)
            self.abandon()

    def abandon(self) -> None:
        """Close its descriptors, and nothing else: also in a forked child."""
        self.closed = True
        self.tell_nobody()  # and let go of them, and of what they hold: there is no cycle left for the collector
        _links.pop(self, None)
        self.connection.close()
        self.peer.close()


# ---- The owner's side ----


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
        self.over()


class _Announcement(Announcement):
    def __init__(self, desk: _Desk, info: Info) -> None:
        self.desk = desk
        self.info = info
        self.epoch = desk.place.next_epoch()
        self.bell = Bell()
        self.held: dict[_Held, None] = {}
        self._rounds = count(1)
        self._asked = 0
        self.recalled = ""  # or "replaced", or "revoked"
        self.cut_off: list[Holder] = []

    def recall(self, *, replaced: bool) -> None:
        if self.recalled == "revoked":
            return
        self.recalled = "replaced" if replaced else "revoked"  # [RECALLED]
        if not replaced:
            for held in self.held.copy():
                if held.gate is not None:
                    held.gate.close()
        hub().post(lambda: self._tell(replaced))

    def _tell(self, replaced: bool) -> None:
        for held in self.held.copy():
            held.link.say("gone", replaced=replaced, reason=f"the owner has {'replaced' if replaced else 'revoked'} it")

    def wait(self, deadline: float | None) -> bool:
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


class _Desk:
    """Where an owner listens: one name, and whoever comes to it."""

    def __init__(self, place: Place, info: Info, landlord: Landlord) -> None:
        self.place = place
        self._landlord = landlord
        self._closed: dict[str, object] = {}
        place.check(make=True)
        place.lock()
        try:
            self.current = _Announcement(self, info)
            self.listener = place.listen()
        except BaseException:
            place.leave()
            raise
        _desks[self] = None
        hub().post(self._listen)

    def _listen(self) -> None:
        hub().watch(self.listener.fileno(), lambda _: self._accept())

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no descriptor is left, so far: whoever knocks waits
            report.logger().error("%s: whoever comes has to wait: %s", self.place.address, error)
            hub().unwatch(self.listener.fileno())
            hub().call_at(self, monotonic() + BREATH, self._listen)
            return
        try:
            link = Link(connection, Peer(connection), wire.Lines(wire.MOST_ASKED))
        except OSError:  # the same, or it is gone already
            connection.close()
            return
        if not link.peer.may_attach():
            self._refuse(link, f"{self.place.address!r} is user {os.geteuid()}'s, not user {link.peer.uid}'s")
            return
        link.heard = lambda message: self._begin(link, message)
        link.faulty = lambda error: self._refuse(link, str(error))
        link.hung_up = link.died = link.close
        hub().call_at(link, monotonic() + HANDSHAKE, link.close)
        link.open()

    def _refuse(self, link: Link, reason: str, *, gone: bool = False) -> None:
        link.close(kind="refused", version=wire.VERSION, gone=gone, reason=reason)

    def _begin(self, link: Link, message: dict[str, Any]) -> None:
        hub().cancel(link)
        match message:
            case {"do": "attach", "process": process}:
                self._attach(link, process)
            case {"do": "list"}:
                start(lambda: self._answer(link, lambda: {"kind": "listed", "survey": wire.plain(self.survey())}))
            case {"do": "revoke", "timeout": timeout, "fence_after": fence_after}:
                start(lambda: self._answer(link, lambda: self._revoke(timeout, fence_after)))
            case _:
                self._refuse(link, f"a connection does not begin with {message['do']!r}")

    def _attach(self, link: Link, process: str) -> None:
        fd = link.descriptor()
        try:
            gate = None if fd is None else Gate.take(fd)
        except ValueError as error:
            self._refuse(link, str(error))
            return
        if gate is not None and gate.closed:  # it follows a replacement, and took too long
            self._refuse(link, CUT_OFF, gone=True)
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
                self._refuse(link, f"{self.place.address!r} is revoked", gone=True)
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
        return Survey(self.place.address, owner, current.epoch, state, tuple(current.holders(ask=0.25)))  # type: ignore[arg-type]

    def _revoke(self, timeout: float | None, fence_after: float | None) -> dict[str, Any]:
        return {"kind": "outcome", "outcome": wire.plain(self._landlord.asked(timeout, fence_after))}

    def _answer(self, link: Link, job: Callable[[], dict[str, Any]]) -> None:
        try:
            answer = job()
        except Exception as error:
            answer = {"kind": "failed", **wire.failure(error)}
        hub().post(lambda: link.close(version=wire.VERSION, **answer))

    def close(self) -> None:
        me = object()
        if self._closed.setdefault("", me) is me:
            _desks.pop(self, None)
            closed = Bell()
            done: list[bool] = []

            def end() -> None:
                hub().cancel(self)
                hub().unwatch(self.listener.fileno())
                self.listener.close()
                self.place.leave()
                done.append(True)
                closed.ring()

            hub().post(end)
            closed.wait(lambda: bool(done), monotonic() + HANDSHAKE)

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self.listener.close()
        self.place.forget()


# ---- The holder's side ----


class _Registration(Registration):
    def __init__(self, link: Link, welcome: dict[str, Any], tenant: Tenant) -> None:
        self.epoch = welcome["epoch"]
        self.info = welcome["info"]
        self._link = link
        self._tenant = tenant
        self._over: dict[str, object] = {}
        link.last_words = {"kind": "left"}
        link.heard = self._heard
        link.faulty = lambda error: self._gone(f"its owner is not understood: {error}")
        link.hung_up = self._hung_up
        link.died = lambda: self._gone(f"its owner, process {link.peer.pid}, is gone")

    def _heard(self, message: dict[str, Any]) -> None:
        if message["do"] == "gone":
            self._gone(message["reason"], message["replaced"])
        elif message["do"] == "who":
            start(self._report)  # it may have many sections to look through

    def _hung_up(self) -> None:
        dead = self._link.peer.dead or self._link.peer.pidfd is None
        self._gone(f"its owner, process {self._link.peer.pid}, is gone" if dead else CUT_OFF)

    def _gone(self, reason: str, replaced: bool = False) -> None:
        me = object()
        first = self._over.setdefault("replaced" if replaced else "gone", me) is me
        if first and not (replaced and "gone" in self._over):
            self._tenant.gone(reason, replaced=replaced)

    def _report(self) -> None:
        told = self._tenant.report()
        hub().post(lambda: self._link.say("report", proxies=list(told.proxies), inside=list(told.inside)))

    def acknowledge(self) -> None:
        hub().post(self._acknowledge)

    def _acknowledge(self) -> None:
        self._link.close(**self._link.last_words)


class Unix(Backend):
    """Names are those of the user's own directory, or paths of sockets."""

    gates = True

    def announce(self, name: str, info: Info, landlord: Landlord) -> Announcement:
        return _Desk(Place(name), info, landlord).current

    def register(self, name: str, tenant: Tenant, gate: Gate | None, timeout: float | None) -> Registration:
        place = Place(name)
        link, welcome, rest = _ask(place, timeout, [] if gate is None else [gate.fd], "attach", process=me())
        if welcome["do"] != "welcome":
            link.abandon()
            raise ProtocolError(f"the owner of {place.address!r} says {welcome['do']!r} to who attaches")
        registration = _Registration(link, welcome, tenant)

        def begin() -> None:
            link.open()
            for message in rest:
                link.heard(message)

        hub().post(begin)
        return registration

    def survey(self, name: str | None) -> list[Survey]:
        if name is not None:
            return [self._survey(name)]
        found: list[Survey] = []
        for each in names():
            try:
                found.append(self._survey(each))
            except (NotAnnounced, TimeoutError, ConnectionError):  # it went just now, or left its socket behind
                pass
        return found

    def _survey(self, name: str) -> Survey:
        link, answer, _ = _ask(Place(name), HANDSHAKE, [], "list")
        link.abandon()
        return wire.as_survey(answer.get("survey", {}))

    def ask(self, name: str, timeout: float | None, fence_after: float | None) -> Outcome:
        place = Place(name)
        link, answer, _ = _ask(place, None, [], "revoke", timeout=timeout, fence_after=fence_after)
        link.abandon()
        if answer["do"] == "outcome":
            return wire.as_outcome(answer["outcome"])
        raise wire.raised(answer)


def _ask(
    place: Place, patience: float | None, descriptors: list[int], what: str, **fields: Any
) -> tuple[Link, dict[str, Any], list[dict[str, Any]]]:
    """Say what is wanted, and return the connection with the owner's answer, and what came right after it."""
    place.check(make=False)
    connection = place.connect(patience)
    try:
        peer = Peer(connection)
    except BaseException:
        connection.close()
        raise
    lines = wire.Lines(wire.MOST_TOLD)
    link = Link(connection, peer, lines)
    try:
        if not peer.may_attach() and os.geteuid() != 0:
            raise PermissionError(errno.EPERM, f"{place.address!r} is owned by user {peer.uid}, and this is user {os.geteuid()}")
        try:
            socket.send_fds(connection, [wire.encode(what, version=wire.VERSION, **fields)], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have said why
        answer, *rest = _answer(place, link, lines, patience)
        if answer["do"] == "refused":
            if answer["gone"]:
                raise NotAnnounced(errno.ENODEV, f"nobody announces {place.address!r} any more: {answer['reason']}")
            if "user" in answer["reason"]:
                raise PermissionError(errno.EPERM, answer["reason"])
            raise ProtocolError(f"the owner of {place.address!r}, process {peer.pid}, has refused: {answer['reason']}")
        return link, answer, rest
    except ProtocolError as error:
        link.abandon()
        raise ProtocolError(f"{place.address!r}, process {peer.pid}: {error}") from None
    except BaseException:
        link.abandon()
        raise


def _answer(place: Place, link: Link, lines: wire.Lines, timeout: float | None) -> list[dict[str, Any]]:
    """Wait for the first messages of the owner, for as long as that is alive."""
    deadline = None if timeout is None else monotonic() + timeout
    poll = select.poll()
    poll.register(link.connection, select.POLLIN)
    if link.peer.pidfd is not None:
        poll.register(link.peer.pidfd, select.POLLIN)
    while True:
        left = None if deadline is None else max(deadline - monotonic(), 0)
        ready = [fd for fd, _ in poll.poll(None if left is None else left * 1000)]
        if not ready:
            raise TimeoutError(
                errno.ETIMEDOUT, f"the owner of {place.address!r}, process {link.peer.pid}, did not answer within {timeout} s"
            )
        try:
            data = link.connection.recv(65536) if link.connection.fileno() in ready else b""
        except ConnectionResetError:
            data = b""
        if not data:  # it has ended, or only its child is left to hold the socket
            raise NotAnnounced(
                errno.ENODEV, f"nobody announces {place.address!r} any more: its owner, process {link.peer.pid}, is gone"
            )
        messages = lines.feed(data)
        if messages:
            return messages


def _host() -> str:
    return socket.gethostname()


_backend = Unix()


def backend() -> Backend:
    """The one there is."""
    return _backend


@atexit.register
def _at_end() -> None:
    """Let go of everything, where the process goes on. Where it ends, some thread may be inside until it does."""
    if outlived():
        for desk in list(_desks):
            desk.close()
        for link in list(_links):
            hub().post(partial(link.close, **link.last_words))


def _after_fork() -> None:
    for link in list(_links):
        link.abandon()
    for desk in list(_desks):
        desk.abandon()
    _desks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
