"""S5: a refused access holds nothing and owes nothing."""

from __future__ import annotations

import gc
import weakref

import pytest

from ref_proxy import Provider, Revoked
from tests.support import Resource


def test_a_refused_section_has_no_resource_and_nothing_to_end(provider, proxy):
    provider.revoke()
    section = proxy.try_access()
    assert section.resource is None
    section.detach()
    section.end()
    section.end()
    assert section.resource is None
    assert "refused" in repr(section)


def test_the_body_runs_with_none(provider, proxy):
    provider.revoke()
    ran = []
    with proxy.try_access() as resource:
        ran.append(resource)
    assert ran == [None]


def test_it_is_dropped_without_a_warning(provider, proxy, recwarn):
    provider.revoke()
    for _ in range(10):
        proxy.try_access()
        with pytest.raises(Revoked):
            proxy.access()
    gc.collect()
    assert not recwarn.list


def test_it_keeps_no_removal_waiting_and_nothing_alive():
    resource = Resource()
    alive = weakref.ref(resource)
    provider = Provider(resource)
    proxy = provider.proxy()
    provider.revoke()
    refused = proxy.try_access()
    del resource
    gc.collect()
    assert alive() is None
    assert provider.revoke() is False
    assert refused.resource is None
