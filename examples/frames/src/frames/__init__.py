"""A pool of processes that read a segment of shared memory, which their parent replaces, and unlinks, under them."""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING

from ref_proxy import remote

if TYPE_CHECKING:
    from multiprocessing.pool import Pool

    from ref_proxy import Proxy

SIZE = 1 << 16

handle: remote.Handle[SharedMemory]  # of a process of the pool; who drops it lets go
proxy: Proxy[SharedMemory]


def filled(value: int) -> SharedMemory:
    """A new segment, complete before anybody hears of it."""
    segment = SharedMemory(create=True, size=SIZE)
    segment.buf[:SIZE] = bytes([value]) * SIZE
    return segment


def discard(segment: SharedMemory) -> None:
    """Called with a segment that no process uses any more."""
    segment.close()
    segment.unlink()


def announce(address: str, segment: SharedMemory) -> remote.Shared[SharedMemory]:
    return remote.announce(address, segment, release=discard, info={"segment": segment.name})


def replace(shared: remote.Shared[SharedMemory], segment: SharedMemory) -> None:
    old, _ = shared.replace(segment, info={"segment": segment.name})
    discard(old)


def pool(address: str, processes: int) -> Pool:
    """The address travels, the handle does not: each process attaches for itself."""
    return get_context("spawn").Pool(processes, _attach, [address])


def _attach(address: str) -> None:
    global handle, proxy
    handle = remote.attach(address, open=lambda info: SharedMemory(info["segment"]), release=SharedMemory.close)
    proxy = handle.proxy("job")


def values(_: int) -> set[int]:
    """A job: all bytes that the segment has. The copy is what leaves the section."""
    with proxy.access() as segment:
        return set(bytes(segment.buf[:SIZE]))
