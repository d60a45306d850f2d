"""The back end for one host: a Unix socket that the owner holds, and the kernel, which says who is alive. There is no server.

Here is what whoever comes to an owner does: to attach, to list, or to ask for a removal. `unix_owner.py` is the owner's
side, and `unix_link.py` the connection between the two.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ..waiting import Bell, start
from . import wire
from .backend import Backend, Registration
from .hub import ending, hub
from .peers import Peer, me
from .place import Place, names
from .records import NotAnnounced, ProtocolError, Survey
from .unix_link import Link
from .unix_owner import BREATH, HANDSHAKE, Desk

if TYPE_CHECKING:
    from .backend import Announcement, Info, Landlord, Tenant
    from .gate import Gate
    from .records import Outcome

__all__ = ["Unix", "backend"]


class _Registration(Registration):
    def __init__(self, link: Link, welcome: dict[str, Any], tenant: Tenant) -> None:
        self.epoch = welcome["epoch"]
        self.info = welcome["info"]
        self._link = link
        self._tenant = tenant
        self._over: dict[str, object] = {}
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
        self._gone(f"its owner, process {self._link.peer.pid}, is gone" + ("" if dead else ", or does not answer for it"))

    def _gone(self, reason: str, replaced: bool = False) -> None:
        me = object()
        first = self._over.setdefault("replaced" if replaced else "gone", me) is me
        if first and not (replaced and "gone" in self._over):
            self._tenant.gone(reason, replaced=replaced)

    def _report(self) -> None:
        message = wire.reported(self._tenant.report())
        hub().post(lambda: self._link.send(message))

    def acknowledge(self) -> None:
        hub().post(self._acknowledge)

    def _acknowledge(self) -> None:
        self._link.close(**self._link.last_words)


AT_ONCE = 16  # names whose owners are asked at once for a listing


class Unix(Backend):
    """Names are those of the user's own directory, or paths of sockets."""

    gates = True

    def key(self, name: str) -> object:
        return os.path.realpath(Place(name).path)

    def announce(self, name: str, info: Info, landlord: Landlord) -> Announcement:
        return Desk(Place(name), landlord).open(info)

    def register(self, name: str, tenant: Tenant, gate: Gate | None, timeout: float | None) -> Registration:
        place = Place(name)
        the_hub = hub()  # before the owner counts this one: there may be no descriptor left for it
        link, welcome, rest = _ask(
            place, timeout, [] if gate is None else [gate.fd], "attach", process=me(), gate=gate is not None
        )

        def begin() -> None:
            link.open()
            for message in rest:
                link.heard(message)

        try:
            if welcome["do"] != "welcome":
                raise ProtocolError(f"the owner of {place.address!r} says {welcome['do']!r} to who attaches")
            registration = _Registration(link, welcome, tenant)
            the_hub.post(begin)
        except BaseException:
            try:
                the_hub.post(lambda: link.close(**link.last_words))  # in its thread, where it may be open by now
            except BlockingIOError:  # it is not there
                link.hang_up()
            raise
        return registration

    def survey(self, name: str | None) -> list[Survey]:
        if name is not None:
            return [self._survey(name)]
        every = names()
        left, seen, bell = deque(every), dict[str, Survey | Exception | None](), Bell()

        def look() -> None:
            with suppress(IndexError):  # until none is left
                while True:
                    each = left.popleft()
                    try:
                        seen[each] = self._seen(each)
                    except Exception as error:
                        seen[each] = error
                    bell.ring()

        for _ in every[:AT_ONCE]:  # each may be slow to answer
            start(look)
        bell.wait(lambda: len(seen) == len(every), None)
        found = [seen[each] for each in every]
        for each in found:
            if isinstance(each, Exception):
                raise each
        return [each for each in found if isinstance(each, Survey)]

    def _seen(self, name: str) -> Survey | None:
        try:
            return self._survey(name)
        except NotAnnounced:  # it went just now, or left its socket behind
            return None
        except (TimeoutError, ConnectionError) as error:  # it is stopped, or of another version
            return Survey(f"unix:{name}", getattr(error, "strerror", None) or str(error), 0, "unknown", ())

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
    deadline = None if patience is None else monotonic() + patience
    while True:
        try:
            return _ask_once(place, patience, descriptors, what, **fields)
        except BlockingIOError as busy:
            if deadline is not None and monotonic() + BREATH > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"not within {patience} s: {busy.strerror}") from None
        sleep(BREATH)


def _ask_once(
    place: Place, patience: float | None, descriptors: list[int], what: str, **fields: Any
) -> tuple[Link, dict[str, Any], list[dict[str, Any]]]:
    place.check(make=False)
    connection = place.connect(patience)
    peer, lines = None, wire.Lines(wire.MOST_TOLD)
    try:
        peer = Peer(connection)
        link = Link(connection, peer, lines)
    except BaseException:
        if peer is not None:
            peer.close()
        connection.close()
        raise
    if what == "attach":  # from before it is sent: whoever reads it later, be it after a stop, finds that it is over
        link.last_words = {"kind": "left"}
    try:
        if peer.pid == os.getpid() and ending():
            raise ConnectionError(
                errno.ECANCELED,
                f"{place.address!r} is announced by this process, whose interpreter is on its way out, and hears nobody any more",
            )
        if not peer.may_attach() and os.geteuid() != 0:
            raise PermissionError(errno.EPERM, f"{place.address!r} is owned by user {peer.uid}, and this is user {os.geteuid()}")
        try:
            socket.send_fds(connection, [wire.encode(what, version=wire.VERSION, **fields)], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have said why
        answer, *rest = _answer(place, link, lines, patience)
        match answer:
            case {"do": "refused", "error": "NotAnnounced", "reason": reason}:
                raise NotAnnounced(errno.ENODEV, f"nobody announces {place.address!r} any more: {reason}")
            case {"do": "refused", "error": "PermissionError", "reason": reason}:
                raise PermissionError(errno.EPERM, reason)
            case {"do": "refused", "error": "BlockingIOError", "reason": reason}:
                raise BlockingIOError(errno.EAGAIN, reason)
            case {"do": "refused", "reason": reason}:
                raise ProtocolError(f"the owner has refused: {reason}")
            case _:
                return link, answer, rest
    except ProtocolError as error:
        link.hang_up()
        raise ProtocolError(f"{place.address!r}, process {peer.pid}: {error}") from None
    except BaseException:
        link.hang_up()
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


_backend = Unix()


def backend() -> Backend:
    """The one there is."""
    return _backend
