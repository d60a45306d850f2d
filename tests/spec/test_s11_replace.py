"""S11, replace: publishes at once, waits for the sections of the old resource alone, and returns it, ready to be closed."""

from __future__ import annotations

import threading

import pytest

from ref_proxy import Revoked, RevokeTimeout
from tests.support import Call, Holder, Resource, until


def test_it_returns_the_old_one_and_the_same_proxies_reach_the_new_one(provider, proxy, resource):
    new = Resource("new")
    assert provider.replace(new) is resource
    with proxy.access() as inside:
        assert inside is new
    assert provider.state == "live"
    assert resource.log == []


def test_the_new_one_is_published_before_the_old_one_is_free(provider, proxy, resource):
    holder = Holder(proxy)
    new = Resource("new")
    replacement = Call(provider.replace, new).assert_waits()
    with proxy.access() as inside:
        assert inside is new
    assert holder.seen == [resource]
    holder.leave()
    assert replacement.result() is resource


def test_newer_sections_do_not_hold_it_up_however_many(provider, proxy, resource):
    old = Holder(proxy)
    replacement = Call(provider.replace, Resource("new")).assert_waits()
    newer = [Holder(proxy) for _ in range(5)]  # all on the same proxy, all still inside
    old.leave()
    assert replacement.result() is resource
    for holder in newer:
        holder.leave()


def test_it_returns_while_there_is_always_somebody_inside(provider, proxy, resource):
    stop = threading.Event()

    def relay():
        section = proxy.access()
        while not stop.is_set():
            following = proxy.access()
            section.end()
            section = following
        section.end()

    relays = [Call(relay) for _ in range(3)]
    newer = [Resource(str(i)) for i in range(100)]
    replaced = [provider.replace(each, timeout=20) for each in newer]
    stop.set()
    for call in relays:
        call.result()
    assert replaced == [resource, *newer[:-1]]


def test_each_waits_for_its_own(provider, proxy, resource):
    first = Holder(proxy)
    replace_first = Call(provider.replace, Resource("second")).assert_waits()
    second = Holder(proxy)
    replace_second = Call(provider.replace, Resource("third")).assert_waits()
    second.leave()
    assert replace_second.result().name == "second"
    replace_first.assert_waits()
    first.leave()
    assert replace_first.result() is resource


def test_a_timeout_leaves_the_new_one_published_and_carries_the_removal_of_the_old_one(provider, proxy, resource):
    holder = Holder(proxy)
    with pytest.raises(RevokeTimeout) as caught:
        provider.replace(Resource("new"), timeout=0)
    assert [blocker.proxy for blocker in caught.value.blockers] == ["reader"]
    newer = Holder(proxy)
    pending = caught.value.pending
    assert [blocker.ident for blocker in pending.blockers()] == [holder.call.ident]
    holder.leave()
    assert pending.wait(20)
    assert pending.resource is resource
    newer.leave()


def test_replacing_with_itself_and_back_again(provider, proxy, resource):
    assert provider.replace(resource) is resource
    holder = Holder(proxy)
    other = Resource("other")
    replacement = Call(provider.replace, other).assert_waits()
    assert provider.replace(resource) is other  # nobody held the other one
    newer = Holder(proxy)
    replacement.assert_waits()
    holder.leave()
    assert replacement.result() is resource  # the newer section holds the same object, but of a later publication
    newer.leave()


def test_on_a_revoked_provider_it_is_refused_and_the_new_one_stays_the_callers(provider, proxy):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    for _ in range(2):
        with pytest.raises(Revoked, match="'line' is revoked: nothing can be published"):
            provider.replace(Resource("new"))
        holder.leave()
        removal.result()


def test_the_release_gets_what_is_current_at_the_end(provider, resource):
    new = Resource("new")
    provider.replace(new)
    provider.revoke()
    assert new.log == ["interrupted", "released"]
    assert resource.log == []


def test_concurrent_replacements_hand_back_each_resource_once(provider, proxy, resource):
    calls = [Call(provider.replace, Resource(str(i))) for i in range(20)]
    returned = [call.result() for call in calls]
    provider.revoke()
    assert len({id(r) for r in returned}) == 20
    last = {id(resource)} | {id(r) for r in returned}
    assert len(last) == 20 or resource in returned
    until(lambda: provider.state == "revoked")
