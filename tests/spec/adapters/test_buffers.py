"""Memory that vanishes: arrays last for one section, what outlives it is found, and no page goes from under anybody."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import re
import subprocess
import sys
import threading
import weakref
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from ref_proxy import Provider, Revoked
from ref_proxy.adapters import buffers
from tests import PATIENCE
from tests.support import Call, Holder

np = pytest.importorskip("numpy")

SIZE = 8192
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture(params=["segment", "mapping"])
def memory(request):
    """What is shared. Its first eight bytes are ones."""
    if request.param == "segment":
        memory = SharedMemory(create=True, size=SIZE)
        memory.unlink()
        memory.buf[:8] = b"\1" * 8
    else:
        memory = mmap.mmap(-1, SIZE)
        memory[:8] = b"\1" * 8
    return memory


@pytest.fixture
def provider(memory):
    provider = buffers.provide(memory, name="frames")
    yield provider
    provider.revoke_soon()


@pytest.fixture
def proxy(provider):
    return provider.proxy("reader")


def is_closed(memory):
    return memory.closed if isinstance(memory, mmap.mmap) else memory.buf is None


def mapped(name):
    return Path("/proc/self/maps").read_text().count(name)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


# One section.


def test_an_array_is_the_memory_itself(memory, proxy):
    with buffers.array(proxy, "u2", (3, 4), offset=2) as a:
        assert (a.shape, a.dtype, a[0].tolist()) == ((3, 4), np.uint16, [0x0101] * 3 + [0])
        a[2].view(">u2")[3] = 0x0203
    buffer = memory if isinstance(memory, mmap.mmap) else memory.buf
    assert (buffer[24], buffer[25]) == (2, 3)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("f8", ()), ("f8", 0), ("f8", (3, 0)), ("3f4", 5), ([("x", "i4"), ("y", "S4")], 2), (">i2", [2, 2])]
)
def test_what_numpy_takes_for_a_dtype_and_a_shape_will_do(proxy, dtype, shape):
    with buffers.array(proxy, dtype, shape) as a:
        plain = np.zeros(shape, dtype)
        assert (a.shape, a.dtype) == (plain.shape, plain.dtype)


def test_it_is_a_section_that_removal_waits_for(provider, proxy):
    inside, leave = threading.Event(), threading.Event()

    def read():
        with buffers.array(proxy, "u1", 8) as a:
            inside.set()
            assert leave.wait(PATIENCE)
            return int(a.sum())

    reader = Call(read)
    assert inside.wait(PATIENCE)
    removal = Call(provider.revoke).assert_waits()
    leave.set()
    assert reader.result() == 8
    assert removal.result() is True


def test_once_the_memory_is_gone_it_is_revoked(memory, provider, proxy):
    assert provider.revoke() is True
    assert is_closed(memory)
    with pytest.raises(Revoked), buffers.array(proxy, "u1", 1):
        pytest.fail("it was granted")


def test_the_same_object_serves_one_section_after_another_but_not_two_at_once(provider, proxy):
    manager = buffers.array(proxy, "u1", 1)
    for _ in range(2):
        with manager as a:
            assert a[0] == 1
    with manager, pytest.raises(ValueError, match="make one for each `with`"), manager:
        pytest.fail("it was granted")
    assert provider.blockers() == []


def test_what_can_only_be_read_gives_an_array_that_can_only_be_read(tmp_path):
    path = tmp_path / "frames"
    path.write_bytes(b"\1" * SIZE)
    with path.open("rb") as file, buffers.provide(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as provider:
        with buffers.array(provider.proxy(), "u1", 8) as a:
            assert a.sum() == 8
            with pytest.raises(ValueError, match="read-only"):
                a[0] = 2
            with pytest.raises(ValueError, match="WRITEABLE"):
                a.flags.writeable = True


# What does not fit.


@pytest.mark.parametrize(
    ("dtype", "shape", "offset", "error", "says"),
    [
        ("f8", SIZE // 8 + 1, 0, ValueError, f"would end at {SIZE + 8}, but the memory has {SIZE} bytes"),
        ("f8", SIZE // 8, 8, ValueError, f"would end at {SIZE + 8}, but the memory has {SIZE} bytes"),
        ("f8", (2**40, 2**40), 0, ValueError, f"but the memory has {SIZE} bytes"),
        ("u1", 0, SIZE + 1, ValueError, f"would end at {SIZE + 1}, but the memory has {SIZE} bytes"),
        ("f8", (-1, -1), 0, ValueError, r"no length may be negative, as in the shape \(-1, -1\)"),
        ("f8", 2, -8, ValueError, "must be a multiple of 8, from 0 on, not -8"),
        ("f8", 2, 4, ValueError, "must be a multiple of 8, from 0 on, not 4"),
        ("S0", 2, 0, ValueError, "has no size"),
        (object, 2, 0, TypeError, "pointers to objects"),
        ([("x", "f8"), ("y", object)], 2, 0, TypeError, "pointers to objects"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_held(memory, provider, proxy, dtype, shape, offset, error, says):
    with pytest.raises(error, match=says) as raised, buffers.array(proxy, dtype, shape, offset=offset):
        pytest.fail("it was granted")
    assert "'reader' of 'frames'" in str(raised.value)
    assert provider.blockers() == []
    memory.close()  # it would be refused if anything still held an export


@pytest.mark.parametrize(
    ("dtype", "shape", "offset", "error"),
    [("no such", 1, 0, TypeError), ("u1", 1.5, 0, TypeError), ("u1", "3", 0, TypeError), ("u1", 1, 1.5, TypeError),
     ("u1", (1,) * 100, 0, ValueError), ("u1", (0, 2**70), 0, (ValueError, OverflowError))],
)  # fmt: skip
def test_what_numpy_does_not_take_is_refused_and_nothing_is_held(memory, provider, proxy, dtype, shape, offset, error):
    with pytest.raises(error), buffers.array(proxy, dtype, shape, offset=offset):
        pytest.fail("it was granted")
    assert provider.blockers() == []
    gc.collect()
    memory.close()


@pytest.mark.parametrize("thing", [bytearray(8), [1], "a name", memoryview(bytearray(8))])
def test_only_memory_that_refuses_to_go_while_it_is_used_can_be_provided(thing):
    with pytest.raises(TypeError, match=r"needs a multiprocessing.shared_memory.SharedMemory or an mmap.mmap, not "):
        buffers.provide(thing)
    with (
        Provider(thing, name="frames") as provider,
        pytest.raises(TypeError, match="'frames'"),
        buffers.array(provider.proxy(), "u1", 1),
    ):
        pytest.fail("it was granted")
    assert provider.blockers() == []


def test_memory_that_is_closed_already_is_refused(memory):
    memory.close()
    with pytest.raises(ValueError, match="it is closed; only the release of its provider may close it"):
        buffers.provide(memory)
    with Provider(memory, name="frames") as provider, pytest.raises(ValueError, match=r"'frames'.*it is closed"):
        with buffers.array(provider.proxy(), "u1", 1):
            pytest.fail("it was granted")
    assert provider.blockers() == []


def test_a_segment_gives_its_provider_its_name():
    segment = SharedMemory(create=True, size=SIZE)
    segment.unlink()
    with buffers.provide(segment) as provider:
        assert provider.name == segment.name


# The name that is left.


def test_the_name_after_as_is_no_escape_and_finds_an_empty_array(proxy):
    with buffers.array(proxy, "u1", 8) as a:
        pass
    assert repr(a) == "array([], dtype=[('the section of this array has ended', 'V1')])"
    assert a.base is None
    for use in (lambda: a[0], lambda: a + 1, a.sum, lambda: a.fill(1), lambda: np.copyto(a, 1), lambda: float(a)):
        with pytest.raises((IndexError, TypeError)):
            use()


def test_another_name_for_the_same_array_is_none_either(proxy):
    with buffers.array(proxy, "u1", 8) as a:
        b = a
        c = np.asarray(a)
    assert b is c
    assert a.size == b.size == 0


def test_a_context_manager_around_it_may_hand_the_array_on(proxy):
    @contextlib.contextmanager
    def header():
        with buffers.array(proxy, "u1", 8) as a:
            yield a

    for _ in range(3):
        with header() as b:
            assert b.sum() == 8
    assert b.size == 0


def test_several_sections_may_be_held_by_an_exit_stack(proxy):
    with contextlib.ExitStack() as stack:
        a, b, c = (stack.enter_context(buffers.array(proxy, "u1", 8, offset=i)) for i in range(3))
        assert a.sum() + b.sum() + c.sum() == 8 + 7 + 6
    assert a.size == b.size == c.size == 0


def test_a_name_may_be_an_argument_a_global_or_shared_with_an_inner_function(proxy):
    def argument(a=None):
        with buffers.array(proxy, "u1", 8) as a:
            pass
        return a

    def shared():
        def inner():
            nonlocal a
            with buffers.array(proxy, "u1", 8) as a:
                pass

        a = None
        inner()
        return a

    scope = {"manager": buffers.array(proxy, "u1", 8)}
    exec("with manager as a: b = a", scope)
    assert [a.size for a in (argument(), shared(), scope["a"])] == [0, 0, 0]


def test_no_name_is_counted_twice(proxy):
    # An inner function has the same variable, and an argument may be borrowed: one reference less than there are names.
    def shared():
        def inner():
            nonlocal a
            with buffers.array(proxy, "u1", 8) as a:
                kept.append(memoryview(a))

        a = None
        inner()

    def borrowed(manager, a):
        manager.__exit__(None, None, None)

    def lender():
        manager = buffers.array(proxy, "u1", 8)
        a = manager.__enter__()
        kept.append(memoryview(a))
        borrowed(manager, a)

    kept = []
    for leaving in (shared, lender):
        with pytest.raises(buffers.BufferEscaped, match="the array itself"):
            leaving()
    scope = {"manager": buffers.array(proxy, "u1", 8), "kept": kept}
    with pytest.raises(buffers.BufferEscaped, match="the array itself"):
        exec("exec('with manager as a: kept.append(memoryview(a))')", scope)  # two frames with one dict of names
    assert [m[0] for m in kept] == [1, 1, 1]


def test_what_is_looked_at_in_a_debugger_is_no_escape(proxy):
    with buffers.array(proxy, "u1", 8) as a:
        seen = sys._getframe().f_locals  # before 3.13 that is a copy, and the frame keeps it
        assert seen["a"] is a
    assert seen["proxy"] is proxy
    assert a.size == 0


def test_what_a_debugger_has_put_there_is_no_name(proxy):
    with pytest.raises(buffers.BufferEscaped, match="the array itself"), buffers.array(proxy, "u1", 8) as a:
        sys._getframe().f_locals["put"] = a
    del a


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="exec() leaves nothing in a function any more")
def test_looking_for_names_takes_nothing_away(proxy):
    exec("put = 1")
    with buffers.array(proxy, "u1", 8) as a:
        pass
    assert eval("put") == 1
    assert a.size == 0


def test_looking_for_names_keeps_nothing_alive(proxy):
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    with buffers.array(proxy, "u1", 8) as a:
        pass
    del thing
    assert gone() is None
    assert a.size == 0


def test_what_is_computed_from_it_is_the_readers_own(proxy):
    with buffers.array(proxy, "u1", 8) as a:
        total, copied, part = a.sum(), a.copy(), a[2:4] + 1
    assert (int(total), copied.tolist(), part.tolist()) == (8, [1] * 8, [2, 2])


def test_views_that_are_gone_in_time_are_no_escape(proxy):
    with buffers.array(proxy, "u1", 8) as a:
        for part in a.reshape(2, 4):
            assert memoryview(part)[0] == 1
        del part
        m = memoryview(a)
        m.release()
        del m


def test_garbage_is_no_escape(proxy):
    gc.disable()
    try:
        with buffers.array(proxy, "u1", 8) as a:
            cycle = [a[1:], memoryview(a)]
            cycle.append(cycle)
            gone = weakref.ref(cycle[0])
            del cycle
            assert gone() is not None, "it is not garbage"
        assert gone() is None
    finally:
        gc.enable()


# What escapes.


class Interface:
    def __init__(self, a):
        self.a = a
        self.__array_interface__ = a.__array_interface__


ESCAPES = {
    "a slice": lambda a: a[1:],
    "no more than a shape": lambda a: a.reshape(2, 4),
    "a transposed one": lambda a: a.T,
    "another dtype": lambda a: a.view("u2"),
    "a field of a slice of a slice": lambda a: a[2:][2:].view([("x", "u1"), ("y", "u1")])["y"],
    "another class": lambda a: a.view(np.recarray),
    "its base": lambda a: a.base,
    "a memoryview": memoryview,
    "a memoryview of a slice": lambda a: memoryview(a[1:]),
    "an array over a memoryview": lambda a: np.asarray(memoryview(a)),
    "an array that has no export": lambda a: np.ndarray((2,), "u2", buffer=a),
    "an array that has no export of a memoryview": lambda a: np.ndarray((2,), "u2", buffer=memoryview(a)),
    "a DLPack consumer": np.from_dlpack,
    "the array interface": lambda a: np.asarray(Interface(a)),
    "a ctypes array": (ctypes.c_char * 8).from_buffer,
    "its flat iterator": lambda a: a.flat,
    "an iterator": iter,
    "an nditer": np.nditer,
    "a bound method": lambda a: a.sum,
    "a function's default": lambda a: lambda b=a: b,
    "a container": lambda a: [a],
}  # fmt: skip


def let_escape(proxy, derive):
    """Return what was derived, and what was said when the section ended. No traceback is left, and no other reference."""
    try:
        with buffers.array(proxy, "u1", 8) as a:
            escaped = derive(a)
    except buffers.BufferEscaped as error:
        return escaped, str(error)
    pytest.fail("it was not found")


@pytest.mark.parametrize("derive", ESCAPES.values(), ids=ESCAPES)
def test_what_outlives_its_section_is_found_and_keeps_the_memory(memory, provider, proxy, caplog, derive):
    escaped, said = let_escape(proxy, derive)
    assert re.match(
        r"(a view|the array itself)\b.* has outlived its section of <ref_proxy.Proxy 'reader' of 'frames', live>", said
    )
    assert "copy" in said
    assert "`del`" in said
    assert provider.blockers() == []  # removal does not wait for it
    mapping = memory if isinstance(memory, mmap.mmap) else memory.buf.obj
    assert provider.revoke(timeout=PATIENCE) is True
    assert not mapping.closed
    [record] = caplog.records
    assert (record.name, record.levelname) == ("ref_proxy", "WARNING")
    assert "'reader' of 'frames'" in record.getMessage()
    touch(escaped)
    del escaped
    assert mapping.closed


def touch(escaped):
    """Read through it what can be read."""
    if callable(escaped):
        escaped = escaped()
    if isinstance(escaped, list):
        [escaped] = escaped
    for element in escaped if np.iterable(escaped) else [escaped]:
        str(element)


def test_an_array_that_is_returned_is_found_or_empty(proxy):
    def read():
        with buffers.array(proxy, "u1", 8) as a:
            return a

    if sys.version_info < (3, 14):
        with pytest.raises(buffers.BufferEscaped, match="the array itself"):
            read()
    else:
        assert read().size == 0  # what a function returns is only borrowed from its name


def test_an_escape_of_one_section_is_not_another_ones(provider, proxy):
    escaped, _ = let_escape(proxy, lambda a: a[1:])
    with buffers.array(proxy, "u1", 8) as a:
        assert a[0] == 1
    assert escaped[0] == 1


def test_two_readers_of_one_proxy_do_not_take_each_others_views_for_escapes(proxy):
    with buffers.array(proxy, "u1", 8) as outer:
        part = outer[1:]
        with buffers.array(proxy, "u1", 8) as inner:
            assert inner[1:].sum() == part.sum()
        del part


def test_another_thread_in_the_midst_of_computing_with_it_is_found_and_left_alone(memory, provider, proxy):
    inside, leave = threading.Event(), threading.Event()

    def wait(element):
        inside.set()
        assert leave.wait(PATIENCE)
        return element

    def end_too_early():
        with buffers.array(proxy, "u1", 8) as a:
            call = Call(np.frompyfunc(wait, 1, 1), a)  # in C, between two elements
            assert inside.wait(PATIENCE)
        return call

    with pytest.raises(buffers.BufferEscaped, match="another thread") as raised:
        end_too_early()
    call = raised.traceback[1].frame.f_locals["call"]
    assert provider.revoke(timeout=PATIENCE) is True
    leave.set()
    assert call.result().tolist() == [1] * 8


def test_a_view_under_the_name_of_its_array_is_found(provider, proxy):
    with pytest.raises(buffers.BufferEscaped, match="the array itself"), buffers.array(proxy, "u1", 8) as a:
        a = memoryview(a)
    assert provider.revoke() is True
    assert a[0] == 1


# What the body raises.


def test_the_bodys_own_exception_wins(provider, proxy):
    with pytest.raises(KeyError, match="mine") as raised, buffers.array(proxy, "u1", 8) as a:
        raise KeyError("mine")
    assert not hasattr(raised.value, "__notes__")
    assert a.size == 0
    assert provider.blockers() == []


def test_a_traceback_that_holds_a_view_is_noted(memory, provider, proxy):
    def fail(part):
        raise KeyError("mine")

    mapping = memory if isinstance(memory, mmap.mmap) else memory.buf.obj
    with pytest.raises(KeyError, match="mine") as raised, buffers.array(proxy, "u1", 8) as a:
        fail(a[1:])
    [note] = raised.value.__notes__
    assert re.match(r"a view .*'reader' of 'frames'.*this traceback alone", note)
    assert provider.revoke() is True
    assert not mapping.closed
    assert raised.traceback[-1].frame.f_locals["part"][0] == 1
    raised.value.__traceback__ = None
    del raised
    gc.collect()
    assert mapping.closed


def test_a_traceback_that_holds_the_array_itself_is_nothing_to_note(proxy):
    def fail(given):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as raised, buffers.array(proxy, "u1", 8) as a:
        fail(a)
    assert not hasattr(raised.value, "__notes__")
    assert a.size == 0


# Removal and replacement.


def test_a_name_that_is_left_does_not_keep_the_memory(memory, provider, proxy, caplog):
    mapping = memory if isinstance(memory, mmap.mmap) else memory.buf.obj
    with buffers.array(proxy, "u1", 8) as a:
        pass
    assert provider.revoke() is True
    assert mapping.closed
    assert caplog.records == []
    assert a.size == 0


def test_the_last_of_several_that_escaped_closes_the_memory(memory, provider, proxy):
    mapping = memory if isinstance(memory, mmap.mmap) else memory.buf.obj
    escaped = [let_escape(proxy, lambda a, i=i: a[i:])[0] for i in range(3)]
    assert provider.revoke() is True
    while escaped:
        assert not mapping.closed
        assert escaped.pop()[0] == 1
    assert mapping.closed


def test_what_escaped_and_is_gone_before_the_removal_is_forgotten(memory, provider, proxy, caplog):
    mapping = memory if isinstance(memory, mmap.mmap) else memory.buf.obj
    let_escape(proxy, lambda a: a[1:])
    gc.collect()
    assert provider.revoke() is True
    assert mapping.closed
    assert all(left.mapping is not mapping for left in buffers._left)
    assert caplog.records == []


@linux
def test_a_segment_goes_with_its_descriptors_and_its_pages():
    gc.collect()
    before = descriptors()
    segment = SharedMemory(create=True, size=SIZE)
    provider = buffers.provide(segment)
    escaped, _ = let_escape(provider.proxy(), lambda a: a[1:])
    segment.unlink()
    assert provider.revoke() is True
    assert (mapped(segment.name), descriptors()) == (1, before + 1)  # the mapping's own
    escaped[0] = 1
    del escaped
    assert (mapped(segment.name), descriptors()) == (0, before)


def test_a_segment_that_its_user_tried_to_close_is_given_up_all_the_same(caplog):
    segment = SharedMemory(create=True, size=SIZE)
    segment.unlink()
    mapping = segment.buf.obj
    with buffers.provide(segment) as provider:
        escaped, _ = let_escape(provider.proxy(), lambda a: a[1:])
        with pytest.raises(BufferError):
            segment.close()  # stops half-way
    assert escaped[0] == 0
    assert "what still reaches it" in caplog.text
    del escaped
    assert mapping.closed


def test_an_open_section_stays_with_what_was_replaced(memory, provider, proxy):
    inside, leave = threading.Event(), threading.Event()

    def read():
        with buffers.array(proxy, "u1", 8) as a:
            inside.set()
            assert leave.wait(PATIENCE)
            return a.tolist()

    reader = Call(read)
    assert inside.wait(PATIENCE)
    replacement = Call(provider.replace, mmap.mmap(-1, 100)).assert_waits()
    with buffers.array(proxy, "u1", 100) as new:
        assert new.sum() == 0
    leave.set()
    assert reader.result() == [1] * 8
    assert replacement.result() is memory
    buffers.close(memory)
    buffers.close(memory)
    assert is_closed(memory)


def test_what_was_replaced_can_be_closed_whatever_escaped(memory, provider, proxy):
    mapping = memory if isinstance(memory, mmap.mmap) else memory.buf.obj
    escaped, _ = let_escape(proxy, lambda a: a[1:])
    old = provider.replace(mmap.mmap(-1, SIZE))
    with pytest.raises(BufferError):
        old.close()
    buffers.close(old)
    assert escaped[0] == 1
    del escaped
    assert mapping.closed


def test_a_holder_of_the_memory_itself_gives_it_back_to_the_same_release(memory, provider, proxy):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    holder.leave()
    assert removal.result() is True
    assert is_closed(memory)


def test_sections_leave_nothing_behind(memory, proxy):
    for _ in range(100):
        with buffers.array(proxy, "u1", 8) as a:
            assert a[0] == 1
    memory.close()


# In a process of its own.


def child(program):
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONFAULTHANDLER": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@linux
def test_without_ref_proxy_an_array_over_a_closed_segment_is_a_segmentation_fault():
    # https://github.com/numpy/numpy/issues/23305
    run = subprocess.run(
        [sys.executable, "-c", NUMPY_23305],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONFAULTHANDLER": ""},
    )
    assert run.returncode == -11, run.stderr


NUMPY_23305 = """
import numpy as np
from multiprocessing.shared_memory import SharedMemory
segment = SharedMemory(create=True, size=8192)
segment.unlink()
a = np.ndarray(1024, "f8", buffer=segment.buf)
segment.close()
a.sum()
"""


def test_the_same_storm_of_readers_and_a_revoker_never_ends_in_one():
    run = child(STORM)
    assert (run.returncode, run.stderr) == (0, "")
    sums, escapes = map(int, run.stdout.split())
    assert sums
    assert escapes


STORM = """
import logging
import numpy as np
from multiprocessing.shared_memory import SharedMemory
from ref_proxy import Revoked
from ref_proxy.adapters import buffers
from tests.support import Call, until

logging.getLogger("ref_proxy").setLevel(logging.ERROR)
sums, escapes = [], []

def read(proxy, kept):
    while True:
        try:
            with buffers.array(proxy, "f8", 1024) as a:
                sums.append(a.sum())
        except Revoked:
            return

def escape(proxy, kept):
    for derive in (lambda a: a[1:], memoryview, np.from_dlpack, lambda a: [a], lambda a: a.view("u8")):
        try:
            with buffers.array(proxy, "f8", 1024) as a:
                kept.append(derive(a))
        except buffers.BufferEscaped:
            escapes.append(1)
        except Revoked:
            return

for _ in range(15):
    segment = SharedMemory(create=True, size=8192)
    segment.unlink()
    provider, kept = buffers.provide(segment), []
    before = len(sums), len(escapes)
    calls = [Call(work, provider.proxy(), kept) for work in (read, read, escape)]
    until(lambda: len(sums) > before[0] and len(escapes) > before[1])
    assert provider.revoke(timeout=20) is True
    for call in calls:
        call.result()
    for each in kept:
        np.asarray(each).sum()
print(len(sums), len(escapes))
"""


def test_what_escaped_may_become_garbage_in_a_cycle():
    run = child("""
import gc, logging, mmap
from ref_proxy.adapters import buffers
from tests.spec.adapters.test_buffers import ESCAPES, touch

class Late:
    def __init__(self, escaped):
        self.escaped, self.me = escaped, self

    def __del__(self):
        touch(self.escaped)
        touched.append(1)

logging.getLogger("ref_proxy").setLevel(logging.ERROR)
gc.disable()
touched = []
for derive in ESCAPES.values():
    provider = buffers.provide(mmap.mmap(-1, 8192))
    try:
        with buffers.array(provider.proxy(), "u1", 8) as a:
            late = Late(derive(a))
    except buffers.BufferEscaped as error:
        late.error = error
    provider.revoke()
    del a, late
    gc.collect()
print(len(touched) == len(ESCAPES))
""")
    assert (run.returncode, run.stdout, run.stderr) == (0, "True\n", "")


@pytest.mark.parametrize("kept", ["a", "a[1:]", "memoryview(a)"])
def test_an_interpreter_ends_quietly_whatever_is_left(kept):
    run = child(f"""
import mmap
from multiprocessing.shared_memory import SharedMemory
from ref_proxy.adapters import buffers
segment = SharedMemory(create=True, size=8192)
segment.unlink()
everything = []
for memory in (segment, mmap.mmap(-1, 8192)):
    provider = buffers.provide(memory)
    try:
        with buffers.array(provider.proxy(), "u1", 8) as a:
            everything.append({kept})
    except buffers.BufferEscaped:
        print("found")
    provider.revoke()
""")
    assert (run.returncode, run.stdout) == (0, "found\nfound\n")
    assert "Exception ignored" not in run.stderr
    assert run.stderr.count("stays mapped until what still reaches it is gone") == 2
