"""Guarded objects: each looks like the resource, and every use of it is a section of its own.

`guarded(proxy)` makes one, of a class that is made for the resource's type: where the type has a method, the class has a `Method`
of the twins, which opens a section, calls the resource's method, and ends the section. That is where the time goes. What is
policy is here: whether a result may go on using the resource after the call has returned, and who ends the section then; what
`with`, `close()` and attributes come to. `docs/guarded.md` tells users.
"""

from __future__ import annotations

from _thread import get_ident
from operator import attrgetter
from sys import get_asyncgen_hooks, set_asyncgen_hooks
from types import (
    AsyncGeneratorType,
    ClassMethodDescriptorType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    ModuleType,
    NoneType,
    coroutine,
)
from weakref import WeakValueDictionary

from . import tasks
from ._backend import Handle, Method, Proxy, Section, is_inner
from ._typing import Any, TypeVar, cast
from .errors import Revoked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import NoReturn

__all__ = ["guarded"]

T = TypeVar("T")


def guarded(proxy: Proxy[T]) -> T:
    """Make an object that looks like the resource: every method call, attribute access, item and step on it is a section.

    Code that was written for the resource itself runs unchanged on it, and is refused with `Revoked` once the resource is gone.
    A `with` on it is one section from its beginning to its end; so is what a coroutine method or a generator does. `close()`
    gives up this handle, and never closes the resource. It keeps the proxy, and not the resource.

    Guarantees: S1, S2, S5, S9, S10, S13, S16, S18. Blocks: never. Threads: any; one may be shared.
    Raises: `Revoked` where the resource is gone already; `TypeError` for what is no proxy, `ValueError` for a closed one.
    Cost: a method call costs less than `with proxy.access()` around it; free-threaded, up to 1.4 times that. Source: none; the
    kernel's users call `ref_proxy_get()` in each of their operations by hand.

    Args:
        proxy: what `provider.proxy()` returned. It may serve for other uses too.

    >>> from io import StringIO
    >>> from ref_proxy import Provider, guarded
    >>> provider = Provider(StringIO("ping"), release=StringIO.close, name="line")
    >>> line = guarded(provider.proxy("reader"))
    >>> line, isinstance(line, StringIO), line.read()
    (<guarded StringIO of 'line', live>, True, 'ping')
    >>> provider.revoke()
    True
    >>> line.read()
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'line' was refused: the resource is revoked; ...
    >>> line.close()
    >>> line.read()
    Traceback (most recent call last):
    ValueError: a guarded StringIO of 'line' is closed: get another one with guarded(proxy)
    """
    if not isinstance(proxy, Proxy):
        raise TypeError(f"guarded() takes a Proxy, as provider.proxy() makes it, not a {type(proxy).__name__}")
    with proxy.access() as resource:
        kind = type(resource)
    return cast(T, _class_for(kind, _Guarded)(proxy))


# ---- What goes on after the call ----


def _type(value: object) -> Any:
    return cast(Any, type(value))  # whose special methods no checker knows


class _Hold:
    """A section that lasts as long as what a method has begun. The first step enters it, the last one leaves it."""

    __slots__ = ("_handle", "_ident", "_inner", "_section")

    def __init__(self, handle: Handle, section: Section[Any], inner: Any) -> None:
        self._handle = handle
        self._section: Section[Any] | None = section
        self._inner: Any = inner
        self._ident = get_ident()

    def __enter__(self) -> Any:
        if self._ident != get_ident():
            assert self._section is not None
            self._section.detach()  # a removal in the thread that made the call can wait for it
        return self._inner

    def __exit__(self, *_: object) -> None:
        if self._section is not None:
            self._section.end()

    end = __exit__

    def hand_out(self, value: Any) -> Any:
        """Return what the caller gets in the end. It may be one more thing that goes on: then that has the section."""
        section, self._section = self._section, None
        assert section is not None
        return self._handle.__hand_out__(section, value, _hold)

    def __del__(self) -> None:
        # Dropped before the first step: nothing was begun. Python itself warns of a coroutine that nobody awaited: once.
        if _type(self._inner) is CoroutineType:
            self._inner.close()
        self.end()


async def _run_coroutine(hold: _Hold) -> Any:
    with hold as inner:
        return hold.hand_out(await inner)


@coroutine  # `yield from` does for generators that are awaited, and for all others
def _run_awaited_generator(hold: _Hold) -> Generator[Any, Any, Any]:
    with hold as inner:
        return hold.hand_out((yield from inner))


def _run_generator(hold: _Hold) -> Generator[Any, Any, Any]:
    with hold as inner:
        return cast(Any, (yield from inner))


async def _run_async_generator(hold: _Hold) -> AsyncGenerator[Any, Any]:
    with hold as inner:
        hooks = get_asyncgen_hooks()
        set_asyncgen_hooks(None, None)  # else a loop that ends would close it at the same time as this one, which closes it too
        try:
            step = inner.asend(None)
        finally:
            set_asyncgen_hooks(*hooks)
        while True:
            try:
                item = await step
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                await inner.aclose()
                raise
            except BaseException as error:
                step = inner.athrow(error)
            else:
                step = inner.asend(sent)


_RUN: dict[type, Callable[[_Hold], Any]] = {
    CoroutineType: _run_coroutine,
    GeneratorType: _run_generator,
    AsyncGeneratorType: _run_async_generator,
}


def _hold(handle: Handle, section: Section[Any], value: Any) -> Any:
    """Take over the section of a call that returned `value`, which may go on using the resource; return what the caller gets."""
    kind = _type(value)
    run = _RUN.get(kind)
    if run is not None:
        if kind is GeneratorType and value.gi_code.co_flags & _CO_ITERABLE_COROUTINE:
            run = _run_awaited_generator
        held: Any = run(_Hold(handle, section, value))
        held.__name__, held.__qualname__ = value.__name__, value.__qualname__
        return held
    if hasattr(kind, "add_done_callback"):
        if not hasattr(kind, "__await__"):
            section.detach()  # a thread works on it, not a task of this one
        value.add_done_callback(_Hold(handle, section, None).end)
        return value
    return _guard(handle, section, value)


def _guard(handle: Handle, section: Section[Any], value: Any) -> Any:
    """As `_hold()`, for what was read and not called: a task or generator that is kept there is none that this has begun."""
    kind = _type(value)
    try:
        bare = hasattr(kind, "add_done_callback") or _is_free(value)
        return value if bare else _class_for(kind, _Inner)(handle, value, section)
    finally:
        section.end()


def _is_free(value: Any) -> bool:
    """Whether it is guarded already, or a function that is bound to no more than a class or a module."""
    kind = _type(value)
    return issubclass(kind, Handle) or (hasattr(kind, "__self__") and isinstance(value.__self__, (type, ModuleType, NoneType)))


# ---- `with`: a section from its beginning to its end ----


def _here() -> Any:
    """Who is running: a task, or else the thread."""
    return tasks.current() or get_ident()


def _left(self: Handle) -> tuple[Section[Any], Any]:
    """The section of the `with` that is being left, and what that is on: the newest one that was entered by who is leaving."""
    here = _here()
    newest_first = list(self.__withs__.copy().items())[::-1]
    # One that another task or thread has entered comes last: as where the collector closes a generator in its `with`.
    for section, (_, target) in sorted(newest_first, key=lambda item: item[1][0] != here):
        if self.__withs__.pop(section, None) is not None:
            return section, target
    return self.__begin__()  # called by hand, with no `with`


def _entered(self: Handle, section: Section[Any], target: Any, value: Any) -> Any:
    """Keep the section until the `with` is left, and return what the caller gets."""
    self.__withs__[section] = (_here(), target)
    if value is target:
        return self
    if value is section.resource:
        return self.__root__
    return _class_for(_type(value), _Inner)(self, value, section) if is_inner(value) and not _is_free(value) else value


def _not_entered(self: Handle, section: Section[Any]) -> None:
    self.__withs__.pop(section, None)
    section.end()


def _enter(self: Handle) -> Any:
    section, target = self.__begin__()
    try:
        return _entered(self, section, target, _type(target).__enter__(target))
    except BaseException:
        _not_entered(self, section)
        raise


async def _aenter(self: Handle) -> Any:
    section, target = self.__begin__()
    try:
        return _entered(self, section, target, await _type(target).__aenter__(target))
    except BaseException:
        _not_entered(self, section)
        raise


def _exit(self: Handle, *error: Any) -> Any:
    try:
        section, target = _left(self)
    except KeyboardInterrupt:  # meanwhile: nobody else would end the section
        _exit(self, *error)
        raise
    try:
        return _type(target).__exit__(target, *error)
    finally:
        section.end()


async def _aexit(self: Handle, *error: Any) -> Any:
    section, target = _left(self)
    try:
        return await _type(target).__aexit__(target, *error)
    finally:
        section.end()


def _give_up(self: Handle, *_: Any) -> None:
    try:
        _left(self)[0].end()
    except KeyboardInterrupt:  # as above
        _give_up(self)
        raise
    if not self.__withs__:
        self.__close__()


async def _agive_up(self: Handle, *_: Any) -> None:
    _give_up(self)


def _await(self: Handle) -> Generator[Any, Any, Any]:
    section, target = self.__begin__()
    with (hold := _Hold(self, section, None)):
        return hold.hand_out((yield from _type(target).__await__(target)))


# ---- `close()` gives up the handle, and not the resource, which is its provider's ----


def _close(self: Handle) -> None:
    """Give up this handle: all further use of it raises `ValueError`. The resource is its provider's, and stays open."""
    self.__close__()


async def _aclose(self: Handle) -> None:
    """Give up this handle: all further use of it raises `ValueError`. The resource is its provider's, and stays open."""
    self.__close__()


def _wait_closed(function: Any) -> Any:
    """What follows on `close()`: there is nothing to wait for then."""
    wait: Any = Method("wait_closed", function, _hold)

    async def wait_closed(self: Handle) -> Any:
        return None if self.__closed__ else await wait(self)

    return wait_closed


def _close_inner(name: str, function: Any) -> Any:
    """What came from the resource is the caller's own: it is closed, or has gone with the resource."""
    close: Any = Method(name, function, _hold)

    def close_or_gone(self: Handle, *args: Any, **kwargs: Any) -> Any:
        try:
            return close(self, *args, **kwargs)
        except Revoked:
            return _nothing() if tasks.is_async(function) else None

    return close_or_gone


async def _nothing() -> None:
    pass


def _closed(self: Handle) -> Any:
    """Whether this handle was given up, or the resource is closed. That it is gone is for its use to say."""
    try:
        return self.__closed__ or _get_closed(self)
    except Revoked:
        return False  # `io` crashes where it is raised here; its next step raises it


_get_closed: Any = Method(None, attrgetter("closed"), _hold)


# ---- The classes ----


class _Guarded(Handle):
    """What is guarded is the resource itself."""

    __slots__ = ()
    __setattr__ = Method(None, setattr, _hold)
    __delattr__ = Method(None, delattr, _hold)

    def __dir__(self) -> Any:
        try:
            section, target = self.__begin__()
        except (Revoked, ValueError):
            return dir(self.__class__)
        with section:
            return dir(target)

    def __copy__(self, *_: object) -> NoReturn:
        self.__reduce_ex__(0)

    __deepcopy__ = __copy__


class _Inner(_Guarded):
    """What is guarded came from the resource: a cursor, an iterator, a transaction, a bound method."""

    __slots__ = ()


# What an object has of its own, and what would let go of the resource for longer than a call.
# fmt: off
_OURS = {
    "__new__", "__init__", "__del__", "__class__", "__dict__", "__weakref__", "__slots__", "__doc__", "__module__",
    "__repr__", "__dir__", "__sizeof__", "__getattribute__", "__getattr__", "__setattr__", "__delattr__", "__copy__",
    "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__",
    "__init_subclass__", "__subclasshook__", "__class_getitem__", "__set_name__", "__get__", "__set__", "__delete__",
    "__buffer__", "__release_buffer__", "__annotate__", "__annotate_func__",
}
# fmt: on
# Types in C of which leaving a `with` closes the object.
_CLOSED_BY_WITH = {"_io._IOBase", "mmap.mmap", "select.epoll", "select.kqueue", "sqlite3.Blob", "builtins.memoryview"}
# What cannot be called itself, but is a method.
_METHODS = {"functools.partialmethod", "functools.singledispatchmethod"}
_CO_ITERABLE_COROUTINE = 0x100  # as in `inspect`, which is slow to import

_classes: WeakValueDictionary[tuple[type, type], type] = WeakValueDictionary()


def _class_for(kind: type, base: type[_Guarded]) -> Any:
    made = _classes.get((kind, base))
    if made is None:
        made = _classes[kind, base] = _class_of(kind, base)
    return made


def _class_of(kind: type, base: type[_Guarded]) -> type:
    """Make the class of what guards a `kind`."""
    names: dict[str, Any] = {}
    for cls in reversed(kind.__mro__[:-1]):  # without `object`
        names.update(vars(cls))
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__doc__": kind.__doc__,
        "__module__": "ref_proxy",
        "__class__": property(lambda self: kind),
    }
    # Before 3.12 a call of a method is slower by half where there is a `__getattr__`, and later where it is not always the same
    # class that comes by: where all attributes are those of the type, there is none.
    if (
        base is _Inner
        or kind.__dictoffset__
        or any(type(names.get(n)) is FunctionType for n in ("__getattr__", "__getattribute__"))
    ):
        namespace["__getattr__"] = Method(None, getattr, _guard)
    for name, value in names.items():
        if name in _OURS:
            continue
        if _is_method(value):
            namespace[name] = Method(name, value, _hold)
        elif name.startswith("__"):
            if value is None:
                namespace[name] = None  # as in `__hash__ = None`
        elif "__getattr__" not in namespace:
            namespace[name] = property(Method(None, attrgetter(name), _guard))
    namespace |= _policies(kind, base, names)
    return type(f"guarded {kind.__name__}", (base,), namespace)


def _policies(kind: type, base: type[_Guarded], names: dict[str, Any]) -> dict[str, Any]:
    """What it has in the place of some of the type's methods."""
    found: dict[str, Any] = {
        "__enter__": _enter,
        "__exit__": _exit,
        "__aenter__": _aenter,
        "__aexit__": _aexit,
        "__await__": _await,
    }
    if base is _Inner:
        closing = ("close", "aclose", "wait_closed")
        found |= {name: _close_inner(name, names[name]) for name in closing if _is_method(names.get(name))}
        return {name: policy for name, policy in found.items() if names.get(name) is not None}
    if _closes(kind, names.get("__exit__")):
        found["__exit__"] = _give_up
    if _closes(kind, names.get("__aexit__")):
        found["__aexit__"] = _agive_up
    found |= {"aclose": _aclose, "closed": property(_closed)}
    if tasks.is_async(names.get("wait_closed")):
        found["wait_closed"] = _wait_closed(names["wait_closed"])
    found = {name: policy for name, policy in found.items() if names.get(name) is not None}
    if "close" not in names or _is_method(names["close"]):
        found["close"] = _aclose if tasks.is_async(names.get("close")) else _close
    return found


def _is_method(value: Any) -> bool:
    """Whether it is called with the object: a class or static method is not."""
    if _name(_type(value)) in _METHODS:
        return True
    return (
        callable(value) and hasattr(type(value), "__get__") and not isinstance(value, (staticmethod, ClassMethodDescriptorType))
    )


def _closes(kind: type, function: Any) -> bool:
    """Whether an `__exit__` closes the object: it is known of some types in C, and is read in the code of one in Python."""
    named = getattr(getattr(function, "__code__", None), "co_names", ())
    return not {"close", "aclose"}.isdisjoint(named) or not _CLOSED_BY_WITH.isdisjoint(map(_name, kind.__mro__))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
