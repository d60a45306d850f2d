"""Everything that can be done, a thousand times over, leaves no block of memory and no object behind."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import sys
from contextlib import suppress

import pytest

from ref_proxy import Device, Provider, Revoked, RevokeDeadlock, RevokeTimeout, aio, guarded, waiting
from ref_proxy.srcu import Domain
from tests.support import until

pytestmark = pytest.mark.skipif(not hasattr(sys, "getallocatedblocks"), reason="counts CPython's blocks")


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
    domain = Domain()
    with domain.read():
        domain.start_poll()
    domain.synchronize()
    dropped = Provider([1])
    section = dropped.proxy().access()
    del dropped
    section.end()
    Cyclic()


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


def counts() -> tuple[int, int]:
    until(lambda: not waiting._jobs)
    for _ in range(3):
        gc.collect()
    return sys.getallocatedblocks(), len(gc.get_objects())


def check(rounds, warm_up: int, number: int) -> None:
    """Do a number of rounds, and find no more of anything than after the first ones."""

    def settled() -> bool:
        more_blocks, more_objects = counts()
        # One lost in each round would be many more.
        return more_objects - objects < number // 5 and more_blocks - blocks < number // 2

    gc.freeze()  # a report looks through all objects: not through those that the whole suite has left
    try:
        rounds(warm_up)
        blocks, objects = counts()
        rounds(number)
        until(settled)  # the last threads that released something are still on their way out
    finally:
        gc.unfreeze()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_left_behind():
    check(lambda number: [everything() for _ in range(number)], 100, 1000)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_left_behind_in_an_event_loop():
    async def rounds(number):
        for _ in range(number):
            await in_a_loop()

    check(lambda number: asyncio.run(rounds(number)), 50, 300)
