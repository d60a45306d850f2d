"""S1, grant: while the provider is live an access returns a section that holds the resource."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import ExitStack
from itertools import combinations

import pytest

from ref_proxy import Section
from ref_proxy.srcu import Domain
from tests.support import Call, Holder


def test_an_access_returns_a_section_that_holds_the_resource(provider, proxy, resource):
    section = proxy.access()
    assert isinstance(section, Section)
    assert section.resource is resource
    section.end()
    with proxy.access() as inside:
        assert inside is resource
    with proxy.try_access() as inside:
        assert inside is resource


def test_any_number_of_sections_is_open_on_one_proxy_and_on_many(provider, resource):
    shared = provider.proxy()
    sections = [proxy.access() for proxy in [shared] * 50 + [provider.proxy() for _ in range(50)]]
    assert all(section.resource is resource for section in sections)
    assert len(provider.blockers()) == 100
    for section in sections:
        section.end()
    assert provider.blockers() == []


def test_sections_nest_and_overlap(provider, proxy, resource):
    with proxy.access() as outer, proxy.access() as inner:
        assert outer is inner is resource
        assert len(provider.blockers()) == 2
    first, second = proxy.access(), proxy.access()
    first.end()
    assert second.resource is resource
    second.end()
    assert provider.blockers() == []


def test_many_threads_share_one_proxy_and_the_same_instant(provider, proxy, resource):
    together = threading.Barrier(8)

    def hold():
        with proxy.access() as inside:
            together.wait(20)  # all eight are inside
            return inside

    assert all(call.result() is resource for call in [Call(hold) for _ in range(8)])


def test_a_section_sleeps_and_crosses_an_await(provider, proxy, resource):
    async def task(mine: asyncio.Event, other: asyncio.Event):
        with proxy.access() as inside:
            mine.set()
            await other.wait()
            return inside

    async def main():
        one, two = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(task(one, two), task(two, one))

    assert asyncio.run(main()) == [resource, resource]
    assert provider.blockers() == []


def test_a_section_is_ended_in_another_thread_than_it_began_in(provider, proxy, resource):
    section = proxy.access()
    Call(section.end).result()
    assert provider.blockers() == []
    holder = Holder(proxy)
    assert holder.seen == [resource]
    holder.leave()
    assert provider.revoke() is True


def test_a_section_is_entered_again_while_it_is_open(proxy, resource):
    section = proxy.access()
    assert section.__enter__() is resource
    assert section.__enter__() is resource
    section.end()


def test_a_section_is_entered_and_left_by_hand(provider, proxy, resource):
    # As `with` does it, as contextlib does it, and with what was bound before.
    section = proxy.access()
    enter, leave = section.__enter__, section.__exit__
    assert enter() is resource and leave(None, None, None) is None
    section = proxy.access()
    assert type(section).__enter__(section) is resource
    assert type(section).__exit__(section, None, None, None) is None
    with ExitStack() as stack:
        assert stack.enter_context(proxy.access()) is resource
        stack.push(proxy.access())
        assert len(provider.blockers()) == 2
    assert provider.blockers() == []
    with pytest.raises(ValueError, match="has ended"):
        enter()


def test_an_access_is_granted_whatever_is_published_in_the_middle_of_it():
    domain = Domain()

    def read(moments):
        passed = 0

        def trace(frame, event, arg):
            nonlocal passed
            if event == "line":
                if passed in moments:
                    domain.start_poll()  # publishes, and waits for nobody
                passed += 1
            return trace

        sys.settrace(trace)
        try:
            section = domain.read()
        finally:
            sys.settrace(None)
        section.end()

    for moments in combinations(range(40), 2):
        read(moments)
