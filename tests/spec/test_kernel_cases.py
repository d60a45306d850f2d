"""What the kernel series tested in KUnit and kselftest: the intent, not the text."""

from __future__ import annotations

import threading

import pytest

from ref_proxy import Provider, Revoked
from tests.support import Call, Holder, Resource


def test_basic_get_and_put(provider, resource):
    proxy = provider.proxy()  # ref_proxy_alloc
    section = proxy.try_access()  # ref_proxy_get
    assert section.resource is resource
    section.end()  # ref_proxy_put
    proxy.close()  # ref_proxy_free
    provider.revoke()  # ref_proxy_provider_free


def test_revocation_between_two_gets(provider, proxy, resource):
    section = proxy.try_access()
    assert section.resource is resource
    section.end()
    provider.revoke()
    assert proxy.try_access().resource is None


def test_the_macro_form_runs_its_body_and_ends_the_section(provider, proxy, resource):
    with proxy.try_access() as ref:
        assert ref is resource
        assert len(provider.blockers()) == 1
    assert provider.blockers() == []


def test_the_macro_form_runs_its_body_with_none_once_revoked(provider, proxy):
    provider.revoke()
    bodies = []
    with proxy.try_access() as ref:
        bodies.append(ref)
    assert bodies == [None]


def test_the_raising_form_does_not_run_its_body_once_revoked(provider, proxy):
    provider.revoke()
    with pytest.raises(Revoked), proxy.access():
        pytest.fail("the body ran")


@pytest.mark.parametrize("leave", ["return", "break", "exception"])
def test_leaving_the_macro_form_early_ends_the_section(provider, proxy, leave):
    def body():
        while True:
            with proxy.try_access() as ref:
                assert ref is not None
                if leave == "return":
                    return
                if leave == "break":
                    break
                raise LookupError

    if leave == "exception":
        with pytest.raises(LookupError):
            body()
    else:
        body()
    assert provider.blockers() == []
    assert provider.revoke(timeout=0) is True


def test_a_handle_made_after_the_removal_is_refused(provider):
    provider.revoke()
    late = provider.proxy("late")
    assert late.revoked
    assert late.try_access().resource is None


def test_concurrent_access(provider):
    one, two = provider.proxy("consumer 1"), provider.proxy("consumer 2")
    first = Holder(one)  # consumer 1 is inside
    removal = Call(provider.revoke).assert_waits()  # the removal blocks
    entered, leave = threading.Event(), threading.Event()

    def second():
        with two.try_access() as ref:  # consumer 2 enters meanwhile, and gets None
            entered.set()
            assert leave.wait(20)
            return ref

    consumer = Call(second)
    assert entered.wait(20)
    removal.assert_waits()
    first.leave()  # consumer 1 ends: consumer 2, who was refused, is not waited for
    assert removal.result() is True
    leave.set()
    assert consumer.result() is None


def test_many_consumers_over_many_providers():
    for _ in range(20):
        providers = [Provider(Resource(str(i)), release=Resource.release) for i in range(10)]
        proxies = [(p, p.proxy()) for p in providers for _ in range(5)]
        for _, proxy in proxies:
            with proxy.access() as inside:
                inside.use()
        for provider in providers:
            assert provider.revoke() is True
        assert all(proxy.revoked for _, proxy in proxies)
