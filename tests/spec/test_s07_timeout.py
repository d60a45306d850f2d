"""S7, timeout: it raises RevokeTimeout with the blockers; denied, nothing released, and a later revoke() carries on."""

from __future__ import annotations

import math
import threading

import pytest

from ref_proxy import Provider, Revocation, Revoked, RevokeTimeout
from tests.support import Call, Holder, Resource, until


def test_it_names_the_blockers_and_releases_nothing_and_a_later_revoke_carries_on(provider, proxy, resource):
    holder = Holder(proxy)
    with pytest.raises(RevokeTimeout, match=r"'line' was denied .* within 0\.01 s.*proxy 'reader' of 'line' in thread") as caught:
        provider.revoke(timeout=0.01)
    [blocker] = caught.value.blockers
    assert (blocker.provider, blocker.proxy, blocker.ident) == ("line", "reader", holder.call.ident)
    assert blocker.thread == holder.call.name
    assert blocker.waiting >= 0.01
    assert "_hold" in [frame.name for frame in blocker.stack]
    assert provider.state == "draining"
    assert resource.log == ["interrupted"]
    removal = Call(provider.revoke, timeout=math.inf).assert_waits()
    holder.leave()
    assert removal.result() is True
    assert resource.log == ["interrupted", "released"]


def test_zero_asks_without_waiting(provider, proxy):
    with proxy.access(), pytest.raises(RevokeTimeout):
        Call(provider.revoke, timeout=0).result()
    assert provider.revoke(timeout=0) is True


def test_its_pending_removal_can_be_waited_for(provider, proxy, resource):
    holder = Holder(proxy)
    with pytest.raises(RevokeTimeout) as caught:
        provider.revoke(timeout=0)
    pending = caught.value.pending
    assert isinstance(pending, Revocation)
    assert pending.done is False
    assert pending.wait(timeout=0) is False
    assert pending.resource is resource
    waiter = Call(pending.wait).assert_waits()
    holder.leave()
    assert waiter.result() is True
    assert pending.done
    assert pending.resource is None
    assert resource.log == ["interrupted", "released"]
    assert provider.revoke() is False


def test_many_names_are_cut_short_in_the_message_and_whole_in_the_list(provider, proxy):
    sections = [proxy.access() for _ in range(10)]
    for section in sections:
        section.detach()
    with pytest.raises(RevokeTimeout, match="and 7 more") as caught:
        provider.revoke(timeout=0)
    assert len(caught.value.blockers) == 10
    assert all(blocker.detached for blocker in caught.value.blockers)
    for section in sections:
        section.end()


def test_revoke_soon_denies_interrupts_and_returns_at_once_and_the_release_follows(provider, proxy, resource):
    section = proxy.access()
    removal = provider.revoke_soon()
    assert isinstance(removal, Revocation)
    assert proxy.revoked
    assert resource.log == ["interrupted"]
    assert not removal.done
    assert removal.wait.__self__ is removal
    section.end()
    until(lambda: removal.done)
    assert resource.log == ["interrupted", "released"]
    assert removal.wait() is True


def test_revoke_soon_returns_while_the_release_still_blocks():
    go_on = threading.Event()
    provider = Provider(Resource(), release=lambda _: go_on.wait(20))
    removal = provider.revoke_soon()  # it would never come back if it ran the release
    assert provider.state == "draining"
    go_on.set()
    assert removal.wait(20)


def test_the_last_reader_is_not_made_to_run_the_release(proxy):
    ran_in = []
    provider = Provider(Resource(), release=lambda _: ran_in.append(threading.get_ident()))
    section = provider.proxy().access()
    removal = provider.revoke_soon()
    section.end()
    until(lambda: removal.done)
    assert ran_in != [threading.get_ident()]


def test_revoke_soon_again_and_revoke_after_it_are_the_same_removal(provider, proxy, resource):
    holder = Holder(proxy)
    removal = provider.revoke_soon()
    assert provider.revoke_soon() is removal
    call = Call(provider.revoke).assert_waits()
    holder.leave()
    call.result()
    assert removal.done
    assert resource.log == ["interrupted", "released"]
    assert provider.revoke_soon().done


def test_revoke_soon_after_a_timeout_lets_the_release_follow(provider, proxy, resource):
    holder = Holder(proxy)
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)
    removal = provider.revoke_soon()
    holder.leave()
    until(lambda: removal.done)
    assert resource.log == ["interrupted", "released"]


def test_replace_that_times_out(provider, proxy, resource):
    holder = Holder(proxy)
    new = Resource("new")
    with pytest.raises(RevokeTimeout, match="'line' was replaced, but the old resource was not free") as caught:
        provider.replace(new, timeout=0)
    pending = caught.value.pending
    assert provider.state == "live"
    with proxy.access() as inside:
        assert inside is new
    assert pending.resource is resource
    assert not pending.done
    waiter = Call(pending.wait).assert_waits()
    holder.leave()
    assert waiter.result() is True
    assert pending.done
    assert "released" not in resource.log  # it is its owner's again


def test_a_timeout_while_another_thread_releases_says_so():
    releasing, go_on = threading.Event(), threading.Event()

    def release(_):
        releasing.set()
        go_on.wait(20)

    provider = Provider(Resource(), release=release)
    winner = Call(provider.revoke)
    assert releasing.wait(20)
    with pytest.raises(RevokeTimeout, match="another thread is running a hook") as caught:
        provider.revoke(timeout=0)
    assert caught.value.blockers == []
    go_on.set()
    assert winner.result() is True


def test_revoke_timeout_is_a_timeout_error_and_not_a_revoked(provider, proxy):
    assert issubclass(RevokeTimeout, TimeoutError)
    assert not issubclass(RevokeTimeout, Revoked)
