"""What runs under callgrind: each operation in a loop of two lengths. `instructions.py` starts it, and says what it is for.

    python counted.py COUNT OPERATION...

It imports nothing but what it counts: start-up under callgrind is slow.
"""

from __future__ import annotations

import gc
import sys
from itertools import repeat
from typing import TYPE_CHECKING

import _callgrind

from ref_proxy import BACKEND, Provider, guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Operation = tuple[Callable[[Iterable[Any], Any], None], Callable[[int], Iterable[Any]], Any]


def access_end(turns: Iterable[Any], proxy: Any) -> None:
    for _ in turns:
        proxy.access().end()


def with_access(turns: Iterable[Any], proxy: Any) -> None:
    for _ in turns:
        with proxy.access():
            pass


def with_try_access(turns: Iterable[Any], proxy: Any) -> None:
    for _ in turns:
        with proxy.try_access() as _resource:
            pass


def guarded_call(turns: Iterable[Any], resource: Any) -> None:
    for _ in turns:
        resource.isascii()


def refused(turns: Iterable[Any], proxy: Any) -> None:
    for _ in turns:
        proxy.try_access()


def revoke(turns: Iterable[Any], _: Any) -> None:
    for provider in turns:
        provider.revoke()


def times(count: int) -> Iterable[None]:
    return repeat(None, count)


def idle_providers(count: int) -> list[Provider[object]]:
    providers = [Provider(object(), name="line") for _ in range(count)]
    for provider in providers:
        provider.proxy().access().end()
    return providers


def operations(live: Provider[bytearray], gone: Provider[object]) -> dict[str, Operation]:
    """What is run, over what, and on what."""
    proxy, late = live.proxy(), gone.proxy()
    gone.revoke()
    return {
        "proxy.access().end()": (access_end, times, proxy),
        "with proxy.access(): pass": (with_access, times, proxy),
        "with proxy.try_access() as r: pass": (with_try_access, times, proxy),
        "a guarded call of bytearray.isascii()": (guarded_call, times, guarded(proxy)),
        "proxy.try_access(), refused": (refused, times, late),
        "revoke() of an idle provider": (revoke, idle_providers, None),
    }


def main() -> None:
    count, wanted = int(sys.argv[1]), sys.argv[2:]
    assert BACKEND == "c"
    gc.disable()
    live, gone = Provider(bytearray(b"line"), name="line"), Provider(object(), name="gone")
    known = operations(live, gone)
    if not _callgrind.start():
        raise SystemExit("this does not run under callgrind")
    for name in wanted or known:
        run, turns, on = known[name]
        run(turns(200), on)  # the interpreter specialises what it has run, and memory is there that is used again
        for length in (count, 2 * count):
            over = turns(length)
            _callgrind.dump("")  # not zero(): that leaves some of what was counted before to the next dump
            run(over, on)
            _callgrind.dump(f"{length} {name}")


if __name__ == "__main__":
    main()
