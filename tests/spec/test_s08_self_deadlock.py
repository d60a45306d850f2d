"""S8: a removal that would wait for a section of its own thread raises RevokeDeadlock before it changes anything."""

from __future__ import annotations

import pytest

from ref_proxy import RevokeDeadlock, RevokeTimeout
from tests.support import Call, Resource


def test_revoke_inside_ones_own_section(provider, proxy, resource):
    with proxy.access(), pytest.raises(RevokeDeadlock, match=r"'line' cannot be removed in here: .*section of proxy 'reader'"):
        provider.revoke()
    assert provider.state == "live"
    assert resource.log == []
    with proxy.access() as inside:
        assert inside is resource
    assert provider.revoke() is True


@pytest.mark.parametrize("timeout", [0, 10, None])
def test_also_with_a_timeout(provider, proxy, timeout):
    with proxy.access(), pytest.raises(RevokeDeadlock):
        provider.revoke(timeout=timeout)
    assert provider.state == "live"


def test_replace_inside_ones_own_section(provider, proxy, resource):
    with proxy.access() as inside, pytest.raises(RevokeDeadlock):
        provider.replace(Resource("new"))
    assert inside is resource
    with proxy.access() as inside:
        assert inside is resource  # nothing was published


def test_carrying_on_and_waiting_are_refused_too(provider, proxy):
    with proxy.access():
        pending = provider.revoke_soon()  # it waits for nobody, so it may
        with pytest.raises(RevokeDeadlock):
            provider.revoke()
        with pytest.raises(RevokeDeadlock):
            pending.wait()
    assert pending.wait(20)


def test_a_detached_section_is_waited_for_like_any_other(provider, proxy):
    section = proxy.access()
    section.detach()
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)
    other = Call(section.end)
    assert provider.revoke() is True
    other.result()


def test_another_thread_may_revoke(provider, proxy):
    with proxy.access():
        removal = Call(provider.revoke).assert_waits()
    assert removal.result() is True


def test_a_section_handed_over_unsaid_is_still_its_openers(provider, proxy):
    section = Call(proxy.access).result()  # opened by a thread that has ended
    with pytest.raises(RevokeTimeout) as caught:
        provider.revoke(timeout=0)  # not this thread's own: no deadlock, though nobody may ever end it
    assert caught.value.blockers[0].thread == "(ended)"
    section.end()


def test_a_new_thread_does_not_inherit_the_sections_of_an_old_one_with_its_number(provider, proxy):
    left = [Call(proxy.access).result() for _ in range(20)]  # thread numbers are soon used again
    with pytest.raises(RevokeTimeout):
        Call(provider.revoke, timeout=0).result()
    for section in left:
        section.end()


def test_sections_of_an_older_resource_do_not_stand_in_the_way_of_a_replace(provider, proxy):
    section = proxy.access()
    section.detach()
    with pytest.raises(RevokeTimeout):
        provider.replace(Resource("second"), timeout=0)
    assert provider.replace(Resource("third"), timeout=0).name == "second"
    section.end()
