# ruff: noqa: N802 - what makes a step is called like the step
"""Every schedule of a few threads: the explorer.

A thread is a generator that yields one `Step` for each thing that it does to memory, and is sent what came of it. It has no other
effect and learns of nothing else, so *what it will do is a function of what it was sent*. That makes threads cheap to explore:

    a thread   is an automaton, found out as it is explored. A node is where its frames stand, with their locals; an edge is a
               value sent. To take an edge for the first time, a fresh generator is sent all that led there; never again after.
    a state    is a few small numbers: which memory, and of each thread which node and which store buffer.
    a search   goes breadth first over the states, each one once. So the first failure is reached by a shortest schedule.

Two regimes. *With the GIL* a thread that has begun goes on until it stands before a step that is `safe`: there Python code may
run, and so another thread. *Without it* any thread may take the next step, and memory is that of total store order (x86): a
store goes to the end of the thread's own buffer, from which the oldest store reaches memory at any later time, as a step of its
own; a load looks into the own buffer first; an atomic read-modify-write waits until the own buffer is empty.

A thread can be given that *interrupts* another one: a signal handler or a finaliser. It begins where that one stands before a
safe step, if at all, and that one stands still until it has ended. They share one store buffer.

What a program must keep to, so that a node says all: a value that is sent goes into a local variable, a condition or the next
step; a `for` that yields runs over distinct items, so that its variable tells where it stands; locals are hashable, and equal
when they mean the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Mapping
from typing import Any, NamedTuple

Memory = dict[Any, Any]  # what a step gets, to look at and to change
Thread = Generator["Step", Any, Any]

# What the act of a step may return: that it cannot be taken now; or that any of several values may come of it.
BLOCKED = object()


class Either(tuple[Any, ...]):
    __slots__ = ()


class Wrong(Exception):
    """A property does not hold: which, and what happened."""


class Step(NamedTuple):
    """One atomic step."""

    what: str  # "[TAG] in words"
    kind: str
    act: Callable[..., Any]  # gets the memory and `args`; changes it, and returns what the thread is sent
    args: tuple[Any, ...] = ()
    safe: bool = False  # Python code may run just before it: another thread's with the GIL, a handler's, a fork


def here(step: Step) -> Step:
    """The same step, with a point just before it at which Python code may run."""
    return step._replace(safe=True)


def Load(name: Hashable, what: str = "") -> Step:
    return Step(what or f"look at {show(name)}", "load", _load, (name, False))


def Once(name: Hashable, what: str = "") -> Step:
    """A load of what is set once. When it has been set it makes no difference when one looks: it is part of the step before."""
    return Step(what or f"look at {show(name)}", "load", _load, (name, True))


def Store(name: Hashable, value: Hashable, what: str = "") -> Step:
    return Step(what or f"set {show(name)} to {show(value)}", "store", dict.__setitem__, (name, value))


def Atomic(what: str, act: Callable[..., Any], *args: Hashable) -> Step:
    """A read-modify-write, and a full fence."""
    return Step(what, "atomic", act, args)


def Guarded(what: str, act: Callable[..., Any], *args: Hashable) -> Step:
    """Any changes of what nobody else can look at now: it is guarded by a lock that is held, or not published yet.

    One step, however much it does, and past the store buffer: whoever looks at it later has taken the lock, and so has seen
    everything that was stored before the lock was given back. What only the properties know of is changed in the same way.
    """
    return Step(what, "guarded", act, args)


def Private(act: Callable[..., Any], *args: Hashable) -> Step:
    """What makes no difference to other threads where it happens, or is for the properties alone: part of the step before it."""
    return Step("", "private", act, args)


def Lock(name: Hashable, reads: Hashable = None, what: str = "") -> Step:
    """Take a lock with an atomic exchange, when it is free. A value that it guards may be read in the same step."""
    return Step(what or f"lock {show(name)}", "atomic", _lock, (name, reads))


def Unlock(name: Hashable) -> Step:
    """Give a lock back with a plain store, as `_core.c` does."""
    return Store(("lock", name), False, f"unlock {show(name)}")


def Point(what: str = "") -> Step:
    """Nothing but a point at which Python code may run."""
    return Step(what, "point", _nothing, (), safe=True)


def Await(name: Hashable, what: str = "") -> Step:
    """Wait, not in the code that is explored but in its surroundings, until something is true."""
    return Step(what or f"waits for {show(name)}", "atomic", _await, (name,), safe=True)


def Fork(act: Callable[..., Any], *args: Hashable) -> Step:
    """Go on as the child: all other threads are gone. `act` tells the properties so."""
    return Step("[FORK] goes on as the forked child", "fork", act, args, safe=True)


def _load(m: Memory, name: Hashable, once: bool) -> Any:
    return m[name]


def _lock(m: Memory, name: Hashable, reads: Hashable) -> Any:
    if m.get(("lock", name)):
        return BLOCKED
    m["lock", name] = True
    return m[reads] if reads is not None else None


def _await(m: Memory, name: Hashable) -> Any:
    return m.get(name) or BLOCKED


def _nothing(m: Memory) -> None: ...


def show(value: Any) -> str:
    """A name or a value, in words."""
    if isinstance(value, tuple):
        return " ".join(map(show, value)) or "nothing"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(show, value))) + "}"
    return str(value)


class Configuration(NamedTuple):
    """What is explored: some threads, the memory that they begin with, and what must hold when all of them have ended."""

    name: str
    about: str
    threads: Mapping[str, Callable[[], Thread]]
    memory: Mapping[Any, Any]
    gil: bool = False
    interrupts: Mapping[str, str] = {}  # which thread each of these interrupts
    helpers: tuple[str, ...] = ()  # threads that need not begin
    at_end: Callable[[Memory, Mapping[str, Any]], None] = lambda memory, results: None


class Failure(NamedTuple):
    property: str
    schedule: tuple[tuple[str, str], ...]  # thread, step


class Outcome(NamedTuple):
    states: int
    steps: int
    failure: Failure | None


_START, _GONE = 0, -1  # nodes: where a thread begins; and nowhere, for one that a fork has left behind


class _Automaton:
    """One thread: its nodes, and what each of them is about to do."""

    def __init__(self, program: Callable[[], Thread], points: bool) -> None:
        self.program = program
        self.points = points  # whether a bare point makes a difference; if not, it is no step
        self.pending: list[Step | None] = []  # by node; None: the thread has ended
        self.result: list[Any] = []
        self.history: list[tuple[Any, ...]] = []
        self.nodes: dict[Any, int] = {}
        self.edges: dict[tuple[int, Any], int] = {}
        self._add(program(), ())

    def follow(self, node: int, value: Any) -> int:
        found = self.edges.get((node, value))
        if found is None:
            history = (*self.history[node], value)
            thread = self.program()
            for sent in (None, *history[:-1]):
                thread.send(sent)
            found = self.edges[node, value] = self._add(thread, history)
        return found

    def _add(self, thread: Thread, history: tuple[Any, ...]) -> int:
        step, result = None, None
        try:
            step = thread.send(history[-1] if history else None)
            while step.kind == "point" and not self.points:
                history = (*history, None)
                step = thread.send(None)
        except StopIteration as end:
            step, result = None, end.value
        key = ("end", result) if step is None else (step, *_place(thread))
        node = self.nodes.setdefault(key, len(self.pending))
        if node == len(self.pending):
            self.pending.append(step)
            self.result.append(result)
            self.history.append(history)
        return node


def _place(thread: Any) -> tuple[Any, ...]:
    """Where a generator stands, with those that it waits for in a `yield from`."""
    place: list[Any] = []
    while thread is not None:
        frame = thread.gi_frame
        place += [frame.f_code, frame.f_lasti, *frame.f_locals.items()]
        thread = thread.gi_yieldfrom
    return tuple(place)


class _Interned:
    """Equal things get one small number each."""

    def __init__(self) -> None:
        self.things: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, thing: Any, key: Any = None) -> int:
        number = self._numbers.setdefault(thing if key is None else key, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


def explore(configuration: Configuration, limit: int | None = None) -> Outcome:
    """Take every schedule, and report a shortest one that fails, if any does."""
    return _Search(configuration).run(limit)


class _Search:
    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.gil = configuration.gil
        self.names = list(configuration.threads)
        forks = any("fork" in name for name in self.names)
        points = self.gil or forks or bool(configuration.interrupts)
        self.threads = [_Automaton(program, points) for program in configuration.threads.values()]
        self.count = len(self.threads)
        # By thread: the one that it interrupts, or itself; the two have one store buffer.
        self.base = [self.names.index(configuration.interrupts.get(name, name)) for name in self.names]
        self.may_stay = {self.names.index(name) for name in (*configuration.interrupts, *configuration.helpers)}
        self.memories, self.buffers = _Interned(), _Interned()
        self.acted: dict[Any, Any] = {}

    # A state: memory, who runs (with the GIL; -1: nobody is in the middle of something), nodes, buffers.

    def run(self, limit: int | None) -> Outcome:
        empty = self.buffers.number(())
        first = (self._memory(dict(self.configuration.memory)), -1, *[_START] * self.count, *[empty] * self.count)
        came: dict[Any, Any] = {first: None}
        queue = deque([first])
        steps = 0
        while queue:
            state = queue.popleft()
            stuck = True
            for label, following in self._following(state):
                stuck = False
                steps += 1
                if isinstance(following, str):
                    return Outcome(len(came), steps, Failure(following, (*self._path(came, state), label)))
                if following not in came:
                    came[following] = (state, label)
                    queue.append(following)
            if stuck and (wrong := self._at_end(state)):
                return Outcome(len(came), steps, Failure(wrong, self._path(came, state)))
            if limit is not None and len(came) > limit:
                raise AssertionError(f"{self.configuration.name}: more than {limit} states")
        return Outcome(len(came), steps, None)

    def _path(self, came: dict[Any, Any], state: Any) -> tuple[tuple[str, str], ...]:
        path = []
        while came[state] is not None:
            state, label = came[state]
            path.append(label)
        return tuple(reversed(path))

    def _following(self, state: tuple[int, ...]) -> Any:
        memory, running = state[0], state[1]
        nodes, buffers = state[2 : 2 + self.count], state[2 + self.count :]
        for i in range(self.count):
            base = self.base[i]
            if buffers[base] and i == base:
                yield self._flush(state, i)
            if running not in (-1, i) or nodes[i] == _GONE or not self._may_step(nodes, i):
                continue
            step = self.threads[i].pending[nodes[i]]
            if step is None:
                continue
            if step.kind == "fork" and (any(buffers) or not self._all_safe(nodes)):
                continue
            if not self.gil:
                if step.kind == "atomic" and buffers[base]:
                    continue
                if step.kind == "store":
                    after = list(state)
                    after[2 + self.count + base] = self.buffers.number((*self.buffers.things[buffers[base]], step))
                    yield (self.names[i], step.what), self._moved(after, i, nodes[i], None)
                    continue
            for changed, value in self._act(memory, step, buffers[base]):
                label = (self.names[i], step.what)
                if changed is None:
                    yield label, value
                    continue
                after = list(state)
                after[0] = changed
                if step.kind == "fork":
                    for other in range(self.count):
                        if self.base[other] != base:
                            after[2 + other] = _GONE
                yield label, self._moved(after, i, nodes[i], value)

    def _may_step(self, nodes: tuple[int, ...], i: int) -> bool:
        for j in range(self.count):
            if j != i and self.base[j] == i and nodes[j] != _START and self.threads[j].pending[nodes[j]] is not None:
                return False  # interrupted by j, which has not ended
        base = self.base[i]
        if base != i and nodes[i] == _START:
            step = self.threads[base].pending[nodes[base]]
            return step is not None and step.safe
        return True

    def _all_safe(self, nodes: tuple[int, ...]) -> bool:
        pending = [thread.pending[node] for thread, node in zip(self.threads, nodes, strict=True)]
        return all(step is None or step.safe for step in pending)

    def _moved(self, after: list[int], i: int, node: int, value: Any) -> tuple[int, ...] | str:
        """The state after a step that sent `value` to thread i; or which property does not hold."""
        thread = self.threads[i]
        step = thread.pending[node := thread.follow(node, value)]
        while step is not None and self._makes_no_step(after[0], step):
            [(changed, value)] = self._act(after[0], step, 0)
            if changed is None:
                return str(value)
            after[0] = changed
            step = thread.pending[node := thread.follow(node, value)]
        after[2 + i] = node
        if self.gil:
            after[1] = -1 if step is None or step.safe else i
        return tuple(after)

    def _makes_no_step(self, memory: int, step: Step) -> bool:
        if step.kind == "load":
            name, once = step.args
            return once and bool(self.memories.things[memory][name])
        return step.kind == "private"

    def _flush(self, state: tuple[int, ...], i: int) -> Any:
        at = 2 + self.count + i
        oldest, *rest = self.buffers.things[state[at]]
        after = list(state)
        [(after[0], _)] = self._act(state[0], oldest, 0)
        after[at] = self.buffers.number(tuple(rest))
        return (self.names[i], f"(its store reaches memory: {oldest.what})"), tuple(after)

    def _act(self, memory: int, step: Step, buffer: int) -> Any:
        """The memories and values that may come of it; a memory of None is a property that does not hold."""
        if step.kind == "load" and buffer:
            for store in reversed(self.buffers.things[buffer]):
                if store.args[0] == step.args[0]:
                    return [(memory, store.args[1])]
        key = (memory, step.act, step.args)
        found = self.acted.get(key)
        if found is None:
            changed = dict(self.memories.things[memory])
            try:
                value = step.act(changed, *step.args)
            except Wrong as wrong:
                found = [(None, str(wrong))]
            else:
                values = () if value is BLOCKED else value if isinstance(value, Either) else (value,)
                found = [(self._memory(changed), value) for value in values]
            self.acted[key] = found
        return found

    def _memory(self, memory: Memory) -> int:
        return self.memories.number(memory, frozenset(memory.items()))

    def _at_end(self, state: tuple[int, ...]) -> str | None:
        """What is wrong with a state from which nobody can step."""
        nodes = state[2 : 2 + self.count]
        results, stuck = {}, []
        for i, (thread, node) in enumerate(zip(self.threads, nodes, strict=True)):
            if node == _GONE or (node == _START and i in self.may_stay):
                continue
            step = thread.pending[node]
            if step is None:
                results[self.names[i]] = thread.result[node]
            else:
                stuck.append(f"{self.names[i]} {step.what}")
        if stuck:
            return "a waiter wakes: but for good " + ", and ".join(stuck)
        try:
            self.configuration.at_end(dict(self.memories.things[state[0]]), results)
        except Wrong as wrong:
            return str(wrong)
        return None
