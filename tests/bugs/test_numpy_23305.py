"""numpy 23305: shared memory is closed under an array, and the next look at the array kills the process.

https://github.com/numpy/numpy/issues/23305

An array was laid over a shared memory segment with `numpy.ndarray(buffer=segment.buf)`. When the segment went away, by `close()`
or by being collected, the array still pointed at its address: no exception that could be caught, a segmentation fault. The array
does not export the buffer, so that closing is not even refused; https://github.com/python/cpython/issues/102349 says the same
from the other side.
"""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory

import pytest

from ref_proxy import Provider

from .museum import Bare, run, use_midway

numpy = pytest.importorskip("numpy")

SIZE = 1 << 20


def scene(own):
    segment = SharedMemory(create=True, size=SIZE)
    segment.unlink()
    segment.buf[:] = b"\1" * SIZE
    frame = numpy.ndarray((SIZE,), dtype=numpy.uint8, buffer=segment.buf)
    use_midway(own(frame, release=lambda _: segment.close()), lambda frame: frame.sum() == SIZE)


@pytest.mark.once
def test_without_it_the_process_is_killed():
    ending = run(scene, Bare)
    assert ending.how == "SIGSEGV", ending.changed
    assert ending.told == {"done": 3}, ending.changed


def test_with_it_the_segment_is_closed_after_the_last_look():
    run(scene, Provider).assert_good()
