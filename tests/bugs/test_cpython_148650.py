"""cpython 148650: a mapped file is truncated, and the next look at its bytes kills the process.

https://github.com/python/cpython/issues/148650

A mapping goes on saying its old length after the file behind it was cut, and the kernel answers a touch of the lost pages with
SIGBUS, which Python turns into nothing. Guards were weighed there (look at the size first, handle the signal) and found to be
races.

ref_proxy promises this for the owner's own doing: who cuts the file in a release cuts it after the last look. What another
process does to the file it cannot hold off.
"""

from __future__ import annotations

import mmap
import tempfile

import pytest

from ref_proxy import Provider

from .museum import Bare, run, use_midway

SIZE = 4 * mmap.PAGESIZE


def scene(own):
    with tempfile.TemporaryFile() as file:
        file.write(b"\1" * SIZE)
        file.flush()
        with mmap.mmap(file.fileno(), SIZE) as mapped:
            use_midway(own(mapped, release=lambda _: file.truncate(0)), lambda mapped: mapped[-1] == 1)


@pytest.mark.once
def test_without_it_the_process_is_killed():
    ending = run(scene, Bare)
    assert ending.how == "SIGBUS", ending.changed
    assert ending.told == {"done": 3}, ending.changed


def test_with_it_the_file_is_cut_after_the_last_look():
    run(scene, Provider).assert_good()
