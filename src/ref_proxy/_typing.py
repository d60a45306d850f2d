"""What the package needs of `typing` when it runs: loading that takes longer than loading all the rest.

A type checker sees `typing` itself here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar, cast, final
else:
    from types import GenericAlias

    Any = object

    class Generic:
        """A class can be given a parameter, which it does not mind: `Provider[int]`."""

        __slots__ = ()

        def __class_getitem__(cls, item):
            return cls if cls is Generic else GenericAlias(cls, item)

    def TypeVar(name):  # noqa: N802
        return name

    def cast(_, value):
        return value

    def final(cls):
        return cls


__all__ = ["Any", "Generic", "TypeVar", "cast", "final"]
