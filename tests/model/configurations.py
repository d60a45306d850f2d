"""What is explored: scenes of a few threads, each played on several cells, with the GIL and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import programs
from .c_twin import CTwin
from .explore import Configuration, Memory, Thread, Wrong
from .lease import Leased
from .policy import Policy
from .programs import read, replace, revoke
from .python_twin import PythonTwin

CELLS: dict[str, Callable[..., Any]] = {
    "c": CTwin,
    "c-striped": lambda **how: CTwin({"a": 1, "b": 2}, grown=True, **how),
    "c-growing": lambda **how: CTwin({"a": 1, "b": 2}, grows=True, **how),
    "c-spares": lambda **how: CTwin(spares=True, **how),
    "python": PythonTwin,
}
C = ("c",)
STRIPED = ("c", "c-striped", "c-growing")
ALL = (*STRIPED, "python")
BOTH = ("c", "python")
REGIMES = ("gil", "free")
Threads = Mapping[str, Callable[[], Thread]]


class Scene(NamedTuple):
    about: str
    threads: Callable[[Any], Threads]  # of a cell
    cells: tuple[str, ...] = ALL
    too_large: tuple[str, ...] = ()  # as "cell/regime": left out, for what smaller scenes show
    policy: Callable[[Any], Any] | None = None  # what the threads are given, of a cell
    interrupts: Mapping[str, str] = {}
    helpers: tuple[str, ...] = ()


def Interrupting(cell: Any) -> Policy:  # noqa: N802
    return Policy(cell, interrupt=True)


def resumed(provider: Policy, me: str) -> Thread:
    """A revoke() with a timeout; and one without, where that ran out."""
    outcome = yield from provider.revoke(me, timed=True)
    if outcome is None:
        outcome = yield from provider.revoke(me)
    return outcome


SCENES = {
    "read": Scene(
        "a reader against a revoke",
        lambda cell: {"a": lambda: read(cell, "a", "x"), "r": lambda: revoke(cell, "r")},
    ),
    "readers": Scene(
        "two readers against a revoke",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "b": lambda: read(cell, "b", "y"),
            "r": lambda: revoke(cell, "r"),
        },
    ),
    "nested": Scene(
        "a reader inside a section of its own, and another one, against a revoke",
        lambda cell: {
            "a": lambda: programs.read_nested(cell, "a", "x", "z"),
            "b": lambda: read(cell, "b", "y"),
            "r": lambda: revoke(cell, "r"),
        },
    ),
    "handed-over": Scene(
        "a section that another thread ends, against a revoke",
        lambda cell: {
            "a": lambda: programs.read_and_hand_over(cell, "a", "x", ends=False),
            "b": lambda: programs.end_what_is_handed_over(cell, "b", "x"),
            "r": lambda: revoke(cell, "r"),
        },
    ),
    "ended-twice": Scene(
        "a section that two threads end, and one more, against a revoke",
        lambda cell: {
            "a": lambda: programs.read_and_hand_over(cell, "a", "x", ends=True),
            "b": lambda: programs.end_what_is_handed_over(cell, "b", "x"),
            "c": lambda: read(cell, "a", "y"),
            "r": lambda: revoke(cell, "r"),
        },
    ),
    "revokes": Scene(
        "a reader against two concurrent removals",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "r": lambda: revoke(cell, "r"),
            "s": lambda: revoke(cell, "s"),
        },
    ),
    "replaces": Scene(
        "a reader against two concurrent replacements",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "r": lambda: replace(cell, "r"),
            "s": lambda: replace(cell, "s"),
        },
        too_large=("python/free",),
    ),
    "replace-twice": Scene(
        "a reader against a replacement after another",
        lambda cell: {"a": lambda: read(cell, "a", "x"), "r": lambda: programs.replace_twice(cell, "r")},
    ),
    "replace-then-revoke": Scene(
        "a reader against a replacement and then a revoke",
        lambda cell: {"a": lambda: read(cell, "a", "x"), "r": lambda: programs.replace_then_revoke(cell, "r")},
    ),
    "readers-replace-then-revoke": Scene(
        "two readers against a replacement and then a revoke",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "b": lambda: read(cell, "b", "y"),
            "r": lambda: programs.replace_then_revoke(cell, "r"),
        },
        cells=STRIPED,
    ),
    "hint": Scene(
        "a reader against two replacements and then a revoke, while another thread asks for the newest publication",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "r": lambda: programs.replace_twice_then_revoke(cell, "r"),
            "s": cell.newest,
        },
        cells=("python",),
    ),
    "growing": Scene(
        "a reader, and one that reads twice, against a revoke",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "b": lambda: programs.read_twice(cell, "b", "y", "z"),
            "r": lambda: revoke(cell, "r"),
        },
        cells=("c-growing",),
    ),
    "asked-early": Scene(
        "a reader against a revoke, while another thread asks whether the sections have ended",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "r": lambda: revoke(cell, "r"),
            "s": lambda: programs.ask(cell, "s"),
        },
        cells=BOTH,
    ),
    "three-readers": Scene(
        "three readers against a revoke",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "b": lambda: read(cell, "b", "y"),
            "c": lambda: read(cell, "a", "z"),
            "r": lambda: revoke(cell, "r"),
        },
        cells=("c", "c-growing"),
    ),
    "memory": Scene(
        "two readers whose sections use the same memory, against a revoke",
        lambda cell: {
            "a": lambda: programs.read_twice(cell, "a", "x", "z"),
            "b": lambda: read(cell, "b", "y"),
            "r": lambda: revoke(cell, "r"),
        },
        cells=("c-spares",),
    ),
    "replace-and-revoke": Scene(
        "a reader against a replacement and a concurrent revoke",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "r": lambda: replace(cell, "r"),
            "s": lambda: revoke(cell, "s"),
        },
    ),
    "newer": Scene(
        "a replacement, while a newer section stays until it has returned",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "b": lambda: programs.linger(cell, "b", "y", "replaced"),
            "r": lambda: replace(cell, "r"),
        },
    ),
    "timeout": Scene(
        "two readers against a revoke that may run out of time, and is carried on",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "b": lambda: read(cell, "b", "y"),
            "r": lambda: revoke(cell, "r", timed=True),
        },
    ),
    "fork": Scene(
        "a fork, while others read and revoke; the child revokes",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "r": lambda: revoke(cell, "r"),
            "fork": lambda: programs.fork_and_revoke(cell, "fork", "y"),
        },
        cells=BOTH,
    ),
    "handler": Scene(
        "a reader, interrupted by a handler that reads, against a revoke that is interrupted by one that reads",
        lambda cell: {
            "a": lambda: read(cell, "a", "x"),
            "h": lambda: read(cell, "a", "y"),
            "r": lambda: revoke(cell, "r"),
            "i": lambda: read(cell, "r", "z"),
        },
        cells=BOTH,
        interrupts={"h": "a", "i": "r"},
    ),
    "lease": Scene(
        "one who accesses twice, and another one, while a lease runs out, against its renewal",
        lambda it: {"a": it.access_twice, "b": it.access, "n": it.renew, "clock": it.time},
        cells=BOTH,
        policy=Leased,
    ),
    "policy-revokes": Scene(
        "a reader against two revokes of a provider",
        lambda it: {"a": lambda: read(it.cell, "a", "x"), "r": lambda: it.revoke("r"), "s": lambda: it.revoke("s")},
        cells=BOTH,
        policy=Policy,
        too_large=("python/free",),
    ),
    "policy-interrupt": Scene(
        "a reader against two revokes of a provider with an interrupt",
        lambda it: {"a": lambda: read(it.cell, "a", "x"), "r": lambda: it.revoke("r"), "s": lambda: it.revoke("s")},
        cells=C,
        policy=Interrupting,
    ),
    "policy-timeout": Scene(
        "a reader against a revoke() that may run out of time, and is carried on, and another one",
        lambda it: {"a": lambda: read(it.cell, "a", "x"), "r": lambda: resumed(it, "r"), "s": lambda: it.revoke("s")},
        cells=C,
        policy=Policy,
    ),
    "policy-soon": Scene(
        "a reader against a revoke_soon(), finished by threads that it starts",
        lambda it: {
            "a": lambda: read(it.cell, "a", "x"),
            "r": lambda: it.revoke_soon("r"),
            "t": lambda: it.help("t"),
            "u": lambda: it.help("u"),
        },
        cells=BOTH,
        policy=Policy,
        helpers=("t", "u"),
    ),
    "policy-soon-and-revoke": Scene(
        "a reader against a revoke_soon(), finished by a thread that it starts, and a revoke()",
        lambda it: {
            "a": lambda: read(it.cell, "a", "x"),
            "r": lambda: it.revoke_soon("r"),
            "s": lambda: it.revoke("s"),
            "t": lambda: it.help("t"),
        },
        cells=C,
        policy=Policy,
        helpers=("t",),
        too_large=("c/free",),
    ),
    "policy-replace": Scene(
        "a reader against a replace() and a revoke()",
        lambda it: {"a": lambda: read(it.cell, "a", "x"), "r": lambda: it.replace("r"), "s": lambda: it.revoke("s")},
        cells=C,
        policy=Policy,
    ),
    "policy-handler": Scene(
        "a reader, interrupted by a handler that calls revoke_soon(), finished by a thread that it starts",
        lambda it: {
            "a": lambda: read(it.cell, "a", "x"),
            "h": lambda: it.revoke_soon("a"),
            "t": lambda: it.help("t"),
        },
        cells=BOTH,
        policy=Policy,
        interrupts={"h": "a"},
        helpers=("t",),
    ),
    "policy-fork": Scene(
        "a fork, while others read and revoke a provider; the child revokes it",
        lambda it: {
            "a": lambda: read(it.cell, "a", "x"),
            "r": lambda: it.revoke("r"),
            "fork": lambda: it.fork_and_revoke("fork", "y"),
        },
        cells=C,
        policy=Interrupting,
    ),
}


def configuration(name: str, fault: str = "") -> Configuration:
    """The one of that name, as it is, or with one fault."""
    scene_name, cell_name, regime = name.split("/")
    scene = SCENES[scene_name]
    cell = CELLS[cell_name](fault=fault)
    whole = cell if scene.policy is None else scene.policy(cell)

    def at_end(m: Memory, results: Mapping[str, Any]) -> None:
        whole.at_end(m)
        done = [outcome for outcome in results.values() if outcome is True]
        if scene.policy is not None and len(done) > 1:
            raise Wrong(f"one revoke() returns True: but {len(done)} did")

    return Configuration(
        name,
        scene.about,
        scene.threads(whole),
        {**whole.memory(), "handed over": False, "published": False, "replaced": False},
        gil=regime == "gil",
        interrupts=scene.interrupts,
        helpers=scene.helpers,
        at_end=at_end,
    )


def names() -> list[str]:
    return [
        f"{name}/{cell}/{regime}"
        for name, scene in SCENES.items()
        for cell in scene.cells
        for regime in REGIMES
        if f"{cell}/{regime}" not in scene.too_large
    ]
