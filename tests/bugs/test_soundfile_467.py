"""python-soundfile 467: two threads close one file, its C handle is freed twice, and the process is killed.

https://github.com/bastibe/python-soundfile/issues/467

`SoundFile.close()` looks whether it is closed, flushes, hands the handle to `sf_close()`, and only then forgets it. Both threads
look before either forgets; the comment of September 2025 shows that, with the GIL, as "pointer being freed was not allocated".

Here the handle is a block of the C library's memory. In `scene()` an access stands where the method looks, and a revoke where it
frees: each thread calls it, and the release runs once.
"""

from __future__ import annotations

import ctypes
import platform
import threading

import pytest

from ref_proxy import Provider, Revoked
from tests import PATIENCE
from tests.support import Call

from .museum import Bare, note, run

SIZE = 1 << 16  # too much for the allocator's thread caches, which would take in anything twice
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


def scene(own):
    handle, neighbour = libc.malloc(SIZE), libc.malloc(SIZE)
    frees = []

    def free(handle):
        frees.append(handle)
        libc.free(handle)

    owner = own(handle, release=free)
    proxy = owner.proxy()
    all_have_looked = threading.Barrier(4)

    def close():
        try:
            with proxy.access() as handle:
                ctypes.memset(handle, 0, SIZE)  # what it flushes
                note("done")
                all_have_looked.wait(PATIENCE)
            owner.revoke()
            with proxy.access():
                note("still-granted")
        except Revoked:
            note("refused")

    for call in [Call(close) for _ in range(all_have_looked.parties)]:
        call.result()
    note("done" if len(frees) == 1 else "freed-twice")
    libc.free(neighbour)


@pytest.mark.once
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator may not notice")
def test_without_it_the_process_is_killed():
    ending = run(scene, Bare)
    assert ending.how == "SIGABRT", ending.changed
    assert "double free" in ending.stderr, ending.changed


def test_with_it_the_handle_is_freed_once():
    run(scene, Provider).assert_good()
