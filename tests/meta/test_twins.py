"""The twins are alike: both are loaded here, put through the same scenes, and must tell the same story."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import threading
import warnings
import weakref
from types import ModuleType
from typing import Any

import pytest

from ref_proxy import _core_py

try:
    from ref_proxy import _core
except ImportError:
    pytest.skip("the C twin was not built", allow_module_level=True)

CLASSES = ["Cell", "Proxy", "Section"]
GUARDED = ["Handle", "Method"]
# What Python gives to a class in Python, and C's finaliser has no name.
PYTHONS_OWN = {"__annotations__", "__dict__", "__init__", "__module__", "__new__", "__slots__", "__static_attributes__"}
PYTHONS_OWN |= {"__firstlineno__", "__annotate_func__", "__annotations_cache__", "__final__", "__del__", "__init_subclass__"}
PYTHONS_OWN |= {"__weakref__", "__doc__", "__sizeof__", "__weaklistoffset__", "__vectorcalloffset__"}
PYTHONS_OWN |= {"__getattr__", "__getattribute__"}  # a Method has either, for the same
PYTHONS_OWN |= {"__call__"}  # how `with` enters and leaves a section in C, up to 3.13


def names(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_") or name.startswith("__")} - PYTHONS_OWN


def pairs() -> list[Any]:
    """Each class that users meet, and each of its public members, from both twins."""
    found = []
    for cls in ("Proxy", "Section"):
        c, py = getattr(_core, cls), getattr(_core_py, cls)
        found.append(pytest.param(c, py, id=cls))
        for name in sorted(names(c) & names(py)):
            if not name.startswith("_"):
                found.append(pytest.param(inspect.getattr_static(c, name), inspect.getattr_static(py, name), id=f"{cls}.{name}"))
    return found


def test_they_have_the_same_names() -> None:
    assert {name for name in vars(_core) if not name.startswith("_")} == set(_core_py.__all__)
    for cls in CLASSES + GUARDED:
        c, py = getattr(_core, cls), getattr(_core_py, cls)
        assert names(c) == names(py)
        assert (c.__name__, c.__qualname__) == (py.__name__, py.__qualname__)
        assert c.__module__.replace("_core", "_core_py") == py.__module__
    assert (_core.BACKEND, _core_py.BACKEND) == ("c", "py")


def signature(function: Any) -> list[Any]:
    """The parameters after `self`, which is no keyword in C."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values() if p.name != "self"]


@pytest.mark.parametrize(("c", "py"), pairs())
def test_they_have_the_same_signatures(c: Any, py: Any) -> None:
    assert callable(c) == callable(py)
    if callable(c) and c is not _core.Section:  # nobody can make one
        assert signature(c) == signature(py)


@pytest.mark.parametrize(("c", "py"), pairs())
def test_they_are_documented_alike(c: Any, py: Any) -> None:
    assert inspect.cleandoc(c.__doc__ or "") == inspect.cleandoc(py.__doc__ or "")


# The scenes. Each returns what a user could see of it.


def told(call: Any, *args: Any, **kwargs: Any) -> Any:
    """What a call came to: its value, or its exception with the message."""
    try:
        value = call(*args, **kwargs)
    except Exception as error:
        message = str(error).replace("_core_py", "_core")  # Cell is known by its module
        return type(error).__name__, type(error).__module__, message, getattr(error, "errno", None)
    return value if isinstance(value, str | int | bool | tuple | list | None) else repr(value)


def kind(call: Any, *args: Any) -> str:
    """Which exception a call raises, where its message is Python's own."""
    value = told(call, *args)
    return value[0] if isinstance(value, tuple) else "none"


def made(twin: ModuleType, resource: object = "resource", proxy: str | None = "reader") -> tuple[Any, Any, list[str]]:
    woken: list[str] = []
    cell = twin.Cell(resource, "line", lambda: woken.append("woken"))
    return cell, twin.Proxy(cell, proxy), woken


def a_life(twin: ModuleType) -> Any:
    cell, proxy, woken = made(twin)
    seen: list[Any] = [repr(cell), repr(proxy), proxy.name, cell.name, cell.live, cell.number, proxy.revoked]
    section = proxy.access()
    seen += [repr(section), section.resource, cell.drained(0, 0), cell.drained(0, 1), cell.drained(1, 1)]
    seen += [told(cell.publish, "second"), cell.number, cell.drained(1, 1), cell.drained(2, 2), section.resource]
    newer = proxy.try_access()
    seen += [newer.resource, newer.__enter__(), cell.deny(), cell.deny(), cell.live, cell.number, proxy.revoked, repr(cell)]
    seen += [newer.__exit__(None, None, None), list(woken), cell.drained(2, 2), cell.drained(0, 2), repr(newer), repr(proxy)]
    seen += [
        section.end(),
        section.end(),
        list(woken),
        cell.drained(0, 2),
        told(cell.publish, "third"),
        cell.clear(),
        cell.deny(),
    ]
    return seen


def a_refusal(twin: ModuleType) -> Any:
    cell, proxy, woken = made(twin)
    nameless_cell = twin.Cell("resource", "line 2", print)
    nameless = twin.Proxy(nameless_cell)
    seen: list[Any] = [repr(nameless), nameless.name]
    cell.deny()
    nameless_cell.deny()
    section = proxy.try_access()
    seen += [told(proxy.access), told(nameless.access), repr(section), section.resource, section.detach(), section.end()]
    seen += [section.__enter__(), section.__exit__(None, None, None), section.resource, repr(section), woken]
    return seen


def an_ended_section(twin: ModuleType) -> Any:
    _, proxy, _ = made(twin)
    section = proxy.access()
    section.end()
    return [told(lambda: section.resource), told(section.detach), told(section.__enter__), repr(section), section.end()]


def a_closed_proxy(twin: ModuleType) -> Any:
    cell, proxy, _ = made(twin)
    section = proxy.access()
    seen = [
        proxy.close(),
        proxy.close(),
        repr(proxy),
        proxy.revoked,
        told(proxy.access),
        told(proxy.try_access),
        section.resource,
    ]
    cell.deny()
    return [*seen, repr(proxy), proxy.revoked, told(proxy.access), repr(section), section.end()]


def who_is_inside(twin: ModuleType) -> Any:
    cell, proxy, _ = made(twin)
    other = twin.Proxy(cell)
    sections = [proxy.access(), other.access()]
    sections[1].detach()

    def record() -> list[Any]:
        return [
            (
                {id(proxy): "proxy", id(other): "other"}[id(p)],
                ident == threading.get_ident(),
                mine,
                detached,
                [id(section) for section in sections].index(token),
            )
            for p, ident, mine, detached, token in cell.sections(0, cell.number)
        ]

    seen: list[Any] = [record(), cell.sections(2, 5)]
    elsewhere: list[Any] = []
    thread = threading.Thread(target=lambda: (sections.append(proxy.access()), elsewhere.append(record())))
    thread.start()
    thread.join()
    seen += [elsewhere, record()]
    cell.publish("second")
    sections.append(proxy.access())
    seen += [len(cell.sections(1, 1)), len(cell.sections(2, 2)), len(cell.sections(0, 9)), len(cell.sections(0, 0))]
    seen += [len(cell.sections(0, 9, True)), len(cell.sections(0, 1, True)), len(cell.sections(0, 9, False))]
    for section in sections:
        section.end()
    return [*seen, record()]


def a_traced_cell(twin: ModuleType) -> Any:
    proxy = made(twin)[1]
    told_of: list[Any] = []

    def tracer(proxy: Any, token: int) -> None:
        told_of.append((proxy, token))

    twin.trace(tracer)
    traced, traced_proxy, _ = made(twin)
    twin.trace(None)
    traced_proxy.access().end()
    twin.trace(tracer)
    section = traced_proxy.access()
    dropped = traced_proxy.try_access()
    tokens = {0: "asked", id(section): "began", id(dropped): "another began", -id(dropped): "dropped"}
    proxy.access().end()
    section.end()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del dropped
        gc.collect()
    traced.deny()
    traced_proxy.try_access()
    seen = [told(traced_proxy.access), [(each is traced_proxy, tokens[token]) for each, token in told_of]]
    traced_proxy.close()
    seen += [told(traced_proxy.access), len(told_of)]
    twin.trace(None)
    return seen


def a_tracer_that_revokes(twin: ModuleType) -> Any:
    twin.trace(lambda proxy, token: proxy._cell.deny() if token == 0 else None)
    cell, proxy, woken = made(twin)
    seen = [told(proxy.access), proxy.try_access().resource, cell.live, cell.drained(0, 1), woken]
    twin.trace(None)
    return seen


def a_tracer_that_fails(twin: ModuleType) -> Any:
    """Before the access is decided, and after: nothing is held, and nothing was dropped."""
    seen: list[Any] = []
    for failing in ((lambda token: token == 0), (lambda token: token > 0)):
        twin.trace(lambda _, token, failing=failing: 1 // 0 if failing(token) else None)
        cell, proxy, _ = made(twin)
        guarded = type("guarded", (twin.Handle,), {"length": twin.Method(None, len, print)})(proxy)
        for access in (proxy.access, proxy.try_access, guarded.length):
            try:
                access()
            except ZeroDivisionError:
                seen.append(cell.sections(0, 1))  # while the exception still has its frames
    twin.trace(None)
    return seen


def a_dropped_section(twin: ModuleType) -> Any:
    cell, proxy, woken = made(twin)
    section = proxy.access()
    cell.deny()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del section
        gc.collect()
    return [(w.category, str(w.message)) for w in caught], woken, cell.drained(0, 1)


def wrong_arguments(twin: ModuleType) -> Any:
    cell, proxy, _ = made(twin)
    section = proxy.access()
    section.end()
    return [
        told(twin.Cell, "resource", 1, print),
        told(twin.Proxy, "no cell"),
        told(twin.Proxy, cell, 1),
        told(twin.Proxy, cell, None),
        told(twin.Section),
        *[told(type, "Mine", (getattr(twin, cls),), {}) for cls in CLASSES],
        *[kind(setattr, proxy, name, 1) for name in ("name", "revoked", "anything")],
        *[kind(setattr, cell, name, 1) for name in ("name", "live", "number", "anything")],
        *[kind(setattr, section, name, 1) for name in ("resource", "anything")],
        *[kind(type(section).__exit__, section, *arguments) for arguments in ((), (None,), (None,) * 4)],
    ]


def copies(twin: ModuleType) -> Any:
    cell, proxy, _ = made(twin)
    section = proxy.access()
    tried = [told(how, what) for how in (copy.copy, copy.deepcopy, pickle.dumps) for what in (cell, proxy, section)]
    section.end()
    return tried


def a_gate(twin: ModuleType) -> Any:
    cell, proxy, woken = made(twin)
    page = bytearray(2)
    seen: list[Any] = [
        told(cell.watch, None),
        told(cell.watch, [1]),
        told(cell.watch, b""),
        told(cell.watch, memoryview(page)[::-1]),
    ]
    seen += [told(cell.watch, page), told(cell.watch, page), cell.live, kind(cell.watch)]
    section = proxy.access()
    page[0] = 2
    seen += [told(proxy.access), proxy.try_access().resource, section.resource, proxy.revoked, cell.live, repr(proxy), repr(cell)]
    seen += [told(cell.publish, "second"), cell.number, cell.drained(0, 1), len(cell.sections(0, 1)), woken]
    return [*seen, cell.deny(), section.end(), cell.drained(0, 1), woken]


def a_lease(twin: ModuleType) -> Any:
    cell, proxy, woken = made(twin)
    seen: list[Any] = [told(cell.lease, moment) for moment in (None, "1", 1.0, 0, -1, 1 << 63)]
    seen += [kind(cell.lease), cell.lease(1 << 62), cell.lease(7), cell.live, told(proxy.access().end), cell.lease((1 << 63) - 1)]
    cell, proxy, woken = made(twin)
    seen += [cell.lease(7), cell.lease(9), told(proxy.access), cell.lease(1 << 62), cell.lease(7), proxy.try_access().resource]
    seen += [proxy.revoked, cell.live, repr(proxy), repr(cell), told(cell.publish, "second"), cell.number, woken]
    return [*seen, cell.drained(0, 1), cell.deny(), cell.drained(0, 1), cell.lease(1 << 62), woken]


def generics(twin: ModuleType) -> Any:
    return [repr(getattr(twin, cls)[int]).replace("_core_py", "_core") for cls in CLASSES]


def what_can_be_referred_to_weakly(twin: ModuleType) -> Any:
    _, proxy, _ = made(twin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        section = proxy.access()
        seen = [type(told(weakref.ref, each)) for each in (proxy, section)]
        section.end()
    return seen


def a_fork(twin: ModuleType) -> Any:
    """In the forking thread, as the child sees it: the other thread's section is ended, the own one is not."""
    cell, proxy, woken = made(twin)
    mine, theirs = proxy.access(), []
    thread = threading.Thread(target=lambda: theirs.append(proxy.access()))
    thread.start()
    thread.join()
    cell.publish("second")
    twin.after_fork()
    seen = [repr(mine), repr(theirs[0]), len(cell.sections(0, 9)), list(woken)]
    return [*seen, theirs[0].end(), mine.end(), woken, cell.drained(0, 1)]


def guarded_calls(twin: ModuleType) -> Any:
    cell, proxy, woken = made(twin, ["resource"])
    held: list[Any] = []

    def hold(handle: Any, section: Any, value: Any) -> Any:
        section.end()
        held.append(value)
        return "held"

    def method(name: str | None, function: Any) -> Any:
        return twin.Method(name, function, hold)

    space = {"append": method("append", list.append), "me": method(None, lambda it: it), "steps": method(None, iter)}
    space["__slots__"] = ()
    guarded = type("guarded list", (twin.Handle,), space)
    handle = guarded(proxy)
    seen: list[Any] = [repr(handle), handle.append("more"), handle.me() is handle, handle.steps(), len(held), handle.__withs__]
    section, target = handle.__begin__()
    inner = guarded(handle, ["inner"], section)
    seen += [target, inner.me() is inner, inner.append("x"), inner.__root__ is handle, handle.__closed__]
    seen += [handle.__hand_out__(section, 5, hold), repr(section), told(guarded, handle)]
    seen += [
        told(guarded, "no proxy"),
        told(guarded, handle, 1),
        kind(method, 1, len),
        told(guarded.append, 1),
        kind(guarded.append),
    ]
    seen += [guarded.append.__name__, guarded.append.__wrapped__ is list.append, repr(guarded.append), guarded.append.__doc__]
    seen += [guarded.append.__qualname__, repr(handle.append).replace("_core_py", "_core"), len(cell.sections(0, 9))]
    cell.publish(["new"])
    seen += [told(inner.me), handle.append("more")]
    cell.deny()
    seen += [told(handle.append, "x"), repr(handle), told(copy.copy, handle)]
    handle.__close__()
    seen += [told(handle.append, "x"), repr(handle), handle.__closed__, woken]
    return seen


def what_goes_on(twin: ModuleType) -> Any:
    lock = threading.Lock()
    values = [
        None,
        1,
        "x",
        [],
        (),
        {},
        memoryview(b""),
        object(),
        int,
        len,
        [].append,
        [].__len__,
        iter([]),
        lock,
        (i for i in []),
    ]
    return [twin.is_inner(value) for value in values]


SCENES = [guarded_calls, what_goes_on]
SCENES += [a_life, a_refusal, an_ended_section, a_closed_proxy, who_is_inside, a_dropped_section, wrong_arguments, copies]
SCENES += [
    a_traced_cell,
    a_tracer_that_revokes,
    a_tracer_that_fails,
    a_gate,
    a_lease,
    generics,
    what_can_be_referred_to_weakly,
    a_fork,
]


@pytest.mark.parametrize("scene", SCENES)
def test_they_tell_the_same_story(scene: Any) -> None:
    assert scene(_core) == scene(_core_py)
