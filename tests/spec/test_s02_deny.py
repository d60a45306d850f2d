"""S2, deny at once: after a removal has begun, no access anywhere returns the resource."""

from __future__ import annotations

import errno

import pytest

from ref_proxy import Provider, Revoked, RevokeTimeout
from tests.support import Call, Holder, Resource


def test_every_proxy_is_refused_while_others_are_still_inside(provider, proxy, resource):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    for late in (proxy, provider.proxy("made before the end"), provider.proxy()):
        with pytest.raises(Revoked):
            late.access()
        assert late.try_access().resource is None
        assert late.revoked
    assert provider.state == "draining"
    holder.leave()
    assert removal.result() is True
    assert provider.state == "revoked"
    with pytest.raises(Revoked):
        proxy.access()


def test_denial_needs_nobody(provider, proxy):
    with proxy.access():  # this very thread is inside, and does nothing towards it
        provider.revoke_soon()
        assert proxy.try_access().resource is None


def test_it_is_denied_when_the_interrupt_runs(resource):
    seen = []
    provider = Provider(resource, interrupt=lambda _: seen.append(proxy.try_access().resource))
    proxy = provider.proxy()
    provider.revoke()
    assert seen == [None]


def test_revoked_is_an_oserror_with_enodev_that_says_what_whose_and_what_to_do(provider, proxy):
    provider.revoke()
    with pytest.raises(OSError, match=r"proxy 'reader' of 'line' was refused: .* get one from the next provider") as caught:
        proxy.access()
    assert type(caught.value) is Revoked
    assert caught.value.errno == errno.ENODEV


def test_no_access_is_granted_after_one_was_denied_whatever_the_thread(resource):
    # One thread watches for the denial; what it then tells to another one must hold there as well.
    for _ in range(200):
        provider = Provider(Resource())
        mine, theirs = provider.proxy(), provider.proxy()

        def watch(mine=mine, theirs=theirs):
            while not mine.revoked:
                pass
            return Call(lambda: theirs.try_access().resource).result()

        watcher = Call(watch)
        provider.revoke()
        assert watcher.result() is None


def test_a_timeout_leaves_it_denied(provider, proxy):
    holder = Holder(proxy)
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)
    assert proxy.revoked
    holder.leave()
