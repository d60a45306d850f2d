"""Everything that can be done, a thousand times over, leaves no block of memory and no object behind."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import mmap
import os
import pickle
import socket
import sys
from collections import Counter
from contextlib import suppress

import pytest

from ref_proxy import Device, Provider, Revoked, RevokeDeadlock, RevokeTimeout, aio, dump, guarded, waiting
from ref_proxy.srcu import Domain
from tests.support import until

pytestmark = pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="counts CPython's blocks")

LOOKS = 50  # the last threads that released something may still be on their way out; what leaks is there at every look


class Cyclic:
    """A resource that owns its provider, a proxy and an open section of itself."""

    def __init__(self):
        self.provider = Provider(self)
        self.proxy = self.provider.proxy()
        self.section = self.proxy.access()


def everything():
    provider = Provider(object(), release=id, interrupt=id, name="line")
    named, unnamed = provider.proxy("reader"), provider.proxy()
    with named.access(), unnamed.try_access():
        pass
    section = named.access()
    for use in (section.__enter__, section.end, section.end, section.__enter__, section.detach):
        with suppress(ValueError):
            use()
    for refused in (lambda: copy.copy(named), lambda: pickle.dumps(section), lambda: Provider(None)):
        with suppress(TypeError):
            refused()
    named.access()  # dropped
    section = named.access()
    section.detach()
    for late in (lambda: provider.replace(object(), timeout=0), lambda: provider.revoke(timeout=0)):
        with suppress(RevokeTimeout):
            late()
    provider.blockers()
    section.end()
    repr((provider, named, section))
    through_guarded()
    a_device()
    provider.revoke()
    provider.revoke()
    named.try_access()
    with suppress(Revoked):
        named.access()
    named.close()
    with suppress(ValueError):
        named.access()
    behind_a_gate()
    domain = Domain()
    with domain.read():
        domain.start_poll()
    domain.synchronize()
    domain.call(int)
    domain.barrier()
    dropped = Provider([1])
    section = dropped.proxy().access()
    del dropped
    section.end()
    Cyclic()


def behind_a_gate():
    gate = bytearray(1)
    provider = Provider(object(), name="line")
    for no_gate in (1, b"", memoryview(b"00")[::-1]):
        with suppress(TypeError, ValueError):
            provider._cell.watch(no_gate)
    provider._cell.watch(gate)
    with suppress(ValueError):
        provider._cell.watch(gate)
    proxy = provider.proxy()
    section = proxy.access()
    gate[0] = 1
    proxy.try_access()
    with suppress(Revoked):
        proxy.access()
    section.end()
    provider.revoke()


def a_device():
    hub = Device("hub")
    hub.attach(Device("port")).add_action(int)
    provider = hub.provide(object(), release=id)
    section = provider.proxy().access()
    section.detach()
    with suppress(RevokeTimeout):
        hub.remove(timeout=0)
    section.end()
    hub.remove()
    with suppress(Revoked):
        hub.add_action_or_reset(int)
    failing = Device("failing")
    failing.attach(Device("failing too")).add_action(int, "one")
    failing.provide(object(), release=int)
    with suppress(ExceptionGroup):
        failing.remove()
    dropped = Device("dropped")
    dropped.provide(object())
    dropped.add_action(int)


async def in_a_loop():
    provider = Provider(object(), release=id, name="line")
    proxy = provider.proxy()
    waiting = asyncio.ensure_future(aio.wait_revoked(proxy))
    cancelled = asyncio.ensure_future(aio.wait_revoked(proxy))
    await asyncio.sleep(0)
    cancelled.cancel()
    with suppress(Revoked):
        async with aio.cancelling(proxy):
            with suppress(RevokeDeadlock):
                await provider.arevoke()
            with suppress(RevokeTimeout):
                await asyncio.to_thread(provider.replace, object(), timeout=0)
            provider.revoke_soon()
            await asyncio.sleep(60)
    await provider.arevoke()
    await waiting
    async with Provider(object()) as swapped:
        await swapped.areplace(object())
    async with Device("hub") as hub:
        hub.provide(object())


class Line:
    def words(self, *rest, **more):
        yield rest, more

    async def read(self):
        return iter([1])

    def fail(self):
        raise KeyError

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def through_guarded():
    provider = Provider(Line(), name="line")
    port = guarded(provider.proxy())
    with port, suppress(KeyError):
        port.extra = list(port.words(1, 2, 3, 4, 5, 6, 7, 8, 9, a=1))
        port.fail()
    port.words()  # dropped
    next(port.words())
    reading = port.read()
    with suppress(StopIteration):
        reading.send(None)
    with suppress(AttributeError):
        port.missing  # noqa: B018
    copied, taken = port.extra.copy, port.words
    provider.replace(Line())
    with suppress(Revoked):
        copied()
    provider.revoke()
    for refused in (taken, port.words, port.__exit__):
        with suppress(Revoked):
            refused()
    port.close()
    with suppress(ValueError):
        port.words()


def a_file():
    files = pytest.importorskip("ref_proxy.adapters.files")
    reading, writing = os.pipe()
    provider = files.provide(reading, name="pipe")
    with files.open(provider.proxy()) as line:
        os.write(writing, b"ping")
        line.poll(timeout=0)
        line.read(4)
        files.replace(provider, os.devnull)
        line.read(4)
        provider.revoke()
        with suppress(Revoked):
            line.read(4)
    os.close(writing)


def a_socket():
    sockets = pytest.importorskip("ref_proxy.adapters.sockets")
    ours, theirs = socket.socketpair()
    provider = sockets.provide(ours, name="link")
    with theirs, sockets.open(provider.proxy()) as line:
        line.sendall(b"ping")
        line.fileno()
        provider.revoke()
        with suppress(Revoked):
            line.recv(4)


def a_buffer():
    pytest.importorskip("numpy")
    buffers = pytest.importorskip("ref_proxy.adapters.buffers")
    provider = buffers.provide(mmap.mmap(-1, mmap.PAGESIZE), name="frame")
    proxy = provider.proxy()
    with buffers.array(proxy, "u1", 8) as array:
        array[:] = 1
    with suppress(buffers.BufferEscaped), buffers.array(proxy, "u1", 8) as array:
        view = array[:4]
    del view
    buffers.close(provider.replace(mmap.mmap(-1, mmap.PAGESIZE)))
    provider.revoke()
    with suppress(Revoked), buffers.array(proxy, "u1", 8):
        pass


def told():
    """Each looks through all the objects of the process: fewer rounds show as much."""
    provider = Provider(object(), name="line")
    with provider.proxy("reader").access():
        dump(io.StringIO())
    provider.revoke()


def counts() -> Counter[str]:
    """How many there are of everything: blocks of memory, objects of each type, and references, where the build counts those."""
    until(lambda: not waiting._jobs)
    for _ in range(3):
        gc.collect()
    found = Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in map(type, gc.get_objects()))
    found["blocks of memory"] = sys.getallocatedblocks()
    if hasattr(sys, "gettotalrefcount"):
        found["references"] = sys.gettotalrefcount()
    return found


def check(rounds, warm_up: int, number: int) -> None:
    """Do a number of rounds, and find no more of anything than after the first ones."""
    more: Counter[str] = Counter()

    def settled() -> bool:
        nonlocal more
        # One lost in each round would be many more: what the process itself keeps, here and there, is fewer.
        more = Counter({what: n for what, n in (counts() - before).items() if n >= number // 2})
        return not more

    gc.freeze()  # a report looks through all objects: not through those that the whole suite has left
    try:
        rounds(warm_up)
        before = counts()
        rounds(number)
        for _ in range(LOOKS):
            if settled():
                return
    finally:
        gc.unfreeze()
    raise AssertionError(f"{number} rounds left {dict(more)}")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("scene", "number"), [(everything, 1000), (a_file, 1000), (a_socket, 1000), (a_buffer, 1000), (told, 300)]
)
def test_nothing_is_left_behind(scene, number):
    check(lambda number: [scene() for _ in range(number)], number // 10, number)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_left_behind_in_an_event_loop():
    async def rounds(number):
        for _ in range(number):
            await in_a_loop()

    check(lambda number: asyncio.run(rounds(number)), 50, 300)


def test_a_leak_of_one_object_a_round_is_found():
    kept = []

    def leak():
        provider = Provider(object())
        kept.append(provider.proxy())
        provider.revoke()

    with pytest.raises(AssertionError, match=r"1000 rounds left .*\.Proxy': 1000"):
        check(lambda number: [leak() for _ in range(number)], 100, 1000)


def test_a_leak_of_memory_that_no_collector_knows_is_found():
    kept = []

    def leak():
        kept.append(bytes(64))

    with pytest.raises(AssertionError, match=r"1000 rounds left \{'blocks of memory': "):
        check(lambda number: [leak() for _ in range(number)], 100, 1000)
