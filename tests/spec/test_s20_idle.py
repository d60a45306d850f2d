"""S20: no thread, no timer, no polling while nothing is being removed; an idle proxy costs a removal nothing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import tracemalloc

from ref_proxy import Provider, _backend
from ref_proxy.srcu import Domain
from tests.support import Call, Holder, Resource, until


def test_using_it_starts_no_thread_and_loads_no_loop():
    program = """
import sys, threading, _thread
before = _thread._count()
from ref_proxy import Provider
from ref_proxy.srcu import Domain
provider = Provider([1], name="line")
proxies = [provider.proxy() for _ in range(100)]
for proxy in proxies:
    with proxy.access():
        pass
provider.replace([2])
provider.revoke()
domain = Domain()
with domain.read():
    pass
domain.synchronize()
assert _thread._count() == before == 0, _thread._count()
loaded = {"asyncio", "sched", "selectors", "signal", "logging", "concurrent.futures", "trio"} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n" + program],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr


def test_a_removal_lists_none_of_the_sections_of_others():
    def peak(count):
        provider = Provider(Resource())
        proxy = provider.proxy()
        sections = [proxy.access() for _ in range(count)]

        def look():
            tracemalloc.start()
            try:
                provider._removal._refuse_deadlock()
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        found = Call(look).result()
        for section in sections:
            section.end()
        provider.revoke()
        return found

    peak(10)
    few, many = peak(10), peak(10_010)
    assert (many - few) / 10_000 < 16, (few, many)  # bytes: the Python twin copies a reference to each


def test_a_removal_reads_no_proxy():
    # What a removal looks at is the cell's open sections: with a hundred thousand idle proxies it executes the same steps.
    def steps(proxies):
        provider = Provider(Resource())
        kept = [provider.proxy() for _ in range(proxies)]
        for proxy in kept[:10]:
            proxy.access().end()
        count = 0

        def trace(*_):
            nonlocal count
            count += 1
            return trace

        gc.disable()  # what others have left to be collected is no step of this
        sys.settrace(trace)
        try:
            provider.revoke()
        finally:
            sys.settrace(None)
            gc.enable()
        return count

    assert steps(0) == steps(10) == steps(100_000)


def test_a_waiting_removal_sleeps_until_the_last_section_rings(provider, proxy, monkeypatch):
    looks = []
    looked = type(provider._removal)._stirred
    monkeypatch.setattr(type(provider._removal), "_stirred", lambda self: looks.append(1) or looked(self))
    sections = [proxy.access() for _ in range(100)]
    for section in sections:
        section.detach()
    removal = Call(provider.revoke).assert_waits()
    before = len(looks)
    for section in sections[:-1]:
        section.end()
    removal.assert_waits()
    assert len(looks) == before  # ends of sections that are not the last one wake nobody
    sections[-1].end()
    assert removal.result() is True
    assert before < len(looks) <= before + 2


def test_only_a_removal_with_nobody_waiting_has_a_thread_and_only_at_its_end(resource):
    provider = Provider(resource, release=Resource.release)
    holder = Holder(provider.proxy())
    threads = threading.active_count()
    frames = len(sys._current_frames())
    removal = provider.revoke_soon()
    assert threading.active_count() == threads
    assert len(sys._current_frames()) == frames
    holder.leave()
    until(lambda: removal.done)


def test_a_removal_without_hooks_needs_no_thread_at_all():
    provider = Provider(Resource())
    section = provider.proxy().access()
    removal = provider.revoke_soon()
    section.end()
    assert removal.done  # at once: there was nothing to run


def test_an_idle_provider_keeps_no_waiters(provider):
    assert provider._removal._bell._ropes == {}
    holder = Holder(provider.proxy())
    Call(provider.revoke).assert_waits()
    assert len(provider._removal._bell._ropes) == 1
    holder.leave()
    until(lambda: provider._removal._bell._ropes == {})


def test_sizes():
    provider = Provider(Resource(), name="line")
    assert sys.getsizeof(provider.proxy()) <= 80
    if _backend.BACKEND == "c":
        removal, bell = provider._removal, provider._removal._bell
        parts = (provider, provider._cell, removal, removal._claims, bell, bell._ropes)
        assert sum(map(sys.getsizeof, parts)) + 32 <= 600  # 32: the publication, which is no object
    provider.revoke()


def test_retired_publications_are_forgotten(provider, proxy):
    before = sys.getsizeof(provider._cell)
    for i in range(1000):
        provider.replace(Resource(str(i)))
    assert sys.getsizeof(provider._cell) == before
    domain = Domain()
    for _ in range(1000):
        domain.synchronize()
