"""S13: an access may be made from a signal handler, a `__del__` or a weakref callback that interrupts another one."""

from __future__ import annotations

import gc
import signal
import sys
import weakref

import pytest

from ref_proxy import BACKEND, Provider
from ref_proxy.srcu import Domain
from ref_proxy.waiting import Bell
from tests.support import Call, Holder, Resource, struck_while_waiting, until

needs_signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")


@pytest.fixture
def every_instant():
    """A signal handler that makes an access, again and again, wherever the main thread happens to be."""

    def start(handler, interval=0.00005):
        def on_signal(*_):
            handler()
            if not over:  # the next one only now: on a busy machine they would pile up
                signal.setitimer(signal.ITIMER_REAL, interval)

        signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, interval)

    over: list[bool] = []
    old = signal.getsignal(signal.SIGALRM)
    yield start
    over.append(True)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


@needs_signals
def test_from_a_signal_handler_that_interrupts_accesses_and_removals(every_instant):
    current: list[tuple] = []
    counts = [0, 0]

    def handler():
        if current:
            with current[0].try_access() as inside:
                counts[inside is None] += 1
                if inside is not None:
                    inside.use()

    every_instant(handler)
    rounds = 0
    while rounds < 2000 or not all(counts):
        resource = Resource()
        provider = Provider(resource, release=Resource.release, interrupt=Resource.interrupt)
        current[:] = [provider.proxy()]
        for _ in range(3):
            with current[0].access() as inside:
                inside.use()
        if rounds % 2:
            provider.replace(Resource())
        assert provider.revoke(timeout=20) is True
        rounds += 1
    signal.setitimer(signal.ITIMER_REAL, 0)


@needs_signals
def test_a_section_ended_by_a_signal_handler_that_interrupts_the_waiting_revoke(provider, proxy):
    # The very thread that waits ends the last section.
    section = proxy.access()
    section.detach()
    with struck_while_waiting(section.end):
        assert provider.revoke(timeout=20) is True


@needs_signals
def test_a_revoke_from_a_signal_handler_that_interrupts_the_waiting_revoke(provider, proxy, resource):
    holder = Holder(proxy)
    results = []

    def handler():
        holder.leave()
        results.append(provider.revoke())

    with struck_while_waiting(handler):
        results.append(provider.revoke(timeout=20))
    assert sorted(results) == [False, True]
    assert resource.log.count("released") == 1


def test_the_first_access_of_a_thread_is_interrupted_by_another_one_wherever_python_runs(provider, proxy):
    def first(moment, opened):
        """True where it was interrupted: in its `moment`th instruction that is Python's."""
        passed = 0

        def trace(frame, event, arg):
            nonlocal passed
            frame.f_trace_opcodes = True
            if event == "opcode":
                if passed == moment:
                    sys.settrace(None)
                    opened.append(proxy.access())
                passed += 1
            return None if opened else trace

        sys.settrace(trace)
        try:
            opened.append(proxy.access())
        finally:
            sys.settrace(None)
        assert [own for _, _, own, _, _ in provider._cell.sections(1, 1)] == [True] * len(opened)
        for section in opened:
            section.end()
        return len(opened) == 2

    moment = 0
    gc.disable()  # else finalisers count as instructions; on 3.11 they may run in the midst of one
    try:
        while Call(first, moment, []).result():
            moment += 1
    finally:
        gc.enable()
    assert provider.revoke() is True
    assert moment > 0 or BACKEND == "c"


def test_from_a_finaliser_and_a_weakref_callback(provider, proxy, resource):
    seen = []

    class Dropped:
        def __del__(self):
            with proxy.access() as inside:
                seen.append(inside)

    def callback(_):
        with proxy.access() as inside:
            seen.append(inside)

    with proxy.access():
        dropped = Dropped()
        watch = weakref.ref(dropped, callback)
        del dropped
        gc.collect()
    assert seen == [resource, resource]
    assert watch() is None


def test_from_finalisers_run_by_the_collector_in_the_midst_of_accesses(provider, proxy):
    seen = []

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            with proxy.try_access() as inside:
                seen.append(inside)

    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(300):
            Cycle()
            sections = [proxy.access() for _ in range(5)]
            for section in sections:
                section.end()
    finally:
        gc.set_threshold(*old)
    gc.collect()
    assert len(seen) == 300
    assert provider.blockers() == []


def test_a_finaliser_that_ends_the_last_section_wakes_the_waiting_revoke(provider, proxy):
    class Keeper:
        def __init__(self):
            self.section = proxy.access()
            self.section.detach()
            self.me = self

        def __del__(self):
            self.section.end()

    Keeper()
    removal = Call(provider.revoke).assert_waits()
    gc.collect()
    assert removal.result() is True


@needs_signals
def test_domains_too(every_instant):
    domain = Domain()

    def handler():
        with domain.read():
            domain.call(ran.append, 1)
        handled.append(1)

    handled: list[int] = []
    ran: list[int] = []
    every_instant(handler, 0.001)
    for _ in range(500):
        with domain.read():
            pass
        domain.synchronize(timeout=20)
    until(lambda: handled)
    signal.setitimer(signal.ITIMER_REAL, 0)
    called = len(handled)
    domain.barrier()
    assert len(ran) >= called


def test_a_finaliser_that_begins_to_wait_in_the_midst_of_a_ring_keeps_nobody_asleep():
    # On 3.11 the collector may run wherever something is made: also between two of those that are woken.
    class Waiter:
        def __init__(self):
            self.itself = self

        def __del__(self):
            bell.hang(int)

    bell, woken = Bell(), []
    kept = [(i, i) for i in range(5000)]  # no tuple is in store any more
    for _ in kept:
        bell.hang(lambda: woken.append(1))
    old = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        Waiter()
        gc.set_threshold(1000)  # reached in the midst of it
        gc.enable()
        bell.ring()
    finally:
        gc.set_threshold(*old)
        gc.enable()
    assert len(woken) == len(kept)
