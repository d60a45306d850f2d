"""python-elgato-streamdeck 66: a C handle is freed while another thread reads through it, and it reads what came there since.

https://github.com/abcminiuser/python-elgato-streamdeck/issues/66

The library reads a device through ctypes and hidapi. `close()` freed the handle under the thread that polls the keys; what that
passed to `hid_read()` next was the address of freed memory, and the process dumped core. The lock around each call did not help:
it was free.

A crash is the lucky outcome. Here the handle is a `FILE *` of the C library. The next file that is opened gets the same block of
memory, and whoever still has the old handle reads somebody else's file, without any error.
"""

from __future__ import annotations

import ctypes
import platform
import tempfile

import pytest

from ref_proxy import Provider

from .museum import ROUNDS, Bare, run, use_midway

libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.fopen.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
libc.fclose.argtypes = [ctypes.c_void_p]
libc.fread.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]


def read(handle):
    buffer = ctypes.create_string_buffer(4)
    libc.fread(buffer, 1, 4, handle)
    return buffer.raw == b"mine"


def scene(own):
    with tempfile.NamedTemporaryFile() as mine, tempfile.NamedTemporaryFile() as theirs:
        mine.write(b"mine" * 100)
        theirs.write(b"keys" * 100)
        mine.flush()
        theirs.flush()
        others = []

        def release(handle):
            libc.fclose(handle)
            others.append(libc.fopen(theirs.name.encode(), b"r"))

        use_midway(own(libc.fopen(mine.name.encode(), b"r"), release=release), read)
        libc.fclose(others.pop())


@pytest.mark.once
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator may give out another block")
def test_without_it_the_read_is_of_somebody_elses_file():
    ending = run(scene, Bare)
    assert ending.how == "exit 0", ending.changed
    assert ending.told == {"done": 3 * ROUNDS, "wrong": 2 * 3 * ROUNDS}, ending.changed


def test_with_it_the_handle_is_freed_after_the_last_read():
    run(scene, Provider).assert_good()
