"""Picks one of the two twins of the mechanism, and has it hear of forks.

`REF_PROXY_BACKEND` says "c", "py", or "auto" (the C one where it was built).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
choice = os.environ.get("REF_PROXY_BACKEND", "auto")

if choice not in {"auto", "c", "py"}:
    raise ImportError(f"REF_PROXY_BACKEND is {choice!r}: it must be 'c', 'py' or 'auto'")
if TYPE_CHECKING or choice == "c":
    try:
        from ._core import _C_API, BACKEND, Cell, Handle, Method, Proxy, Section, after_fork, is_inner, trace
    except ImportError as error:
        raise ImportError(
            "REF_PROXY_BACKEND=c, but the C twin of ref_proxy cannot be loaded: install it again with a C compiler at hand, "
            "or let REF_PROXY_BACKEND be 'auto'"
        ) from error
elif choice == "py":
    from ._core_py import _C_API, BACKEND, Cell, Handle, Method, Proxy, Section, after_fork, is_inner, trace
else:
    try:
        from ._core import _C_API, BACKEND, Cell, Handle, Method, Proxy, Section, after_fork, is_inner, trace
    except ImportError:
        from ._core_py import _C_API, BACKEND, Cell, Handle, Method, Proxy, Section, after_fork, is_inner, trace

__all__ = ["BACKEND", "_C_API", "Cell", "Handle", "Method", "Proxy", "Section", "after_fork", "is_inner", "trace"]

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
