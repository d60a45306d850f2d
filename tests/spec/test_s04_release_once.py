"""S4, release exactly once: after the drain, before revoke() returns; one gets True, all others wait and get False."""

from __future__ import annotations

import threading

import pytest

from ref_proxy import Provider, RevokeDeadlock
from tests.support import Call, Holder, Resource, until


def test_one_caller_gets_true_and_every_other_waits_and_gets_false(provider, proxy, resource):
    holder = Holder(proxy)
    calls = [Call(provider.revoke) for _ in range(6)]
    for call in calls:
        call.assert_waits()
    holder.leave()
    assert sorted(call.result() for call in calls) == [False] * 5 + [True]
    assert resource.log == ["interrupted", "released"]


def test_the_losers_wait_for_the_release_too(proxy):
    releasing, go_on = threading.Event(), threading.Event()

    def release(_):
        releasing.set()
        assert go_on.wait(20)

    provider = Provider(Resource(), release=release)
    winner = Call(provider.revoke)
    assert releasing.wait(20)
    loser = Call(provider.revoke).assert_waits()
    assert provider.state == "draining"
    go_on.set()
    assert (winner.result(), loser.result()) == (True, False)


def test_a_storm_of_threads_tasks_and_drops_releases_once():
    for _ in range(100):
        resource = Resource()
        provider = Provider(resource, release=Resource.release)
        proxy = provider.proxy()
        start = threading.Barrier(6)

        def reader(proxy=proxy, start=start):
            start.wait(20)
            while (found := proxy.try_access()).resource is not None:
                with found as inside:
                    inside.use()

        def revoker(how, start=start):
            start.wait(20)
            return how()

        readers = [Call(reader) for _ in range(2)]
        calls = [
            Call(revoker, how)
            for how in (provider.revoke, provider.revoke, provider.revoke_soon, lambda p=provider: p.revoke(10))
        ]
        results = [call.result() for call in calls]
        for call in readers:
            call.result()
        assert sum(result is True for result in results) <= 1  # the helper of revoke_soon() may have been the one
        assert results[2].wait(20)
        assert resource.log.count("released") == 1


def test_a_second_revoke_is_harmless_and_false(provider, resource):
    assert provider.revoke() is True
    assert provider.revoke() is False
    assert provider.revoke(timeout=0) is False
    assert resource.log == ["interrupted", "released"]


def test_the_release_comes_after_the_last_reader_and_before_the_return(provider, proxy, resource):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    resource.log.append("the reader leaves")
    holder.leave()
    removal.result()
    assert resource.log == ["interrupted", "the reader leaves", "released"]


def test_a_release_that_raises_is_heard_by_the_one_who_ran_it_and_not_run_again():
    def release(_):
        calls.append(1)
        raise OSError("the line is stuck")

    calls: list[int] = []
    provider = Provider(Resource(), release=release)
    with pytest.raises(OSError, match="the line is stuck"):
        provider.revoke()
    assert provider.state == "revoked"
    assert provider.revoke() is False
    assert calls == [1]


def test_a_release_that_raises_in_nobodys_name_is_logged(caplog):
    def release(_):
        raise OSError("the line is stuck")

    provider = Provider(Resource(), release=release, name="stuck")
    provider.revoke_soon()
    until(lambda: "'stuck': release failed" in caplog.text)
    assert provider.state == "revoked"
    assert "the line is stuck" in caplog.text


def test_a_release_that_revokes_again_is_told_so_instead_of_waiting_for_itself():
    caught = []

    def release(_):
        with pytest.raises(RevokeDeadlock) as error:
            provider.revoke()
        caught.append(str(error.value))

    provider = Provider(Resource(), release=release, name="line")
    assert provider.revoke() is True
    assert "this very thread is running its release" in caught[0]


def test_leaving_the_with_of_a_provider_revokes_it(resource):
    with Provider(resource, release=Resource.release) as provider:
        assert provider.state == "live"
    assert provider.state == "revoked"
    assert resource.log == ["released"]
    with pytest.raises(KeyError), Provider(Resource(), release=Resource.release) as provider:
        raise KeyError
    assert provider.state == "revoked"
