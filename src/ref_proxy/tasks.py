"""The tasks of asyncio and trio, as reports see them: which there are, where each stands, which sections it holds.

Nothing is recorded when a section begins. Whoever asks looks into the frames of the coroutines, as the garbage collector does.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from types import BuiltinMethodType, MethodType

from . import stacks
from ._typing import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from traceback import StackSummary
    from types import FrameType
    from typing import Any

__all__ = [
    "asyncio_here",
    "current",
    "everywhere",
    "here",
    "holds",
    "in_loop",
    "is_async",
    "name",
    "run_in",
    "stack",
    "trio_here",
]

_CO_COROUTINE = 0x80  # as in `inspect`
_METHODS = (MethodType, BuiltinMethodType)
_CONTAINERS = (dict, list, tuple, deque)  # no set: a nursery has its children in one, and they hold what they hold
_DEPTH = 8  # from a coroutine's frame to a section in it: through context managers, and through generators that are one


def is_async(function: object) -> bool:
    """Whether calling it makes a coroutine. `inspect` tells that too, but is slow to load."""
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & _CO_COROUTINE)


def trio_here() -> Any:
    """The module, where it is loaded: a task of trio cannot be without it."""
    return getattr(sys.modules.get("trio"), "lowlevel", None)


def asyncio_here() -> Any:
    """The module, where a loop of it runs in this thread. Another thread may be importing it: it lacks the function then."""
    asyncio = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)
    return None if running is None or running() is None else asyncio


def current() -> Any:
    """The task that is running in this thread; None outside any. Loads neither library."""
    lowlevel = trio_here()
    if lowlevel is not None and lowlevel.in_trio_task():
        return lowlevel.current_task()
    asyncio = asyncio_here()
    return None if asyncio is None else asyncio.current_task()


def in_loop() -> bool:
    """Whether an event loop runs in this thread. Every removal asks: so a library that is not there is not looked at further."""
    if "trio" in sys.modules and (lowlevel := trio_here()) is not None and lowlevel.in_trio_run():
        return True
    return "asyncio" in sys.modules and asyncio_here() is not None


def here() -> list[Any]:
    """The tasks of the event loop that is running in this thread; none where none is."""
    lowlevel = trio_here()
    if lowlevel is not None and lowlevel.in_trio_run():
        found = [lowlevel.current_root_task()]
        for task in found:
            found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        return found
    asyncio = asyncio_here()
    return [] if asyncio is None else list(asyncio.all_tasks())


def everywhere() -> list[Any]:
    """All tasks of the process, of whatever thread and loop: one pass over its objects, which needs no help from a loop."""
    kinds = (getattr(sys.modules.get("asyncio"), "Task", ()), getattr(trio_here(), "Task", ()))
    known: dict[int, bool] = {}  # by the id() of a type: there are few types, and trio's is slow to be asked

    def is_task(each: object) -> bool:
        cls = type(each)
        found = known.get(id(cls))
        if found is None:
            found = known[id(cls)] = issubclass(cls, kinds)
        return found

    return [each for each in gc.get_objects() if is_task(each) and _is_made(each)] if any(kinds) else []


def run_in(frames: Iterable[FrameType]) -> bool:
    """Whether a thread with these frames runs an event loop. uvloop's leaves none: where it is loaded, any thread may."""
    return "uvloop" in sys.modules or any(
        frame.f_globals.get("__name__", "").partition(".")[0] in {"asyncio", "trio"} for frame in frames
    )


def _is_made(task: Any) -> bool:
    """Whether its maker has come to the end: that may be another thread.

    The name is asked for first. A task in C gets it last, and 3.11 and 3.12 crash when they are asked for a coroutine that one
    does not have yet.
    """
    try:
        return _name(task) is not None and _coroutine(task) is not None
    except AttributeError:
        return False


def _name(task: Any) -> Any:
    return task.get_name() if hasattr(task, "get_name") else task.name


def _coroutine(task: Any) -> Any:
    return task.get_coro() if hasattr(task, "get_coro") else task.coro


def name(task: Any) -> str:
    """What its owner called it."""
    return str(_name(task))


def _coroutines(task: Any) -> Iterator[Any]:
    """Its coroutine, what that awaits, and so on inwards."""
    inner = _coroutine(task)
    while inner is not None:
        yield inner
        inner = next((getattr(inner, each) for each in ("cr_await", "gi_yieldfrom", "ag_await") if hasattr(inner, each)), None)


def stack(task: Any) -> StackSummary:
    """Where it stands, outermost frame first, as `traceback` has it."""
    with stacks.still:
        frames = [
            frame
            for each in _coroutines(task)
            if (frame := next((getattr(each, f) for f in ("cr_frame", "gi_frame", "ag_frame") if hasattr(each, f)), None))
        ]
    return stacks.extract(frames[::-1])


def holds(task: Any, ids: Collection[int]) -> set[int]:
    """Which of the objects with these `id()`s a suspended task holds: in a `with`, a variable, or a context manager of its own.

    A task that is running right now shows nothing: its frames are in use.
    """
    found: set[int] = set()
    seen: set[int] = set()
    # All holders of a kind in one call: free-threaded CPython stops all threads for each, and only then the frames of a task that
    # runs in another thread are safe to be looked into. What a coroutine awaits is on its stack, and no step further away.
    todo: dict[tuple[int, bool], list[Any]] = {(_DEPTH, False): [_coroutine(task)]}
    while todo:
        depth, managed = kind = max(todo)
        for each in gc.get_referents(*todo.pop(kind)):
            if id(each) in ids:
                found.add(id(each))
                continue
            cls = cast("type[object]", type(each))
            if hasattr(cls, "__withs__"):  # a guarded object, which others may be using too
                withs = each.__withs__.copy().items()
                found |= {id(section) for section, (who, _) in withs if who is task and id(section) in ids}
                continue
            manager = hasattr(cls, "__exit__") or hasattr(cls, "__aexit__")
            suspended = hasattr(cls, "throw") or hasattr(cls, "athrow")  # a coroutine or a generator, or what passes for one
            # Into a container only on the way into one of those: an ExitStack, or what has its section in an attribute.
            inside = (managed and issubclass(cls, _CONTAINERS)) or manager or suspended
            left = depth if suspended else depth - 1
            if left >= 0 and id(each) not in seen and (inside or issubclass(cls, _METHODS)):
                seen.add(id(each))
                todo.setdefault((left, inside), []).append(each)
    return found
