"""S19, visible: who blocks a removal can be read at any time, and a removal that stalls says so by itself."""

from __future__ import annotations

import _thread
import asyncio
import gc
import io
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import ref_proxy
from ref_proxy import Device, Provider, Revocation, aio, alarm
from ref_proxy.srcu import Domain
from tests.support import Call, Holder, Resource, until


@pytest.fixture
def reports(caplog):
    """What the removals have said so far."""
    caplog.set_level(logging.WARNING, "ref_proxy")
    return lambda: [record.getMessage() for record in caplog.records if "has been waiting" in record.getMessage()]


# blockers()


def test_a_blocker_is_a_frozen_record_of_who_where_and_since_when(provider, proxy):
    holder = Holder(proxy)
    [before] = provider.blockers()
    assert (before.provider, before.proxy, before.ident, before.waiting) == ("line", "reader", holder.call.ident, None)
    assert (before.thread, before.task, before.detached, before.began) == (holder.call.name, None, False, None)
    assert "_hold" in [frame.name for frame in before.stack]
    assert before.stack[-1].name in {"wait", "__enter__", "acquire"}  # innermost last
    with pytest.raises(AttributeError):
        before.proxy = "another"
    provider.revoke_soon()
    [during] = provider.blockers()
    assert 0 <= during.waiting < 20
    assert str(during).startswith(f"proxy 'reader' of 'line' in thread {holder.call.name!r}, waited for since 0.")
    holder.leave()
    assert provider.blockers() == []


def test_it_costs_the_sections_nothing(provider, proxy):
    # No Python code runs in an access, an end or a record of the C twin; of either twin nothing of tasks and stacks.
    def called():
        seen = set()
        sys.setprofile(lambda frame, event, _: seen.add(frame.f_code.co_filename) if event == "call" else None)
        try:
            proxy.access().end()
        finally:
            sys.setprofile(None)
        return {os.path.basename(name) for name in seen} - {os.path.basename(__file__)}

    assert called() <= (set() if ref_proxy.BACKEND == "c" else {"_core_py.py"})


def test_it_leaves_no_cycle_that_keeps_the_provider():
    provider = Provider("r", name="line")
    section = provider.proxy().access()
    assert provider.blockers()
    section.end()
    gone = weakref.ref(provider)
    gc.disable()
    try:
        provider.revoke()
        del provider
        assert gone() is None
    finally:
        gc.enable()


def test_a_section_that_its_thread_left_open_says_that_the_thread_is_gone(provider, proxy):
    section = Call(proxy.access).result()
    until(lambda: provider.blockers()[0].thread == "(ended)")
    assert list(provider.blockers()[0].stack) == []
    section.end()


def test_tasks_in_many_loops_are_told_apart(provider, proxy):
    ready, leave = threading.Barrier(4), threading.Event()

    async def consumer(gate):
        with proxy.access():
            await gate.wait()

    async def main(number):
        gate = asyncio.Event()
        tasks = [asyncio.create_task(consumer(gate), name=f"consumer {number}.{i}") for i in range(2)]
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait, 20)
        await asyncio.to_thread(leave.wait, 20)
        gate.set()
        await asyncio.gather(*tasks)

    loops = [Call(asyncio.run, main(number)) for number in range(3)]
    ready.wait(20)
    found = provider.blockers()
    assert {each.task for each in found} == {f"consumer {number}.{i}" for number in range(3) for i in range(2)}
    assert {each.ident for each in found} == {loop.ident for loop in loops}
    assert all([frame.name for frame in each.stack] == ["consumer", "wait"] for each in found)
    leave.set()
    for loop in loops:
        loop.result()


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_a_task_that_is_just_being_made_is_passed_by(provider, proxy, kind):
    # As another thread may find it. 3.11 and 3.12 crash when a task in C is asked for a coroutine that it does not have yet.
    cls = asyncio.Task if kind == "asyncio" else pytest.importorskip("trio").lowlevel.Task
    half_made = cls.__new__(cls)

    async def main():
        with proxy.access():
            await asyncio.sleep(0)
            return await asyncio.to_thread(provider.blockers)

    [blocker] = asyncio.run(main())
    assert "main" in [frame.name for frame in blocker.stack]
    del half_made


def test_a_body_that_is_cancelled_and_does_not_come_out_is_named_by_its_task(provider, proxy):
    async def stubborn():
        async with aio.cancelling(proxy):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await leave.wait()

    async def main():
        global leave
        leave = asyncio.Event()
        task = asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)
        provider.revoke_soon()
        while not task.cancelling():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [each.task for each in provider.blockers()] == ["stubborn"]
        leave.set()
        await task

    asyncio.run(main())


# stall reports


def test_a_blocking_removal_that_stalls_logs_who_is_inside_and_again_after_growing_intervals(resource, reports):
    provider = Provider(resource, release=Resource.release, name="line", stall_after=0.01)
    holder = Holder(provider.proxy("reader"))
    call = Call(provider.revoke)
    until(lambda: len(reports()) >= 3)
    assert not call.returned
    holder.leave()
    assert call.result() is True
    first, *_ = reports()
    assert first.startswith("'line': the removal has been waiting for ")
    assert f"still inside: proxy 'reader' of 'line' in thread {holder.call.name!r}" in first
    assert "in _hold" in first  # with its stack
    waited = [float(report.split("waiting for ")[1].split(" s")[0]) for report in reports()]
    assert waited == sorted(waited)


def test_the_intervals_double():
    provider = Provider("r", stall_after=10)
    removal = provider._removal
    removal._since = 100.0  # long ago: each report is overdue
    due = []
    for _ in range(4):
        due.append(removal._next_look(None))
        removal._report_stall()
    assert due == [110, 130, 170, 250]
    assert removal._next_look(deadline=120) == 120
    provider.revoke()


@pytest.mark.parametrize("how", ["revoke_soon", "dropped", "arevoke", "replace", "device"])
def test_every_kind_of_removal_says_that_it_stalls(resource, reports, how):
    device = Device("hub")
    providers = [
        device.provide(resource, name="line", stall_after=0.01)
        if how == "device"
        else Provider(resource, name="line", stall_after=0.01)
    ]
    holder = Holder(providers[0].proxy())
    calls = []
    if how == "revoke_soon":
        providers[0].revoke_soon()
    elif how == "dropped":
        with pytest.warns(ResourceWarning):
            providers.clear()
            gc.collect()
    elif how == "arevoke":
        calls.append(Call(lambda: asyncio.run(providers[0].arevoke())))
    elif how == "replace":
        calls.append(Call(providers[0].replace, Resource("new")))
    else:
        calls.append(Call(device.remove))
    until(lambda: len(reports()) >= 2)
    holder.leave()
    for call in calls:
        call.result()
    until(lambda: not alarm._due)  # and nothing goes on
    if how == "replace":
        providers[0].revoke()
    device.remove()


def test_many_that_wait_for_the_same_say_it_once(resource, reports):
    provider = Provider(resource, stall_after=0.05)
    holder = Holder(provider.proxy())
    began = time.monotonic()
    calls = [Call(provider.revoke) for _ in range(8)]
    until(lambda: len(reports()) >= 2)
    holder.leave()
    for call in calls:
        call.result()
    due = math.log2((time.monotonic() - began) / 0.05 + 1)  # they are after 1, 3, 7 ... times 0.05 s
    assert 2 <= len(reports()) <= due


def test_one_that_stalls_earlier_is_reported_earlier_though_it_came_later(reports):
    patient, hasty = Provider("patient", name="patient", stall_after=3600), Provider("hasty", name="hasty", stall_after=0.01)
    holders = [Holder(provider.proxy()) for provider in (patient, hasty)]
    patient.revoke_soon()
    until(lambda: alarm._until)  # the thread sleeps, for an hour
    hasty.revoke_soon()
    until(reports)
    assert reports()[0].startswith("'hasty'")
    for holder in holders:
        holder.leave()
    until(lambda: not alarm._due)


def test_none_never_reports_and_a_wrong_time_is_refused(resource, reports):
    provider = Provider(resource, stall_after=None)
    holder = Holder(provider.proxy())
    provider.revoke_soon()
    assert provider._removal._next_look(None) is None
    assert not alarm._due
    holder.leave()
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError):
            Provider(resource, stall_after=wrong)
    with pytest.raises(TypeError):
        Provider(resource, stall_after="10")


def test_a_removal_that_nobody_waits_for_needs_no_thread_once_it_is_over(resource):
    until(lambda: not alarm._runner)
    before = _thread._count()
    provider = Provider(resource, release=Resource.release, stall_after=3600)
    holder = Holder(provider.proxy())
    removal = provider.revoke_soon()
    assert alarm._due
    holder.leave()
    assert removal.wait(timeout=20)
    until(lambda: not alarm._due and _thread._count() == before)


# dump()


def test_dump_prints_all_providers_and_sections(provider, proxy):
    other = Provider("other", name="other")
    holders = [Holder(proxy), Holder(other.proxy())]
    other.revoke_soon()
    domain = Domain("routes")
    section = domain.read()
    section.detach()
    out = io.StringIO()
    ref_proxy.dump(out)
    text = out.getvalue()
    assert f"ref_proxy in process {os.getpid()}, twin {ref_proxy.BACKEND!r}:\n" in text
    assert f"provider 'line', live, 1 section open\n  proxy 'reader' of 'line' in thread {holders[0].call.name!r}\n" in text
    assert "provider 'other', draining, 1 section open\n  a proxy of 'other' in thread" in text
    assert "waited for since" in text and "in _hold" in text
    assert "domain 'routes', 1 section open\n" in text
    section.end()
    for holder in holders:
        holder.leave()
    other.revoke()
    out = io.StringIO()
    ref_proxy.dump(out)
    assert "'other'" not in out.getvalue()
    assert "provider 'line', live, 0 sections open\n" in out.getvalue()


def test_dump_passes_by_what_is_being_made(provider):
    half_made = [object.__new__(Revocation), object.__new__(Domain)]
    out = io.StringIO()
    ref_proxy.dump(out)
    assert "provider 'line', live" in out.getvalue()
    del half_made


def test_dump_works_in_a_signal_handler_also_in_the_midst_of_a_write(provider, proxy, capfd):
    class Interrupted(io.TextIOBase):
        """As a buffered file does that is written to by the thread which the signal interrupted."""

        def write(self, _):
            raise RuntimeError("reentrant call inside")

        def fileno(self):
            return 2

    old = signal.signal(signal.SIGALRM, lambda *_: ref_proxy.dump(Interrupted()))
    try:
        with proxy.access():
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert "provider 'line', live, 1 section open" in capfd.readouterr().err


# REF_PROXY_DEBUG


@pytest.mark.parametrize("debug", ["1", "0"])
def test_debugging_also_records_where_providers_were_made_and_sections_began(debug):
    program = """
        import sys
        from ref_proxy import Provider, dump
        from ref_proxy.srcu import Domain
        provider = Provider(["r"], name="line")
        proxy = provider.proxy()
        def opens_it():
            return proxy.access()
        def opens_another():
            return proxy.try_access()
        for _ in range(100):
            opens_another().end()
        section, another = opens_it(), opens_another()
        one, two = provider.blockers()
        print(one.began and [frame.name for frame in one.began], two.began and [frame.name for frame in two.began])
        dump(sys.stdout)
        section.end(), another.end()
        provider.revoke()
    """
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n" + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "REF_PROXY_DEBUG": debug},
    )
    assert (done.returncode, done.stderr) == (0, "")
    if debug == "1":
        assert "['<module>', 'opens_it'] ['<module>', 'opens_another']" in done.stdout
        assert "began at\n" in done.stdout and ", 2 sections open, made at <string>:" in done.stdout
    else:
        assert "None None" in done.stdout
        assert "began at" not in done.stdout and "made at" not in done.stdout
