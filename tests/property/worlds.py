"""A world of providers, proxies, sections and so on, made with one of the packages: a twin, or the naive model.

The same step in different worlds must come to the same. Things go by numbers, so that worlds can be compared.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.property import naive
from tests.support import until

# What can be seen of a thing, besides its repr().
VIEWS = {
    "provider": ["state", "blockers"],
    "proxy": ["name", "revoked"],
    "section": ["resource"],
    "removal": ["done", "resource", "blockers"],
    "device": ["state", "blockers"],
    "domain": ["name"],
    "cookie": ["cookie", "over"],
    "guarded": [],
    "part": [],
}


class Part:
    """What a resource hands out, and what goes on using it: it can be entered."""

    def __init__(self, name: str) -> None:
        self.name = name

    def use(self) -> str:
        return self.name

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None: ...


class Resource(Part):
    def part(self) -> Part:
        return Part(self.name)

    def steps(self) -> Any:
        yield from self.name


class Cookie:
    """A grace period of a domain."""

    def __init__(self, domain: Any) -> None:
        self.domain, self.cookie = domain, domain.start_poll()

    def over(self) -> bool:
        return bool(self.domain.poll(self.cookie))

    def __repr__(self) -> str:
        return f"cookie {self.cookie}"


class World(logging.Handler):
    def __init__(self, package: ModuleType) -> None:
        super().__init__()
        self.package = package
        self.Domain = naive.Domain if package is naive else package.srcu.Domain
        self.log: list[str] = []  # what was called, in its order, and what was logged or warned of
        self.words: list[str] = []  # the messages: between the twins
        self.things: dict[int, tuple[str, Any]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.log.append("logged")
        self.words.append(record.getMessage())

    def __getitem__(self, number: int) -> Any:
        return self.things[number][1]

    # A step, and what it comes to

    def step(self, operation: Callable[[World], Any]) -> Any:
        """What an operation returns or raises: in words that are the same for all worlds."""
        logger = logging.getLogger("ref_proxy")
        logger.addHandler(self)
        propagate, logger.propagate = logger.propagate, False
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                outcome = self.told(operation, self)
                self.settle()
        finally:
            logger.removeHandler(self)
            logger.propagate = propagate
        self.log += [f"warned: {each.category.__name__}" for each in caught]
        self.words += [re.sub(r"thread \d+", "thread N", str(each.message)) for each in caught]
        return outcome

    def settle(self) -> None:
        """Let the threads that were started for a release or a callback come to their end."""
        if self.package is not naive:
            until(lambda: not self.package.waiting._jobs)

    def told(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return self.name_of(call(*args))
        except Exception as error:
            self.words.append(re.sub(r"\d+\.\d+ s", "N s", str(error)))
            return self.kind(error)

    def kind(self, error: Exception) -> Any:
        if isinstance(error, ExceptionGroup):
            return [self.kind(each) for each in error.exceptions]
        late = self.name_of(error.blockers) if hasattr(error, "blockers") else None
        return type(error).__name__, late, hasattr(error, "pending") and error.pending is not None

    def name_of(self, value: Any) -> Any:
        if isinstance(value, Resource):
            return f"resource {value.name}"
        if isinstance(value, list):
            return [(blocker.proxy, blocker.detached, blocker.waiting is not None) for blocker in value]
        return value

    def view(self) -> list[Any]:
        """All that can be seen now."""
        return [(number, *self.look(kind, thing)) for number, (kind, thing) in self.things.items() if kind in VIEWS]

    def look(self, kind: str, thing: Any) -> list[Any]:
        def value(name: str) -> Any:
            value = getattr(thing, name)
            return value() if callable(value) else value

        return [repr(thing), *(self.told(value, name) for name in VIEWS[kind])]

    # The operations that are more than a call

    def make(self, number: int, kind: str, call: Callable[..., Any], *args: Any) -> None:
        self.things[number] = kind, call(*args)

    def drop(self, number: int) -> None:
        _, thing = self.things.pop(number)
        if self.package is naive:
            getattr(thing, "dropped", int)()

    def late(self, number: int, call: Callable[..., Any], *args: Any) -> Any:
        """A call that may run out of time: then there is a removal that is pending."""
        try:
            return call(*args)
        except Exception as error:
            if getattr(error, "pending", None) is not None:
                self.things[number] = "removal", error.pending  # type: ignore[attr-defined]
            raise

    def act(self, what: str, fails: bool) -> None:
        self.log.append(what)
        if fails:
            raise KeyError(what)

    def about(self, number: int, interrupt_fails: bool, release_fails: bool) -> dict[str, Any]:
        """What a provider is made of. Nothing stalls here, and so no alarm clock is to run."""
        return {
            "stall_after": None,
            "name": f"p{number}",
            "interrupt": lambda resource: self.act(f"interrupt {resource.name}", interrupt_fails),
            "release": lambda resource: self.act(f"release {resource.name}", release_fails),
        }

    def end(self) -> None:
        """Leave nothing open, and nobody at work."""
        self.step(lambda world: world.things.clear())
