"""S3, drain: revoke() returns only after every section that was open at the denial has ended, and waits for those alone."""

from __future__ import annotations

import pytest

from ref_proxy import Provider, RevokeTimeout
from tests.support import Call, Holder, Resource


def test_it_waits_for_each_section_that_was_open(provider, resource):
    holders = [Holder(provider.proxy(f"reader {i}")) for i in range(5)]
    removal = Call(provider.revoke).assert_waits()
    for holder in holders:
        removal.assert_waits()
        assert "released" not in resource.log
        holder.leave()
    assert removal.result() is True
    assert resource.log == ["interrupted", "released"]


def test_it_waits_for_nested_sections_to_the_last(provider, proxy):
    outer, inner = proxy.access(), proxy.access()
    outer.detach()
    inner.detach()
    removal = Call(provider.revoke).assert_waits()
    outer.end()
    removal.assert_waits()
    inner.end()
    assert removal.result() is True


def test_it_waits_for_a_section_whose_proxy_is_gone_or_closed(provider):
    proxy = provider.proxy()
    holder = Holder(proxy)
    proxy.close()
    del proxy
    removal = Call(provider.revoke).assert_waits()
    holder.leave()
    assert removal.result() is True


def test_it_does_not_wait_for_the_sections_of_another_provider(provider, proxy):
    other = Provider(Resource("other"))
    with other.proxy().access():
        assert provider.revoke() is True
    other.revoke()


def test_it_does_not_wait_for_refused_accesses(provider, proxy):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()
    refused = [proxy.try_access() for _ in range(10)]
    holder.leave()
    assert removal.result() is True
    assert all(section.resource is None for section in refused)


def test_it_waits_for_the_sections_of_a_resource_that_was_replaced_before(provider, proxy):
    old = Holder(proxy)
    with pytest.raises(RevokeTimeout):
        provider.replace(Resource("new"), timeout=0)
    removal = Call(provider.revoke).assert_waits()
    assert [blocker.proxy for blocker in provider.blockers()] == ["reader"]
    old.leave()
    assert removal.result() is True


def test_ten_thousand_sections(provider, proxy):
    sections = [proxy.access() for _ in range(10_000)]
    removal = provider.revoke_soon()
    for section in sections[:-1]:
        section.end()
    assert not removal.done
    sections[-1].end()
    assert removal.wait(20)
