"""One test for every flaw for which the kernel took its version back: what is wrong there is right here."""

from __future__ import annotations

import gc

import pytest

from ref_proxy import BACKEND, Provider, Revoked, RevokeDeadlock, RevokeTimeout
from tests.support import Call, Holder, Resource


def test_the_index_in_the_handle_two_threads_and_nesting_on_one_handle(provider, proxy):
    # There, two sections on one handle overwrote each other's index, and the removal hung for good, or did not wait at all.
    holders = [Holder(proxy) for _ in range(4)]
    outer = proxy.access()
    inner = proxy.access()
    outer.end()  # not the last one first
    removal = Call(provider.revoke)
    removal.assert_waits()
    inner.end()
    for holder in holders:
        removal.assert_waits()
        holder.leave()
    assert removal.result() is True


def test_a_consumer_made_from_a_provider_that_is_being_freed(provider, proxy):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    late = [provider.proxy(str(i)) for i in range(100)]
    assert all(p.try_access().resource is None for p in late)
    holder.leave()
    removal.result()


def test_a_handle_that_outlives_the_provider_points_at_nothing(resource):
    provider = Provider(resource)
    proxies = [provider.proxy() for _ in range(10)]
    provider.revoke()
    del provider
    gc.collect()
    for proxy in proxies:
        with pytest.raises(Revoked):
            proxy.access()


def test_a_failing_construction_raises_and_leaves_nothing_behind(recwarn):
    with pytest.raises(TypeError):
        Provider(None)
    gc.collect()
    assert not recwarn.list


@pytest.mark.skipif(BACKEND != "c", reason="an allocation of the C twin")
def test_no_memory_for_the_cell_is_an_error():
    _testcapi = pytest.importorskip("_testcapi")
    provider = None
    failures = 0
    for n in range(1, 60):
        _testcapi.set_nomemory(n, n + 1)
        try:
            provider = Provider(1, name="line")
        except MemoryError:
            failures += 1
        finally:
            _testcapi.remove_mem_hooks()
        if provider is not None:
            provider.revoke()
            provider = None
    assert failures


def test_making_one_never_waits(proxy):
    with proxy.access():  # a grace period that waited for anybody would wait for this
        provider = Provider(Resource())
        other = provider.proxy()
        with other.access():
            assert Provider(Resource()).revoke() is True
    assert provider.revoke() is True


def test_a_refused_access_owes_no_put(provider, proxy):
    provider.revoke()
    for _ in range(1000):
        proxy.try_access()
    assert provider.revoke() is False


def test_a_second_removal_drops_nothing_a_second_time(provider, resource):
    assert [provider.revoke(), provider.revoke(), provider.revoke_soon().done] == [True, False, True]
    assert resource.log == ["interrupted", "released"]


def test_a_removal_has_a_bound_wakes_blocked_readers_and_need_not_block(provider, proxy, resource):
    holder = Holder(proxy)
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)
    assert "interrupted" in resource.log
    assert not provider.revoke_soon().done
    holder.leave()


def test_a_removal_inside_ones_own_section_does_not_hang(provider, proxy):
    with proxy.access(), pytest.raises(RevokeDeadlock):
        provider.revoke()


def test_what_readers_hold_is_destroyed_after_the_drain_only(provider, proxy, resource):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    assert "released" not in resource.log
    holder.leave()
    removal.result()
    assert resource.log[-1] == "released"
