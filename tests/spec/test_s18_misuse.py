"""S18: misuse is loud, says which object, who, and what to do, and leaves a defined state."""

from __future__ import annotations

import copy
import gc
import math
import pickle

import pytest

from ref_proxy import Provider, Proxy, Section
from ref_proxy.srcu import Domain
from tests.support import Call, Resource


def test_none_is_no_resource(provider):
    with pytest.raises(TypeError, match="the resource of a Provider cannot be None"):
        Provider(None)
    with pytest.raises(TypeError, match=r"cannot be None: revoke\(\) removes it"):
        provider.replace(None)
    assert provider.state == "live"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"release": 1}, "release must be callable with the resource, or None, not int"),
        ({"interrupt": "x"}, "interrupt must be callable with the resource, or None, not str"),
        ({"name": 1}, "the name of a Provider must be a str or None, not int"),
    ],
)
def test_wrong_types_at_construction(kwargs, message, recwarn):
    with pytest.raises(TypeError, match=message):
        Provider(Resource(), **kwargs)
    gc.collect()
    assert not recwarn.list  # half a provider is dropped in silence


def test_wrong_types_for_a_proxy(provider):
    with pytest.raises(TypeError, match="the name of a proxy must be a str or None, not int"):
        provider.proxy(1)
    with pytest.raises(TypeError, match=r"a proxy is made by provider\.proxy\(\), not from a list"):
        Proxy([])
    with pytest.raises(TypeError, match=r"cannot create 'ref_proxy\.Section' instances"):
        Section()


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), (-0.001, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_a_bad_timeout_is_refused_before_anything_changes(provider, proxy, resource, timeout, error):
    removal = Provider(Resource()).revoke_soon()
    for call in (
        provider.revoke,
        lambda timeout: provider.replace(Resource(), timeout=timeout),
        removal.wait,
        Domain().synchronize,
    ):
        with pytest.raises(error, match="a timeout"):
            call(timeout=timeout)
    assert provider.state == "live"
    assert resource.log == []
    with proxy.access() as inside:
        assert inside is resource


def test_a_closed_proxy(provider, proxy, resource):
    section = proxy.access()
    proxy.close()
    proxy.close()
    for access in (proxy.access, proxy.try_access):
        with pytest.raises(ValueError, match="proxy 'reader' of 'line' is closed: get another one from the provider"):
            access()
    assert section.resource is resource  # what was begun goes on
    section.end()
    with provider.proxy().access() as inside:
        assert inside is resource
    assert proxy.revoked is False
    provider.revoke()
    assert proxy.revoked is True
    with pytest.raises(ValueError, match="is closed"):  # misuse stays misuse
        proxy.access()


def test_a_section_dropped_while_open_is_ended_and_warns(provider, proxy):
    with pytest.warns(
        ResourceWarning, match=r"the section of proxy 'reader' of 'line', opened by thread \d+, was dropped while open"
    ):
        proxy.access()
        gc.collect()
    assert provider.blockers() == []
    section = proxy.access()
    with pytest.warns(ResourceWarning):
        Call(lambda box: box.clear(), [section]).result()
        del section
        gc.collect()
    assert provider.revoke(timeout=5) is True


def test_a_section_used_after_its_end(proxy):
    section = proxy.access()
    section.end()
    section.end()
    message = "the section of proxy 'reader' of 'line' has ended: the resource may be used only inside it"
    for use in (lambda: section.resource, section.__enter__, section.detach):
        with pytest.raises(ValueError, match=message):
            use()
    with pytest.raises(ValueError, match=message), section:
        pytest.fail("the body ran")


def test_a_section_used_after_another_thread_has_ended_it(provider, proxy):
    section, entered = proxy.access(), proxy.access()
    entered.__enter__()
    for ended in (section, entered):
        Call(ended.end).result()
        for use in (ended.__enter__, lambda: ended.resource, ended.detach):  # noqa: B023
            with pytest.raises(ValueError, match="has ended"):
                use()
    assert provider.revoke() is True


def test_a_section_dropped_after_its_end_or_its_with_is_silent(proxy, recwarn):
    with proxy.access():
        pass
    proxy.access().end()
    gc.collect()
    assert not recwarn.list


def test_copies_and_pickles_are_refused(provider, proxy, resource):
    removal = Provider(resource).revoke_soon()
    section = proxy.access()
    for handle in (provider, proxy, section, removal):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot copy or pickle <ref_proxy"):
                attempt(handle)
    assert section.resource is resource
    section.end()


def test_handles_cannot_be_subclassed():
    for handle in (Proxy, Section):
        with pytest.raises(TypeError, match=f"type 'ref_proxy.{handle.__name__}' is not an acceptable base type"):
            type("Mine", (handle,), {})


def test_what_things_are_called(provider, proxy):
    section = proxy.access()
    assert repr(provider) == "<ref_proxy.Provider 'line', live>"
    assert repr(proxy) == "<ref_proxy.Proxy 'reader' of 'line', live>"
    assert repr(section) == "<ref_proxy.Section of proxy 'reader' of 'line', open>"
    section.detach()
    removal = provider.revoke_soon()
    assert repr(provider) == "<ref_proxy.Provider 'line', draining>"
    assert repr(removal) == "<ref_proxy.Revocation of 'line', waiting>"
    section.end()
    assert removal.wait(20)
    assert repr(provider) == "<ref_proxy.Provider 'line', revoked>"
    assert repr(removal) == "<ref_proxy.Revocation of 'line', done>"
    assert repr(section) == "<ref_proxy.Section of proxy 'reader' of 'line', ended>"
    assert repr(proxy) == "<ref_proxy.Proxy 'reader' of 'line', revoked>"
    proxy.close()
    assert repr(proxy) == "<ref_proxy.Proxy 'reader' of 'line', closed>"
    unnamed = provider.proxy()
    assert unnamed.name is None
    assert repr(unnamed) == "<ref_proxy.Proxy of 'line', revoked>"
    with Provider([]) as nameless:
        assert nameless.name.startswith("list-")


def test_names_cannot_be_changed(provider, proxy):
    with pytest.raises(AttributeError):
        provider.name = "other"
    with pytest.raises(AttributeError):
        proxy.nickname = "other"


def test_a_wrong_call_of_exit(proxy):
    section = proxy.access()
    for wrong in ((None,), (None, None), (None,) * 4):
        with pytest.raises(TypeError):
            section.__exit__(*wrong)
    with pytest.raises(TypeError):
        type(section).__exit__(section)
    section.end()


def test_a_section_is_not_called(proxy):
    # Up to 3.13 the C twin's can be, but only as `with` does it.
    section = proxy.access()
    for wrong in ((1,), (None, None), (None,) * 4):
        with pytest.raises(TypeError):
            section(*wrong)
    with pytest.raises(TypeError):
        section(resource=None)
    section.end()
