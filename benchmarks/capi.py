"""What an access and its end cost through the C interface: `python -m benchmarks.capi`.

`pair()` is one figure, to be put beside others in a table; this prints it for a live proxy, and for one whose resource is gone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.limit import load
from ref_proxy import Provider, get_include

if TYPE_CHECKING:
    from ref_proxy import Proxy

__all__ = ["pair"]


def pair(proxy: Proxy[object], count: int = 1_000_000, call: str = "access") -> float:
    """Nanoseconds for one access and its end. `call`: "access", or "try_access", which may be refused.

    ImportError with the Python twin; OSError without a C compiler.
    """
    return getattr(load("_capi", get_include()), call)(proxy, count)


def main() -> None:
    with Provider(["a resource"]) as provider, Provider(["gone"]) as gone:
        gone.revoke()
        for what, proxy, call in (
            ("access and end", provider.proxy(), "access"),
            ("try_access and end", provider.proxy(), "try_access"),
            ("try_access, refused, and end", gone.proxy(), "try_access"),
        ):
            rounds = sorted(pair(proxy, call=call) for _ in range(21))
            print(f"{what:<30} {rounds[10]:6.2f} ns   {rounds[5]:.2f} .. {rounds[15]:.2f}")


if __name__ == "__main__":
    main()
