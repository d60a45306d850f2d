"""The mechanism in Python: the executable specification of `_core.c`, and the fallback where no compiler is.

Read this file first. The words:

    cell          what a provider and its proxies share: the resource that is published at the moment, or none any more
    publication   one resource, from the moment it is published until the last section that holds it has ended
    proxy         a weak handle on a cell: it finds the resource, and never keeps it
    section       one access, from its start to its end; it belongs to the publication that it joined

and the whole algorithm:

    access    load the cell's publication [LOAD], join it [JOIN], and look again whether it is still the published one
              [RECHECK]; if it is not, leave it and begin anew, and if there is none, refuse
    end       leave the publication [LEAVE]; the last one to leave a retired publication wakes those who wait [WAKE]
    publish   put a new publication, or none, in the place of the old one [PUBLISH], then look whether anybody is left in
              the old one [SCAN]; it can be empty only once

A grace period is the wait until one retired publication is empty. Newer sections join newer publications, so they cannot
prolong it. Whoever is inside can be read off the publication: which proxy, which thread.

Nothing here takes a lock that another thread may hold while it runs foreign code: an access may interrupt another one, in a
signal handler, a finaliser or a weakref callback, at any instruction. What must be atomic is one call of a dict's method.
The orderings, each with its partner, and what would go wrong without them:

    [PUBLISH] before [SCAN], against [JOIN] before [RECHECK]: an access that the scan does not see has joined after it, and so
        sees what was published before it. Otherwise a section could hold a resource that is being released.
    [LEAVE] before [WAKE], against [PUBLISH] before [SCAN]: of the last section and the remover at least one sees the other's
        step. Otherwise the remover would sleep on, with nobody left to wake it.
    in [WAKE] and [DRAINED] "retired" is asked before "empty": asked the other way round, an access could join between the two
        answers, be granted, and be overlooked.

Without the GIL a dict's own lock makes [JOIN] and [LEAVE] single steps, and orders them; `docs/algorithm.md` has the argument.
"""

from __future__ import annotations

import errno
import warnings
from _thread import RLock, _local, get_ident
from types import GenericAlias
from typing import final
from weakref import WeakSet

from .errors import Revoked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn

__all__ = ["BACKEND", "Cell", "Proxy", "Section", "after_fork"]

BACKEND = "py"


class _Thread:
    """One for each thread that ever made an access: unlike a thread's number it is never used again for another thread."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.ident = get_ident()


class _Here(_local):
    def __init__(self) -> None:
        self.thread = _Thread()


class _Member:
    """What a publication knows of a section: all but the section itself, which must stay free to be dropped."""

    __slots__ = ("detached", "proxy", "thread")

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.thread = _here.thread
        self.detached = False


_here = _Here()
_cells: WeakSet[Cell] = WeakSet()
_swapping = RLock()  # held for the few loads and stores of [PUBLISH] alone, never by a reader, and no foreign code runs under it


def _uncopied(self: object, protocol: Any, /) -> NoReturn:
    # A copy would answer for a section, or a removal, that is not its own.
    raise TypeError(f"cannot copy or pickle {self!r}: get another proxy from the provider instead")


def _sealed(cls: type) -> NoReturn:
    raise TypeError(f"type '{cls.__bases__[0].__module__}.{cls.__bases__[0].__name__}' is not an acceptable base type")


class _Publication:
    """One published resource, with the sections that hold it; `number` counts a cell's publications from 1."""

    __slots__ = ("members", "number", "resource")

    def __init__(self, number: int, resource: Any) -> None:
        self.number = number
        self.resource = resource
        self.members: dict[_Member, None] = {}


@final
class Cell:
    """What a provider and its proxies share.

    `wake()` is called whenever a section is the last one to leave a retired publication, by the thread that ended it: also
    out of a signal handler or a finaliser, so it must not block. It is not called for a publication that nobody was in.
    """

    __slots__ = ("__weakref__", "_current", "_final", "_number", "_retired", "_wake", "name")
    __class_getitem__ = classmethod(GenericAlias)
    __init_subclass__ = _sealed
    __reduce_ex__ = _uncopied

    def __init__(self, resource: Any, name: str, wake: Callable[[], object], /) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a cell must be a str, not {type(name).__name__}")
        self.name = name
        self._wake = wake
        self._current: _Publication | None = _Publication(1, resource)
        self._number = 1
        self._final: _Publication | None = None
        self._retired: dict[int, _Publication] = {}  # by number, those that may still have members
        _cells.add(self)

    @property
    def live(self) -> bool:
        """Whether a resource is published."""
        return self._current is not None

    @property
    def number(self) -> int:
        """The number of the publication that is current, or was the last one."""
        return self._number

    def publish(self, resource: Any, /) -> tuple[int, Any] | None:
        """Put `resource` in the place of what is published, and return the number and the resource of what was.

        None, and nothing done, when nothing is published any more.
        """
        fresh = _Publication(0, resource)
        with _swapping:
            old = self._current
            if old is None:
                return None
            self._number = fresh.number = old.number + 1
            self._retired[old.number] = old
            self._current = fresh  # [PUBLISH]
        self._scan(old)
        return old.number, old.resource

    def deny(self) -> Any:
        """Publish nothing any more. Return the final resource, the first time and again, until `clear()`; then None."""
        with _swapping:
            old = self._current
            if old is not None:
                self._final = old
                self._retired[old.number] = old
                self._current = None  # [PUBLISH]
        final = self._final
        if final is None:
            return None
        self._scan(final)
        return final.resource

    def clear(self) -> None:
        """Let go of the final resource."""
        self._final = None

    def _scan(self, old: _Publication) -> None:
        if not old.members:  # [SCAN]
            self._retired.pop(old.number, None)

    def drained(self, first: int, last: int, /) -> bool:
        """Whether the publications `first` to `last` are retired and all their sections have ended."""
        current = self._current  # [DRAINED] asked first: what is retired stays retired
        if current is not None and current.number <= last:
            return False
        for publication in list(self._retired.values()):
            if first <= publication.number <= last:
                if publication.members:
                    return False
                self._retired.pop(publication.number, None)
        return True

    def sections(self, first: int, last: int, /) -> list[tuple[Proxy, int, bool, bool]]:
        """The open sections of the publications `first` to `last`: proxy, thread number, this thread's own?, detached?"""
        current = self._current
        publications = [*list(self._retired.values()), *([] if current is None else [current])]
        here = _here.thread
        return [
            (member.proxy, member.thread.ident, member.thread is here, member.detached)
            for publication in publications
            if first <= publication.number <= last
            for member in list(publication.members)
        ]

    def _leave(self, publication: _Publication, member: _Member) -> bool:
        try:
            return publication.members.pop(member, self) is None  # [LEAVE]
        finally:  # also when Ctrl-C strikes between the two: nobody else might come by to wake a remover
            if self._current is not publication and not publication.members:  # asked in this order
                if self._retired.pop(publication.number, None) is not None:
                    self._wake()  # [WAKE]

    def __repr__(self) -> str:
        return f"<ref_proxy._core.Cell {self.name!r}, {'live' if self.live else 'denied'}>"


@final
class Proxy:
    __slots__ = ("__weakref__", "_cell", "_closed", "name")
    __class_getitem__ = classmethod(GenericAlias)
    __init_subclass__ = _sealed
    __reduce_ex__ = _uncopied

    def __init__(self, cell: Cell, name: str | None = None, /) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"a proxy is made by provider.proxy(), not from a {type(cell).__name__}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a proxy must be a str or None, not {type(name).__name__}")
        self._cell = cell
        self._closed = False
        self.name = name

    def access(self) -> Section:
        section = self.try_access()
        if section._member is None:
            raise Revoked(
                errno.ENODEV,
                f"{_describe(self)} was refused: the resource is revoked; drop this proxy and get one from the next provider",
            )
        return section

    def try_access(self) -> Section:
        if self._closed:
            raise ValueError(f"{_describe(self)} is closed: get another one from the provider")
        cell = self._cell
        section: Section = object.__new__(Section)
        section._proxy = self
        section._member = section._publication = None
        while True:
            publication = cell._current  # [LOAD]
            if publication is None:
                section._member = None
                return section
            # The section knows where it is a member before it is one, so that an exception in between (Ctrl-C) ends it.
            section._member = member = _Member(self)
            section._publication = publication
            publication.members[member] = None  # [JOIN]
            if cell._current is publication:  # [RECHECK]
                return section
            section._publication = None
            cell._leave(publication, member)

    @property
    def revoked(self) -> bool:
        return self._cell._current is None

    def close(self) -> None:
        self._closed = True

    def __repr__(self) -> str:
        state = "closed" if self._closed else "revoked" if self.revoked else "live"
        return f"<ref_proxy.Proxy {'' if self.name is None else repr(self.name) + ' '}of {self._cell.name!r}, {state}>"


def _describe(proxy: Proxy) -> str:
    return f"{'a proxy' if proxy.name is None else 'proxy ' + repr(proxy.name)} of {proxy._cell.name!r}"


@final
class Section:
    __slots__ = ("_member", "_proxy", "_publication")
    __class_getitem__ = classmethod(GenericAlias)
    __init_subclass__ = _sealed
    __reduce_ex__ = _uncopied

    _proxy: Proxy
    _member: _Member | None  # None: the access was refused
    _publication: _Publication | None  # None: refused, or ended

    def __new__(cls) -> NoReturn:
        raise TypeError("cannot create 'ref_proxy.Section' instances")

    @property
    def resource(self) -> Any:
        publication = self._publication
        if publication is not None:
            return publication.resource
        if self._member is None:
            return None
        raise ValueError(f"the section of {_describe(self._proxy)} has ended: the resource may be used only inside it")

    def end(self) -> None:
        self._end()

    def _end(self) -> bool:
        publication, member = self._publication, self._member
        if publication is None or member is None:
            return False
        # Forgotten only after it was left: if Ctrl-C strikes in between, the section is still open, and can be ended.
        left = self._proxy._cell._leave(publication, member)
        self._publication = None
        return left

    def detach(self) -> None:
        if self._member is not None:
            self.resource  # noqa: B018  (raises where the section has ended)
            self._member.detached = True

    def __enter__(self) -> Any:
        return self.resource

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._end()

    def __del__(self) -> None:
        if getattr(self, "_publication", None) is None:
            return
        member = self._member
        if self._end() and member is not None:
            warnings.warn(
                f"the section of {_describe(self._proxy)}, opened by thread {member.thread.ident}, was dropped while open and "
                "has been ended: use it in a `with`, or call end()",
                ResourceWarning,
                source=self,
            )

    def __repr__(self) -> str:
        state = "refused" if self._member is None else "ended" if self._publication is None else "open"
        return f"<ref_proxy.Section of {_describe(self._proxy)}, {state}>"


Proxy.__module__ = Section.__module__ = "ref_proxy"


def after_fork() -> None:
    """In a forked child: end the sections of all the threads that it does not have."""
    global _swapping
    _swapping = RLock()
    here = _here.thread
    for cell in list(_cells):
        current = cell._current
        for publication in [*list(cell._retired.values()), *([] if current is None else [current])]:
            for member in list(publication.members):
                if member.thread is not here:
                    cell._leave(publication, member)
