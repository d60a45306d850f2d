"""Memory that vanishes: a shared segment, a mapped file, with numpy arrays over it that last for one section.

Python unmaps memory only when nothing exports it any more, but numpy can be talked out of its export
(`np.ndarray(shape, buffer=segment.buf)`), and then touches pages that are gone. So nobody gets the memory itself here. Each
section has an array of bytes of its own, which holds an export, and is not handed out:

    mapping  <--  bytes  <--  the array that is handed out, slices and views of it, and what is derived from those

However a view is derived, it holds a reference to the bytes. So one that outlives its section is seen by the references to the
bytes, and what it reaches stays mapped for as long as it lives.

The array that `with ... as a` binds is still bound after the section, and that is no escape: the array is emptied in place, and
lets go of the bytes. That is safe only where nobody else has to do with that very object: an export of it (`memoryview(a)`, a
tensor) points into it, and another thread may be computing with it. They all hold references to it, as names do. So its
references are counted, and the names that running functions of this thread have for it; more references than names is an escape.
CPython alone counts that exactly. docs/adr/0005 has the choices.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from math import prod
from mmap import mmap
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from .. import report
from ..provider import Provider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from multiprocessing.shared_memory import SharedMemory
    from types import CodeType, FrameType, TracebackType

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from .._backend import Proxy, Section

__all__ = ["BufferEscaped", "array", "close", "provide"]

Memory = TypeVar("Memory", bound="SharedMemory | mmap")


class BufferEscaped(BufferError):
    """Something that reaches the memory has outlived its section: a slice, another view, or somebody else who holds the array.

    The section has ended: removal does not wait for what escaped. The memory stays mapped until the last of that is gone, so
    nothing crashes. Copy what is to be kept (`.copy()`), and let go of the rest (`del`) inside the section.

    >>> from mmap import mmap
    >>> from ref_proxy.adapters import buffers
    >>> provider = buffers.provide(mmap(-1, 4096), name="frame")
    >>> with buffers.array(provider.proxy("reader"), "u1", 4096) as a:
    ...     head = a[:4]
    Traceback (most recent call last):
    ref_proxy.adapters.buffers.BufferEscaped: a view of the array has outlived its section of <ref_proxy.Proxy 'reader' ...
    >>> del head
    >>> provider.revoke()
    True
    """


def provide(memory: Memory, *, name: str | None = None) -> Provider[Memory]:
    """Make a provider of memory: a `SharedMemory`, or an `mmap`. Its release closes it.

    Consumers use `array(proxy, ...)`. Those who take `proxy.access()` get the object itself, and see for themselves that nothing
    of its buffer outlives the section. A segment's name is its owner's: `unlink()` it when nobody is to
    attach any more, before the removal or after.

    Args:
        memory: what is shared. It is the provider's from here on: only the release closes it.
        name: what messages and reports call it; the segment's own name where it is left out.

    Raises: `TypeError` for anything else, `ValueError` for what is closed already.

    >>> from multiprocessing.shared_memory import SharedMemory
    >>> from ref_proxy.adapters import buffers
    >>> segment = SharedMemory(create=True, size=4096)
    >>> provider = buffers.provide(segment, name="frames")
    >>> proxy = provider.proxy("reader")
    >>> with buffers.array(proxy, "S4", ()) as a:
    ...     a[()] = b"ping"
    >>> segment.unlink()
    >>> provider.revoke()
    True
    >>> with buffers.array(proxy, "S4", ()) as a:
    ...     print(a[()])
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'frames' was refused: the resource is revoked; ...
    """
    _mapping(memory, "a provider of memory")
    return Provider(memory, release=close, name=getattr(memory, "name", None) if name is None else name)


def array(
    proxy: Proxy[SharedMemory | mmap], dtype: DTypeLike, shape: int | Iterable[int], *, offset: int = 0
) -> AbstractContextManager[NDArray[Any]]:
    """Hand out a numpy array over the memory, for one section: `with array(proxy, "f8", (480, 640)) as frame:`.

    When the section ends the array is emptied: whatever names are left for it, using it raises `TypeError` or `IndexError`, and
    never touches the memory. Let go inside the section of all that is derived from it, and of all that holds it and is no name:
    lists, attributes, memoryviews. It can be written to where the memory can.

    Guarantees: S1 to S3, S5, S9. Blocks: never. Threads: any; what other threads do with the array has to be over when the
    section ends.

    Args:
        dtype: what numpy takes for one; no objects in it.
        shape: the length, or the lengths.
        offset: where it begins, in bytes; a multiple of the dtype's alignment.

    Raises:
        Revoked: the memory is gone. TypeError, ValueError: it does not fit, or is no memory. No section is open then.
        BufferEscaped: at the end, where something that reaches the memory outlives it. What the body raised goes before, with a
            note: the frames of its traceback may hold views, which is no fault.

    Cost: 10 to 13 microseconds. Whatever outlives the section costs a garbage collection before it is complained about.

    >>> from mmap import mmap
    >>> from ref_proxy.adapters import buffers
    >>> provider = buffers.provide(mmap(-1, 4096), name="frame")
    >>> proxy = provider.proxy("reader")
    >>> with buffers.array(proxy, "f8", (2, 3)) as a:
    ...     a[:] = 7
    ...     print(a.sum())
    42.0
    >>> a
    array([], dtype=[('the section of this array has ended', 'V1')])
    >>> provider.revoke()
    True
    >>> with buffers.array(proxy, "f8", (2, 3)) as a:
    ...     print(a.sum())
    Traceback (most recent call last):
    ref_proxy.Revoked: [Errno 19] proxy 'reader' of 'frame' was refused: the resource is revoked; ...
    """
    return _Array(proxy, dtype, shape, offset)


def close(memory: SharedMemory | mmap) -> None:
    """Close what `provider.replace()` returned: for the caller, what the release does for the last one. May be called again.

    Where something that escaped still reaches it, `memory.close()` alone raises `BufferError`, and stops half-way. This gives the
    memory up: it is unmapped when the last of that is gone, and until then a mapping keeps a descriptor of its own. That is
    reported through `logging`, with whose section it escaped from.

    >>> from mmap import mmap
    >>> from ref_proxy.adapters import buffers
    >>> provider = buffers.provide(mmap(-1, 4096), name="frame")
    >>> buffers.close(provider.replace(mmap(-1, 4096)))
    >>> provider.revoke()
    True
    """
    try:
        memory.close()
    except BufferError:
        _give_up(memory)


def _give_up(memory: SharedMemory | mmap) -> None:
    mapping: mmap = memory if isinstance(memory, mmap) else vars(memory)["_mmap"]
    if mapping is not memory:
        # It stopped half-way. Without its mapping, which those who reach it keep, it closes the rest, now and not in its __del__.
        vars(memory).update(_buf=None, _mmap=None)
        memory.close()
    found = [left for left in list(_left) if left.mapping is mapping]
    for left in found:
        left.given_up = True
    with suppress(BufferError):
        mapping.close()  # the last may have gone before it was told
    if not mapping.closed:
        report.logger().warning(
            "%r stays mapped until what still reaches it is gone; that escaped from %s",
            memory,
            " and ".join(sorted({left.section for left in found})) or "somebody who had the memory itself",
        )


def _mapping(memory: Any, who: object) -> mmap:
    """What it is that exports the memory."""
    mapping: Any = memory
    if not isinstance(memory, mmap):
        from multiprocessing.shared_memory import SharedMemory

        if not isinstance(memory, SharedMemory):
            raise TypeError(f"{who} needs a multiprocessing.shared_memory.SharedMemory or an mmap.mmap, not {memory!r}")
        # No other exporter will do: one that frees its memory in spite of its exports could not be used safely.
        mapping = None if memory.buf is None else memory.buf.obj
    if not isinstance(mapping, mmap) or mapping.closed:
        raise ValueError(f"{who} cannot use {memory!r}: it is closed; only the release of its provider may close it")
    return mapping


class _Left(ref[Any]):
    """The export of a section's bytes that are still in use. When it is gone the mapping, if it was given up, is closed.

    The mapping would go with the last reference to it, but its owner may have kept one.
    """

    __slots__ = ("given_up", "mapping", "section")
    __hash__ = object.__hash__  # not that of the memoryview, which may have none
    __eq__ = object.__eq__

    given_up: bool
    mapping: mmap
    section: str


_left: set[_Left] = set()


def _gone(left: _Left) -> None:
    _left.discard(left)
    if left.given_up:
        with suppress(BufferError):  # it was not the last one
            left.mapping.close()


class _Array:
    """One section, the bytes under it, and the array that is handed out."""

    __slots__ = ("_array", "_bytes", "_dtype", "_mapping", "_offset", "_proxy", "_section", "_shape")

    _bytes: NDArray[np.uint8]
    _mapping: mmap

    def __init__(self, proxy: Proxy[Any], dtype: DTypeLike, shape: int | Iterable[int], offset: int) -> None:
        import numpy as np

        self._proxy = proxy
        self._dtype = np.dtype(dtype)
        self._offset = operator.index(offset)
        self._shape = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
        self._section: Section[Any] | None = None
        self._array: NDArray[Any] | None = None
        if self._dtype.hasobject:
            raise TypeError(f"{proxy!r}: an array of {self._dtype!r} would hold pointers to objects, which memory cannot share")
        if not self._dtype.itemsize:
            raise ValueError(f"{proxy!r}: {self._dtype!r} has no size; give it a length, such as 'S8'")
        if min(self._shape, default=0) < 0:
            raise ValueError(f"{proxy!r}: no length may be negative, as in the shape {self._shape}")
        if self._offset < 0 or self._offset % self._dtype.alignment:
            raise ValueError(
                f"{proxy!r}: the offset of an array of {self._dtype!r} must be a multiple of {self._dtype.alignment}, "
                f"from 0 on, not {self._offset}"
            )

    def __enter__(self) -> NDArray[Any]:
        if self._section is not None:
            raise ValueError(f"a section of {self._proxy!r} is open already in this very object: make one for each `with`")
        section = self._proxy.access()
        try:
            array = self._lend(_mapping(section.resource, self._proxy))
        except BaseException:
            section.end()
            raise
        self._section = section
        return array

    def _lend(self, mapping: mmap) -> NDArray[Any]:
        import numpy as np

        end = self._offset + prod(self._shape) * self._dtype.itemsize
        if end > len(mapping):
            raise ValueError(
                f"{self._proxy!r}: an array of {self._dtype!r} and shape {self._shape} at offset {self._offset} would end "
                f"at {end}, but the memory has {len(mapping)} bytes"
            )
        # frombuffer() holds an export, which an ndarray that is made over a buffer does not.
        data = np.frombuffer(mapping, np.uint8)
        array: NDArray[Any] = np.ndarray(self._shape, self._dtype, buffer=data, offset=self._offset)
        self._mapping, self._bytes, self._array = mapping, data, array
        return array

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        section, self._section = self._section, None
        assert section is not None
        message = ""
        try:
            frame = sys._getframe(1)
            free = self._take_back(frame, error)
            if not free and error is None:
                gc.collect()  # what is garbage has not escaped
                free = self._take_back(frame, error)
            if not free:
                message = self._report()
        finally:
            self._array = None
            del self._bytes, self._mapping
            section.end()
        if error is not None and message:
            error.add_note(f"{message}. It may be this traceback alone that holds it.")
        elif message:
            raise BufferEscaped(message)

    def _take_back(self, frame: FrameType, error: BaseException | None) -> bool:
        """Make what was lent useless. False where something else reaches the memory; then it may be tried again."""
        if self._array is not None:
            if not self._only_names(frame, error):
                return False
            emptied: Any = (1, (0,), _ended(), False, b"")
            self._array.__setstate__(emptied)
            self._array = None
        return sys.getrefcount(self._bytes) == 2  # this object, and the call

    def _report(self) -> str:
        left = _Left(self._bytes.base, _gone)
        left.given_up, left.mapping, left.section = False, self._mapping, f"a section of {self._proxy!r}"
        _left.add(left)
        what = "a view of the array"
        if self._array is not None:
            what = "the array itself, which more than names still holds (a memoryview, a tensor, a list, another thread),"
        return (
            f"{what} has outlived its section of {self._proxy!r}, and keeps the memory mapped: copy what is to be kept "
            "(`.copy()`), and let go of the rest (`del`) inside the section"
        )

    def _only_names(self, frame: FrameType, error: BaseException | None) -> bool:
        """Whether all references to the array are names, in functions that are running here, or that `error` has come out of.

        It may be wrong in one direction: to count no name twice, some are not counted where there are several.
        """
        names = cell = known = 0
        scopes: list[object] = []
        for each, running in _frames(frame, error):
            if self._holders() <= max(names + cell, known):
                return True
            scope, code = each.f_locals, each.f_code
            found = [name for name, value in scope.items() if value is self._array]
            if not code.co_flags & _OPTIMIZED:  # of a module, or a class: a dict, which may serve several frames
                if type(scope) is dict and not any(scope is other for other in scopes):
                    scopes.append(scope)
                    names += len(found)
                continue
            for name in found:
                known = 1
                if name in code.co_cellvars or name in code.co_freevars:
                    cell = 1  # which may be another frame's too
                elif name in code.co_varnames[_arguments(code) if running else 0 :]:
                    names += 1  # an argument may be borrowed from the caller's name, uncounted, since 3.14
            if sys.version_info < (3, 13):
                # It is a copy, which the frame keeps, with all that is in it. Nobody misses that, unless somebody else has it.
                if sys.getrefcount(scope) == 3 and sys.gettrace() is None:
                    for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
                        scope.pop(name, None)
                else:
                    names += len(found)
        return self._holders() <= max(names + cell, known)

    def _holders(self) -> int:
        return sys.getrefcount(self._array) - 2  # this object, and the call


def _frames(frame: FrameType | None, error: BaseException | None) -> Iterator[tuple[FrameType, bool]]:
    """The frames from this one outwards, which are running, and those that `error` has come out of, which are not."""
    running: list[FrameType] = []
    while frame is not None:
        yield frame, True
        running.append(frame)
        frame = frame.f_back
    trace = None if error is None else error.__traceback__
    while trace is not None:
        if trace.tb_frame not in running:
            yield trace.tb_frame, False
        trace = trace.tb_next


def _arguments(code: CodeType) -> int:
    """How many of a function's local variables are its arguments."""
    stars = (code.co_flags & _VARARGS != 0) + (code.co_flags & _VARKEYWORDS != 0)
    return code.co_argcount + code.co_kwonlyargcount + stars


_OPTIMIZED, _VARARGS, _VARKEYWORDS = 1, 4, 8  # as in inspect, which takes long to load


@cache
def _ended() -> np.dtype[Any]:
    """What an emptied array is made of, so that using it fails, and its repr says why."""
    import numpy as np

    return np.dtype([("the section of this array has ended", "V1")])
