"""py-lmdb 180: a database is closed and opened anew under those who read it, and the process is killed.

https://github.com/jnwatson/py-lmdb/issues/180

One thread calls `env.close()` and `env = lmdb.open(...)`, over and over; two others look things up in `env`. One that was inside
when it was closed goes on in memory that is no longer mapped. Closing before opening, or after, makes no difference: what is
missing is the time in between, in which the last reader of the old one leaves, while the next ones already read the new one.

Here a database is a block of memory, with its version in the middle, and large enough for the C library to map it for itself.
"""

from __future__ import annotations

import ctypes
import threading

import pytest

from ref_proxy import Provider, Revoked
from tests import PATIENCE
from tests.support import Call, is_waiting, until

from .museum import Bare, note, run

SIZE = 1 << 26  # twice what it may take from a heap instead
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]


def open_database(version):
    block = libc.malloc(SIZE)
    ctypes.memset(block + SIZE // 2, version, 1)
    return block


def look_up(block):
    return ctypes.string_at(block + SIZE // 2, 1)[0]


def scene(own):
    owner = own(open_database(1), release=libc.free)
    proxy = owner.proxy()
    midway = threading.Event()

    def reopen():
        assert midway.wait(PATIENCE)
        libc.free(owner.replace(open_database(2)))

    def read():
        with proxy.access() as database:
            note("done" if look_up(database) == 1 else "wrong")
            midway.set()
            until(lambda: reopening.returned or is_waiting(reopening.ident))
            with proxy.access() as newest:
                note("done" if look_up(newest) == 2 else "wrong")
            note("done" if look_up(database) == 1 else "wrong")

    reopening = Call(reopen)
    Call(read).result()
    reopening.result()
    owner.revoke()
    try:
        with proxy.access():
            note("still-granted")
    except Revoked:
        note("refused")


@pytest.mark.once
def test_without_it_the_process_is_killed():
    ending = run(scene, Bare)
    assert ending.how == "SIGSEGV", ending.changed
    assert ending.told == {"done": 2}, ending.changed


def test_with_it_the_old_one_is_closed_after_its_last_reader():
    run(scene, Provider).assert_good()
