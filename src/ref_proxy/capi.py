"""The C interface, for extensions in C, Cython or C++: where its header is. `docs/c-interface.md` says how to adopt it."""

from __future__ import annotations

import os
import sys

from ._backend import _C_API, BACKEND

__all__ = ["get_include"]

_known: list[bool] = []  # whether some extension uses it


def get_include() -> str:
    """Return the folder that `ref_proxy.h` is in, for `include_dirs` when an extension is built.

    Whatever twin runs: only when the extension is loaded does it need the C twin.

    >>> import os
    >>> from ref_proxy import get_include
    >>> os.listdir(get_include())
    ['ref_proxy.h']
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")


def table() -> object:
    """The capsule, for the header's `ref_proxy_import()`."""
    if _C_API is None:
        raise ImportError(
            f"this extension needs the C interface of ref_proxy, which its C twin alone has, and what runs is {BACKEND!r}: "
            "install ref_proxy where there is a C compiler, and let REF_PROXY_BACKEND be 'auto' or 'c'"
        )
    if sys.version_info < (3, 14) and not _known:
        import atexit

        from . import _core

        _known.append(True)
        atexit.register(_core._at_exit)
    return _C_API
