"""The mechanism in Python: the executable specification of `_core.c`, and the fallback where no compiler is.

Read this file first. The words:

    cell          what a provider and its proxies share: the resource that is published at the moment, or none any more
    publication   one resource, from the moment it is published until the last section that holds it has ended
    proxy         a weak handle on a cell: it finds the resource, and never keeps it
    section       one access, from its start to its end; it belongs to the publication that it joined

and the whole algorithm:

    access    load the newest publication [LOAD], join it [JOIN], and look again whether it has been retired [RECHECK]; if so
              leave it and begin anew; where nothing is published any more, refuse
    end       leave the publication [LEAVE]; the last one to leave a retired publication wakes those who wait [WAKE]
    publish   give the newest publication a successor, which is a new one, or none at all [PUBLISH]: with that it is retired. Then
              look whether anybody is still in it [SCAN]

A grace period is the wait until one retired publication is empty. Newer sections join newer publications, so they cannot prolong
it. Whoever is inside can be read off the publication: which proxy, which thread.

There is no lock. An access, an end or a removal may interrupt another one at any instruction, in a signal handler, a finaliser
or a weakref callback, and Ctrl-C may break any of them off: a lock would be held then by somebody who waits for it, or by
nobody. What has to be atomic is one call of a dict's method: [JOIN] and [LEAVE] are an item set and a `pop`, and [PUBLISH] is a
`setdefault`, which lets exactly one successor in. The orderings, each with its partner, and what would go wrong without them:

    [PUBLISH] before [SCAN], against [JOIN] before [RECHECK]: an access that the scan does not see joins after it, and so finds
        the publication retired. Otherwise a section could hold a resource that is being released.
    [LEAVE] before [WAKE], against [PUBLISH] before [SCAN]: of the last section and the remover at least one sees the other's
        step. Otherwise the remover would sleep on, with nobody left to wake it.
    In [SCAN] "retired" is asked before "empty". Asked the other way round, an access could join between the two answers, be
        granted, and be overlooked. (Before [WAKE] the order makes no difference: who is woken looks for himself.)

Without the GIL a dict's own lock makes these calls single steps, and orders them; `docs/algorithm.md` has the argument. Whether a
publication is retired is asked in one way alone, by `"" in next`: a dict's length may change an instant before its item is there.
"""

from __future__ import annotations

import errno
import warnings
from _thread import _local, get_ident
from operator import index
from types import GenericAlias, MethodType
from weakref import WeakSet

from ._typing import final
from .clock import boottime
from .errors import Revoked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, NoReturn, Self

    from _typeshed import ReadableBuffer

__all__ = ["BACKEND", "Cell", "Handle", "Method", "Proxy", "Section", "after_fork", "is_inner", "trace"]

BACKEND = "py"
_C_API = None  # what C code calls is C


class _Thread:
    """One for each thread that ever made an access: unlike a thread's number it is never used again for another thread."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.ident = get_ident()


class _Member:
    """What a publication knows of a section: all but the section itself, which must stay free to be dropped."""

    __slots__ = ("detached", "proxy", "section", "thread")

    def __init__(self, proxy: Proxy, section: int) -> None:
        self.proxy = proxy
        self.section = section  # its id()
        self.thread = _here()
        self.detached = False


_local_here = _local()
_cells: WeakSet[Cell] = WeakSet()
_tracer: Callable[[Proxy, int], object] | None = None


class _Unheard:
    """Gives an exception to `sys.unraisablehook`, as a finaliser does: of one that is not the caller's affair."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


def _here() -> _Thread:
    """What stands for the calling thread.

    On 3.11 the collector may run while `_local` makes this thread's dict: a section that a finaliser leaves open then is taken
    for another thread's.
    """
    try:
        found: _Thread = _local_here.thread
    except AttributeError:  # the first access of this thread; a finaliser in the midst of it may come first
        found = _local_here.__dict__.setdefault("thread", _Thread())
    return found


def _uncopied(self: object, protocol: Any, /) -> NoReturn:
    # A copy would answer for a section, or a removal, that is not its own.
    raise TypeError(f"cannot copy or pickle {self!r}: get another proxy from the provider instead")


def _sealed(cls: type) -> NoReturn:
    raise TypeError(f"type '{cls.__bases__[0].__module__}.{cls.__bases__[0].__name__}' is not an acceptable base type")


class _Publication:
    """One published resource, with the sections that hold it; `number` counts a cell's publications from 1."""

    __slots__ = ("members", "next", "number", "previous", "resource")

    def __init__(self, number: int, resource: Any, previous: _Publication | None) -> None:
        self.number = number
        self.resource = resource
        self.members: dict[_Member, None] = {}
        self.next: dict[str, _Publication | None] = {}  # empty: not retired; else its one item is the successor, or None
        self.previous = previous  # an older one that may still have members

    @property
    def last(self) -> bool:
        """Whether nothing is published after it, ever. To be retired is not enough: it may have got a successor this instant."""
        return self.next.get("", self) is None


class _Lease:
    """A moment up to which accesses are granted. Of [RENEW] and [LAPSE] one `setdefault` alone decides what comes after it."""

    __slots__ = ("next", "until")

    def __init__(self, until: int) -> None:
        self.until = until
        self.next: dict[str, _Lease | None] = {}  # empty: it runs; else its one item: what it was renewed by, or None, for over

    def newest(self) -> _Lease:
        newest = self
        while (following := newest.next.get("")) is not None:
            newest = following
        return newest


@final
class Cell:
    """What a provider and its proxies share.

    `wake()` is called whenever a section is the last one to leave a retired publication, by the thread that ended it: also
    out of a signal handler or a finaliser, so it must not block. It may be called more than once, and is not called for a
    publication that nobody was in. What it raises goes to `sys.unraisablehook`, for it is no affair of the one who ended the
    section; Ctrl-C does go on to that one.
    """

    __slots__ = ("__weakref__", "_gate", "_hint", "_lease", "_name", "_slow", "_traced", "_wake")
    __class_getitem__: classmethod[Any, [Any], GenericAlias] = classmethod(GenericAlias)
    __init_subclass__ = _sealed
    __reduce_ex__ = _uncopied

    _name: str
    _wake: Callable[[], object]
    _slow: bool  # accesses to it have more to ask: it is traced, or has a gate or a lease
    _traced: bool
    _gate: memoryview | None
    _lease: _Lease | None  # the newest one, or one from which it is found
    _hint: _Publication

    def __new__(cls, resource: Any, name: str, wake: Callable[[], object], /) -> Self:
        if not isinstance(name, str):
            raise TypeError(f"the name of a cell must be a str, not {type(name).__name__}")
        self = object.__new__(cls)
        self._name = name
        self._wake = wake
        self._slow = self._traced = _tracer is not None
        self._gate = self._lease = None
        self._hint = _Publication(1, resource, None)  # the newest publication, or one from which it is found
        _cells.add(self)
        return self

    @property
    def name(self) -> str:
        """What messages and reports call it."""
        return self._name

    @property
    def wake(self) -> Callable[[], object]:
        """What is called when a retired publication was left by its last section."""
        return self._wake

    def watch(self, gate: ReadableBuffer, /) -> None:
        """Refuse every access from the moment on at which the first byte of `gate` is not 0: another process may set it.

        To be called once, before the first proxy is made; whoever closes a gate leaves it closed. The cell keeps the buffer as
        long as it lives. A closed gate is an early denial, and no more: it needs no thread of this process to be heard, and takes
        no part in [PUBLISH], [SCAN] and the rest. Open sections go on, and nothing is drained or woken before `deny()`.
        """
        complaint = f"the gate of {self.name!r} must be a buffer of contiguous bytes, not {type(gate).__name__}"
        try:
            view = memoryview(gate)
        except TypeError:
            raise TypeError(complaint) from None
        with view:
            if not view.c_contiguous:
                raise TypeError(complaint)
            if not view.nbytes:
                raise ValueError(f"the gate of {self.name!r} has no byte to look at: it needs one at least")
            if self._gate is not None:
                raise ValueError(f"{self.name!r} watches a gate already: it is given one once, before its first proxy is made")
            self._gate = view.cast("B")
            self._slow = True

    def lease(self, until: int, /) -> bool:
        """Refuse every access from a moment on: `until`, in the nanoseconds of `clock.boottime()`. Called again it is put off.

        False, and nothing done, when an access, or whoever asked whether it is live, has found that the moment had come: then it
        is over for good. A moment that lies before the last one changes nothing. To be called for the first time before the first
        proxy is made. It is an early denial, as a closed gate is, that needs nobody to be alive.
        """
        moment = index(until)
        if not 0 < moment < 1 << 63:
            raise ValueError(
                f"the lease of {self.name!r} must end at a moment of the clock that counts from boot, above 0 and below 2**63, "
                f"not {until!r}"
            )
        fresh = _Lease(moment)
        if self._lease is None:
            self._lease = fresh
            self._slow = True
            return True
        while True:
            self._lease = last = self._lease.newest()
            if last.until >= moment:
                return last.next.get("", last) is not None
            following = last.next.setdefault("", fresh)  # [RENEW]
            if following is fresh or following is None:
                return following is fresh

    @property
    def _barred(self) -> bool:
        """Whether accesses are refused, though nothing was denied (yet).

        Of the gate it is one load, without an order; whoever comes to it after the store is refused.
        """
        return (self._gate is not None and self._gate[0] != 0) or (self._lease is not None and self._lease_is_over())

    def _lease_is_over(self) -> bool:
        """Whoever finds that out first ends it for all [LAPSE]; unless it has been renewed meanwhile."""
        assert self._lease is not None
        while True:
            self._lease = last = self._lease.newest()
            if boottime() < last.until:
                return False
            if last.next.setdefault("", None) is None:  # [LAPSE]
                return True

    def _newest(self) -> _Publication:
        newest = self._hint
        while (following := newest.next.get("")) is not None:
            newest = following
        self._hint = newest  # another thread may set it back: then the next one has to walk
        return newest

    def _undrained(self) -> list[_Publication]:
        """The publications that may have members, newest first. Those that turn out to have none are forgotten on the way."""
        publication = self._newest()
        found = [publication]
        while (older := publication.previous) is not None:
            if older.members:  # [SCAN]; it is retired, for it has a successor
                found.append(older)
                publication = older
            else:
                older.resource = None
                publication.previous = older.previous
        return found

    @property
    def live(self) -> bool:
        """Whether a resource is published, and neither a gate before it closed nor its lease over."""
        return not self._barred and not self._newest().last

    @property
    def number(self) -> int:
        """The number of the publication that is current, or was the last one."""
        return self._newest().number

    def publish(self, resource: Any, /) -> tuple[int, Any] | None:
        """Put `resource` in the place of what is published, and return the number and the resource of what was.

        None, and nothing done, when nothing is published any more, or a gate is closed, or the lease over.
        """
        if self._barred:
            return None
        while True:
            old = self._newest()
            was = old.resource
            fresh = _Publication(old.number + 1, resource, old)
            following = old.next.setdefault("", fresh)  # [PUBLISH]
            if following is fresh:
                return old.number, was
            if following is None:
                return None

    def deny(self) -> Any:
        """Publish nothing any more. Return the final resource, the first time and again, until `clear()`; then None."""
        while True:
            old = self._newest()
            if old.next.setdefault("", None) is None:  # [PUBLISH]
                return old.resource

    def clear(self) -> None:
        """Let go of the final resource."""
        self._newest().resource = None

    def drained(self, first: int, last: int, /) -> bool:
        """Whether the publications `first` to `last` are retired and all their sections have ended."""
        undrained = self._undrained()
        newest = undrained[0]
        if "" not in newest.next and newest.number <= last:
            return False
        return not any(p.members for p in undrained if first <= p.number <= last)  # [SCAN]

    def sections(self, first: int, last: int, own: bool = False, /) -> list[tuple[Proxy, int, bool, bool, int]]:
        """The open sections of the publications `first` to `last`: proxy, thread number, own?, detached?, its `id()`.

        `own`: those alone that this thread opened and has not detached.
        """
        here = _here()
        return [
            (member.proxy, member.thread.ident, member.thread is here, member.detached, member.section)
            for publication in reversed(self._undrained())
            if first <= publication.number <= last
            for member in list(publication.members)
            if not own or (member.thread is here and not member.detached)
        ]

    def _leave(self, publication: _Publication, member: _Member) -> bool:
        try:
            return publication.members.pop(member, self) is None  # [LEAVE]
        finally:  # also when Ctrl-C strikes between the two: nobody else might come by to wake a remover
            if "" in publication.next and not publication.members:
                try:
                    self._wake()  # [WAKE]
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    _Unheard(error)

    def __repr__(self) -> str:
        return f"<ref_proxy._core.Cell {self.name!r}, {'live' if self.live else 'denied'}>"


@final
class Proxy:
    """A weak handle on a provider's resource: share one among all consumers, or give each its own.

    Made by `provider.proxy(name)`. It never keeps the resource alive, nothing of an access lives in it, and it costs a removal
    nothing. Guarantees: S1, S10, S20. Threads: any, and signal handlers. Source: `struct ref_proxy`, without the index in it.

    >>> from ref_proxy import Provider, Revoked
    >>> provider = Provider(["a resource"], name="line")
    >>> proxy = provider.proxy("reader")
    >>> with proxy.access() as resource:
    ...     print(resource)
    ['a resource']
    >>> provider.revoke()
    True
    >>> with proxy.try_access() as resource:
    ...     print(resource)
    None
    """

    __slots__ = ("__weakref__", "_cell", "_closed", "_name")
    __class_getitem__: classmethod[Any, [Any], GenericAlias] = classmethod(GenericAlias)
    __init_subclass__ = _sealed
    __reduce_ex__ = _uncopied

    _cell: Cell
    _closed: bool
    _name: str | None

    def __new__(cls, cell: Cell, name: str | None = None, /) -> Self:
        if not isinstance(cell, Cell):
            raise TypeError(f"a proxy is made by provider.proxy(), not from a {type(cell).__name__}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a proxy must be a str or None, not {type(name).__name__}")
        self = object.__new__(cls)
        self._cell = cell
        self._closed = False
        self._name = name
        return self

    @property
    def name(self) -> str | None:
        """What messages and reports call it; None where it was given no name."""
        return self._name

    def access(self) -> Section:
        """Begin a section and return it: `with proxy.access() as resource:`.

        Guarantees: S1, S2, S5, S12, S13. Blocks: never. Raises: `Revoked` once the resource is gone, `ValueError` if the proxy is
        closed; nothing is held then. Cost: that of a context manager which does nothing. Source: `ref_proxy_get()`.
        """
        section = self.try_access()
        if section._member is None:
            raise Revoked(
                errno.ENODEV,
                f"{_describe(self)} was refused: the resource is revoked; drop this proxy and get one from the next provider",
            )
        return section

    def try_access(self) -> Section:
        """Begin a section and return it; once the resource is gone, a refused one, whose resource is None.

        Guarantees: S1, S2, S5, S12, S13. Blocks: never. Nothing is owed for a refused one. Source: `REF_PROXY_GET()`.
        """
        if self._closed:
            raise ValueError(f"{_describe(self)} is closed: get another one from the provider")
        cell = self._cell
        section: Section = object.__new__(Section)
        section._proxy = self
        section._member = section._publication = None
        tracer = None
        if cell._slow:
            tracer = _tracer if cell._traced else None
            if tracer is not None:
                tracer(self, 0)
            if cell._barred:
                return section
        while True:
            publication = cell._hint  # [LOAD]
            if "" in publication.next:
                publication = cell._newest()
                if publication.last:
                    section._member = None
                    return section
            # The section knows where it is a member before it is one, so that an exception in between (Ctrl-C) ends it.
            section._member = member = _Member(self, id(section))
            section._publication = publication
            publication.members[member] = None  # [JOIN]
            if "" not in publication.next:  # [RECHECK]
                if tracer is not None:
                    try:
                        tracer(self, id(section))
                    except BaseException:
                        section.end()
                        raise
                return section
            section._publication = None
            cell._leave(publication, member)

    @property
    def revoked(self) -> bool:
        """Whether the resource is gone. If not, it may be in a moment: only an access holds it."""
        return not self._cell.live

    def close(self) -> None:
        """Refuse all further accesses through this proxy, with `ValueError`. Its open sections go on. May be called again.

        Guarantees: S18. Blocks: never. Source: `ref_proxy_free()`.
        """
        self._closed = True

    def __repr__(self) -> str:
        state = "closed" if self._closed else "revoked" if self.revoked else "live"
        return f"<ref_proxy.Proxy {'' if self.name is None else repr(self.name) + ' '}of {self._cell.name!r}, {state}>"


def _describe(proxy: Proxy) -> str:
    return f"{'a proxy' if proxy.name is None else 'proxy ' + repr(proxy.name)} of {proxy._cell.name!r}"


@final
class Section:
    """One access, from its start to its end: while it is open the resource is not released.

    Made by `proxy.access()`. It may be ended in another thread than it began in, nest, sleep and cross an `await`. Dropped while
    open it ends, with a `ResourceWarning`. Guarantees: S1, S3, S9, S18. Source: what `srcu_read_lock()` returns, as an object.

    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> section = provider.proxy("reader").access()
    >>> section.resource
    ['a resource']
    >>> section.end()
    >>> section.resource
    Traceback (most recent call last):
    ValueError: the section of proxy 'reader' of 'line' has ended: the resource may be used only inside it
    """

    __slots__ = ("_member", "_proxy", "_publication")
    __class_getitem__: classmethod[Any, [Any], GenericAlias] = classmethod(GenericAlias)
    __init_subclass__ = _sealed
    __reduce_ex__ = _uncopied

    _proxy: Proxy
    _member: _Member | None  # None: the access was refused
    _publication: _Publication | None  # None: refused, or ended

    def __new__(cls) -> Self:
        raise TypeError("cannot create 'ref_proxy.Section' instances")

    @property
    def resource(self) -> Any:
        """The resource; None where the access was refused. Raises `ValueError` after the end."""
        publication, member = self._publication, self._member
        if member is None:
            return None
        if publication is None or member not in publication.members:
            raise ValueError(f"the section of {_describe(self._proxy)} has ended: the resource may be used only inside it")
        return publication.resource

    def end(self) -> None:
        """End the section, in whatever thread. May be called again.

        Guarantees: S1, S3, S12. Blocks: never. Source: `ref_proxy_put()`.
        """
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
        """Say that another thread or task is going to end this section.

        A removal in the thread that began it then waits for it, as for any other, where it would raise `RevokeDeadlock`.
        Guarantees: S8. Blocks: never. Raises: `ValueError` after the end. Source: `srcu_down_read()`.
        """
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
            if self._proxy._cell._traced and _tracer is not None:
                _tracer(self._proxy, -id(self))
            warnings.warn(
                f"the section of {_describe(self._proxy)}, opened by thread {member.thread.ident}, was dropped while open and "
                "has been ended: use it in a `with`, or call end()",
                ResourceWarning,
                source=self,
            )

    def __repr__(self) -> str:
        publication, member = self._publication, self._member
        is_open = publication is not None and member in publication.members
        state = "refused" if member is None else "open" if is_open else "ended"
        return f"<ref_proxy.Section of {_describe(self._proxy)}, {state}>"


Proxy.__module__ = Section.__module__ = "ref_proxy"


def trace(tracer: Callable[[Proxy, int], object] | None, /) -> None:
    """Have `tracer(proxy, token)` called for the accesses to cells made from now on; None: no more.

    The token is 0 before it is decided whether an access is granted: the tracer may revoke, and what it raises the access raises.
    It is `id(section)` once the section has begun, and `-id(section)` when that was dropped while open.
    """
    global _tracer
    _tracer = tracer


def after_fork() -> None:
    """In a forked child: end the sections of all the threads that it does not have."""
    here = _here()
    for cell in list(_cells):
        for publication in cell._undrained():
            for member in list(publication.members):
                if member.thread is not here:  # [PURGE]
                    cell._leave(publication, member)


# ---- Guarded calls: `guarded.py` says what they are for ----

_PLAIN = {type(None), bool, int, float, str, bytes, bytearray, memoryview, list, tuple, dict}
_INNER_NAMES = ("__self__", "__next__", "__enter__", "__await__", "__anext__", "__aenter__", "add_done_callback")


def is_inner(value: object, /) -> bool:
    """Whether a value may go on using the resource it came from: a bound method, iterator, context manager or awaitable."""
    kind = type(value)
    return kind not in _PLAIN and any(name in vars(base) for base in kind.__mro__ for name in _INNER_NAMES)


class Handle:
    """What a guarded object is made of: a proxy, and no more, where it is one of the resource itself.

    One of something that the resource handed out (a cursor, an iterator) has that `inner` thing too, and remembers the
    publication that it came from. All its names are special ones: a resource has none of them.
    """

    __slots__ = (
        "__weakref__",
        "__withs__",
        "_guarded_closed",
        "_guarded_inner",
        "_guarded_number",
        "_guarded_proxy",
        "_guarded_root",
    )
    __reduce_ex__ = _uncopied

    _guarded_proxy: Proxy
    _guarded_root: Handle | None
    _guarded_inner: Any
    _guarded_number: int
    _guarded_closed: bool
    __withs__: dict[Section, Any]  # the sections of the `with`s that are open on it

    def __new__(cls, source: Any, inner: Any = None, section: Section | None = None, /) -> Self:
        self = object.__new__(cls)
        root, number = None, 0
        if inner is not None:
            if section is None or not isinstance(source, Handle):
                raise TypeError("a handle on something inner needs the handle that it came from, and a section")
            root, proxy = source.__root__, source._guarded_proxy
            number = 0 if section._publication is None else section._publication.number
        elif type(source) is Proxy:
            proxy = source
        else:
            raise TypeError(f"a guarded object is made from a Proxy, not from a {type(source).__name__}")
        put = object.__setattr__  # what is assigned to is the resource
        put(self, "_guarded_proxy", proxy)
        put(self, "_guarded_root", root)
        put(self, "_guarded_inner", inner)
        put(self, "_guarded_number", number)
        put(self, "_guarded_closed", False)
        put(self, "__withs__", {})
        return self

    def __begin__(self) -> tuple[Section, Any]:
        """Begin a section, and return it with what the handle is on."""
        if self._guarded_closed:
            raise ValueError(f"a {self._guarded_who()} is closed: get another one with guarded(proxy)")
        section = self._guarded_proxy.access()
        if self._guarded_inner is None:
            return section, section.resource
        publication = section._publication
        if publication is None or publication.number != self._guarded_number:
            section.end()
            raise Revoked(
                errno.ENODEV,
                f"a {self._guarded_who()} was refused: the resource that it came from was replaced; get another one",
            )
        return section, self._guarded_inner

    def __hand_out__(self, section: Section, value: Any, hold: Callable[[Any, Section, Any], Any], /) -> Any:
        """Return what the caller gets for `value`, and end the section, or have `hold(handle, section, value)` take it over."""
        resource = section.resource
        if value is (resource if self._guarded_inner is None else self._guarded_inner):
            value = self
        elif value is resource:
            value = self.__root__
        elif is_inner(value):
            try:
                return hold(self, section, value)
            except BaseException:
                section.end()
                raise
        section.end()
        return value

    @property
    def __root__(self) -> Handle:
        """The handle on the resource itself, that this one came from: it may be this one."""
        return self if self._guarded_root is None else self._guarded_root

    @property
    def __closed__(self) -> bool:
        """Whether all further use is refused."""
        return self._guarded_closed

    def __close__(self) -> None:
        """Refuse all further use of this handle."""
        object.__setattr__(self, "_guarded_closed", True)

    def _guarded_who(self) -> str:
        return f"{type(self).__name__} of {self._guarded_proxy._cell.name!r}"

    def __repr__(self) -> str:
        state = "closed" if self._guarded_closed else "revoked" if self._guarded_proxy.revoked else "live"
        return f"<{self._guarded_who()}, {state}>"


@final
class Method:
    # In the class of a guarded object, in the place of a method of the resource's type: a call of it is a section of its own.
    # It calls what the resource has by that `name`; where that is None, `function` with the resource. Its documentation, and all
    # else that it does not know of itself (its signature, its code), are those of `function`.
    __slots__ = ("__name__", "__wrapped__", "_hold")
    __doc__: str | None = property(lambda self: self.__wrapped__.__doc__)  # type: ignore[assignment]
    __init_subclass__ = _sealed

    __name__: str | None
    __wrapped__: Any
    _hold: Callable[[Any, Section, Any], Any]

    def __new__(cls, name: str | None, function: Any, hold: Callable[[Any, Section, Any], Any], /) -> Self:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a method must be a str or None, not {type(name).__name__}")
        self = object.__new__(cls)
        self.__name__ = name
        self.__wrapped__ = function
        self._hold = hold
        return self

    def __get__(self, handle: Any, owner: Any = None, /) -> Any:
        return self if handle is None else MethodType(self, handle)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if not args or not issubclass(type(args[0]), Handle):
            raise TypeError(f"the guarded method {self.__name__!r} is called on a guarded object")
        handle: Handle = args[0]
        section, target = handle.__begin__()
        try:
            if self.__name__ is None:
                value = self.__wrapped__(target, *args[1:], **kwargs)
            else:
                value = getattr(target, self.__name__)(*args[1:], **kwargs)
        except BaseException:
            section.end()
            raise
        return handle.__hand_out__(section, value, self._hold)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<ref_proxy._core.Method {self.__name__!r}>"
