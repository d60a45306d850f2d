"""Everything that can be done, a thousand times over, leaves no block of memory and no object behind."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
from contextlib import suppress

import pytest

from ref_proxy import Provider, Revoked, RevokeTimeout, guarded, waiting
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


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_is_left_behind():
    for _ in range(100):
        everything()
    blocks, objects = counts()
    for _ in range(1000):
        everything()

    def settled() -> bool:
        more_blocks, more_objects = counts()
        return more_objects - objects < 50 and more_blocks - blocks < 200  # one lost in each round would be 1000

    until(settled)  # the last threads that released something are still on their way out
