"""The wrapper, before and after: closed by one thread while another one reads, and all that its users may rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from meter import Meter, _meter

from ref_proxy import Provider, Revoked, RevokeDeadlock, RevokeTimeout

# Closed in the midst of a read, in a process of its own: it may be killed.
CLOSED_WHILE_READING = """
import os, sys, threading
from {module} import Meter

def read():
    try:
        print("read", meter.read())
    except OSError as error:
        print(type(error).__name__)

meter = Meter()
reader = threading.Thread(target=read)
reader.start()
while meter.readers == 0:
    os.sched_yield()
meter.close()
reader.join()
"""


def closed_while_reading(module: str) -> subprocess.CompletedProcess[str]:
    program = CLOSED_WHILE_READING.format(module=module)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def meter():
    before = _meter.handles()
    with Meter("ttyM0") as meter:
        yield meter
    assert _meter.handles() == before


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


def reading(meter, pool, count=1):
    """Calls of `read()` that have come to wait."""
    calls = [pool.submit(meter.read) for _ in range(count)]
    while meter.readers < count:
        os.sched_yield()
    return calls


def test_before_it_used_a_handle_that_was_closed():
    done = closed_while_reading("meter._before")
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, "meter: a handle was used after meter_close()\n")


def test_now_the_reader_comes_back_first():
    done = closed_while_reading("meter")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Revoked\n", "")


def test_it_reads(meter, pool):
    [call] = reading(meter, pool)
    meter.feed(1.5)
    assert call.result() == 1.5


def test_close_brings_all_readers_back_and_then_closes_the_handle(meter, pool):
    calls = reading(meter, pool, 4)
    meter.close(timeout=60)
    for call in calls:
        with pytest.raises(Revoked, match="'ttyM0' was refused: the resource is revoked"):
            call.result()
    assert meter.readers == 0
    for use in (meter.read, lambda: meter.feed(1.0)):
        with pytest.raises(Revoked):
            use()
    meter.close()


def test_several_threads_may_close_it(meter, pool):
    handles = _meter.handles()
    reading(meter, pool)
    for call in [pool.submit(meter.close) for _ in range(4)]:
        call.result()
    assert _meter.handles() == handles - 1


def test_it_is_reopened_under_its_readers(meter, pool):
    handles = _meter.handles()
    calls = reading(meter, pool, 2)
    meter.reopen()
    assert _meter.handles() == handles
    for value in (1.0, 2.0):
        meter.feed(value)
        while not any(call.done() for call in calls):
            os.sched_yield()
        [done] = [call for call in calls if call.done()]
        calls.remove(done)
        assert done.result() == value


def test_who_is_reading_can_be_seen(pool):
    provider = Provider(_meter.Handle(), release=_meter.Handle.close, name="ttyM0")  # without an interrupt
    reader = _meter.Reader(provider.proxy("reader"))
    call = pool.submit(reader.read)
    while reader.readers() == 0:
        os.sched_yield()
    with pytest.raises(RevokeTimeout) as late:
        provider.revoke(timeout=0)
    [blocker] = late.value.blockers
    assert blocker.proxy == "reader"
    assert blocker.ident != threading.get_ident()
    late.value.pending.resource.cancel()
    with pytest.raises(Revoked):
        call.result()
    assert provider.revoke() is True


def test_closing_it_in_ones_own_section_is_an_error_and_no_hang(meter):
    proxy = meter._provider.proxy()
    with proxy.access(), pytest.raises(RevokeDeadlock):
        meter.close()


def test_a_reader_is_made_from_a_proxy_of_a_handle(meter):
    with pytest.raises(TypeError, match="a Reader needs a Proxy of a Handle, not a Meter"):
        _meter.Reader(meter)
    with Provider("no handle") as other, pytest.raises(TypeError, match="not of a str"):
        _meter.Reader(other.proxy()).read()
