"""A lease: accesses are refused from a moment on by the clock alone, unless it is renewed before anybody was refused."""

from __future__ import annotations

import signal
import sys
import threading
from itertools import pairwise
from typing import Any

import pytest

from ref_proxy import BACKEND, Provider, Revoked, _backend, guarded
from ref_proxy.clock import boottime
from tests import PATIENCE, building
from tests.spec.barred import changed, named, stopped_and_continued, ways_through
from tests.support import Call, Holder, Resource

LONG, SHORT = 3600 * 10**9, 5 * 10**8  # nanoseconds
REFUSED = "was refused: the resource is revoked; drop this proxy and get one from the next provider"


def future() -> int:
    return boottime() + LONG


def past() -> int:
    return boottime() - 1


def over(provider: Any) -> None:
    """Give it a lease that is over, before it has a proxy."""
    assert provider._cell.lease(past()) is True


# While it runs it changes nothing; over, nothing comes through


def test_while_it_runs_everything_is_granted(provider, resource):
    assert provider._cell.lease(future()) is True
    proxy = provider.proxy()
    with proxy.access() as lent:
        assert lent is resource
        assert len(provider.blockers()) == 1
    assert guarded(proxy).use() == "resource"
    assert (provider.state, proxy.revoked) == ("live", False)
    assert provider.replace(Resource("new")) is resource


def test_when_it_is_over_every_access_is_refused_and_whoever_asks_is_told(provider, resource):
    over(provider)
    proxy = provider.proxy("reader")
    with pytest.raises(Revoked, match=f"^.Errno 19. proxy 'reader' of 'line' {REFUSED}$"):
        proxy.access()
    assert proxy.try_access().resource is None
    with pytest.raises(Revoked, match="'line' is revoked: nothing can be published any more"):
        provider.replace(Resource("new"))
    assert (proxy.revoked, provider._cell.live, provider.state, provider.blockers()) == (True, False, "draining", [])
    assert repr(provider._cell) == "<ref_proxy._core.Cell 'line', denied>"
    assert resource.log == []


def granted_too_late(twin: Any) -> int:
    """How many accesses are granted that have begun after the end, by one that is tried again and again until it is refused."""
    until, late = boottime() + 20_000_000, 0
    cell = twin.Cell("resource", "line", int)
    cell.lease(until)
    proxy = twin.Proxy(cell)
    while True:
        begun = boottime()
        with proxy.try_access() as resource:
            if resource is None:
                return late
        late += begun >= until


def test_it_ends_by_the_clock_and_nobody_has_to_do_anything():
    assert [granted_too_late(_backend) for _ in range(5)] == [0] * 5


def test_open_sections_go_on_and_are_drained(provider, resource):
    provider._cell.lease(boottime() + SHORT)
    proxy = provider.proxy()
    holder = Holder(proxy)
    while not proxy.revoked:
        pass
    removal = Call(provider.revoke).assert_waits()
    assert resource.log == ["interrupted"]
    holder.leave()
    assert removal.result() is True
    assert resource.log == ["interrupted", "released"]


def test_without_a_removal_nothing_is_released_and_with_one_once(provider, resource):
    over(provider)
    provider.proxy().try_access().end()
    assert not provider._removal.done
    assert resource.log == []
    assert [provider.revoke(), provider.revoke()] == [True, False]
    assert resource.log == ["interrupted", "released"]


def test_a_gate_and_a_lease_bar_each_for_itself():
    for closed in (False, True):
        gate, provider = bytearray(1), Provider("resource")
        provider._cell.watch(gate)
        provider._cell.lease(future() if closed else past())
        gate[0] = closed
        assert provider.proxy().try_access().resource is None
        provider.revoke()


# Renewal


def test_it_is_put_off_by_a_later_moment_and_not_by_an_earlier_one(provider, proxy):
    cell, until = provider._cell, future()
    assert [cell.lease(until), cell.lease(past()), cell.lease(until), cell.lease(until + LONG), cell.lease(until)] == [True] * 5
    proxy.access().end()


def test_one_that_is_over_can_be_renewed_before_anybody_was_refused(provider):
    over(provider)
    assert provider._cell.lease(future()) is True
    provider.proxy().access().end()


@pytest.mark.parametrize(
    "look",
    [
        lambda provider, proxy: proxy.try_access().end(),
        lambda provider, proxy: proxy.revoked,
        lambda provider, proxy: provider.state,
        lambda provider, proxy: provider._cell.publish("new"),
    ],
    ids=["an access", "revoked", "state", "publish"],
)
def test_once_anybody_was_told_that_it_is_over_it_is_for_good(provider, look):
    over(provider)
    proxy = provider.proxy()
    look(provider, proxy)
    assert [provider._cell.lease(future()), provider._cell.lease(past())] == [False, False]
    assert proxy.revoked
    with pytest.raises(Revoked):
        proxy.access()


def test_under_a_storm_of_renewals_nobody_is_granted_after_anybody_was_refused():
    for _ in range(20):
        provider = Provider("resource")
        cell = provider._cell
        cell.lease(boottime() + 8_000_000)
        proxy = provider.proxy()
        refused = threading.Event()
        wrong: list[str] = []

        def read(proxy: Any = proxy, refused: Any = refused, wrong: list[str] = wrong) -> None:
            while True:
                late = refused.is_set()
                section = proxy.try_access()
                granted = section.resource is not None
                section.end()
                if granted and late:
                    wrong.append("granted after a refusal")
                if not granted:
                    refused.set()
                    return

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        renewals = []
        while not refused.is_set():
            renewals.append(cell.lease(boottime() + 5_000_000))
        renewals += [cell.lease(boottime() + 5_000_000), cell.lease(future())]
        for reader in readers:
            reader.join(PATIENCE)
        assert wrong == []
        assert renewals[-2:] == [False, False]
        assert all(earlier or not later for earlier, later in pairwise(renewals)), "renewed after it was over"
        provider.revoke()


# What it is given


class Number:
    def __index__(self) -> int:
        return future()


def test_any_whole_number_will_do(provider, proxy):
    assert provider._cell.lease(Number())
    assert provider._cell.lease((1 << 63) - 1)
    proxy.access().end()


@pytest.mark.parametrize("until", [0, -1, 1 << 63, -(1 << 63), 1 << 80])
def test_a_moment_that_cannot_be_is_refused_and_leaves_it_without_a_lease(provider, proxy, until):
    complaint = r"^the lease of 'line' must end at a moment of the clock that counts from boot, above 0 and below 2\*\*63, not "
    with pytest.raises(ValueError, match=f"{complaint}{until}$"):
        provider._cell.lease(until)
    proxy.access().end()
    assert provider.state == "live"


@pytest.mark.parametrize("arguments", [(), (1, 2), ("1",), (1.0,), (None,)])
def test_wrong_calls_are_refused(provider, arguments):
    with pytest.raises(TypeError):
        provider._cell.lease(*arguments)


def test_the_first_nanosecond_is_over(provider):
    assert provider._cell.lease(1)
    assert provider.proxy().revoked


# That the tests above would notice


def leased(cell: Any) -> Any:
    cell.lease(past())
    return int


# What is left out, and what comes through then.
FAULTS = {
    "c": [
        (" || lease_is_over(cell);", ";", "everything"),
        ("    self->slow = true;\n    unlock", "    unlock", ["access", "guarded call", "try_access"]),
        ("if (left > 0)", "if (true)", "everything"),
    ],
    "py": [
        (" or (self._lease is not None and self._lease_is_over())", "", "everything"),
        (
            "self._lease = fresh\n            self._slow = True\n",
            "self._lease = fresh\n",
            ["access", "guarded call", "try_access"],
        ),
        ("if boottime() < last.until:", "if True:", "everything"),
    ],
}


@pytest.mark.skipif(BACKEND == "c" and not building.compiler(), reason="there is no C compiler")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("old", "new", "through"), FAULTS[BACKEND])
def test_each_look_that_is_left_out_is_noticed(old, new, through, tmp_path):
    assert ways_through(changed(old, new, tmp_path), leased) == named(through)


@pytest.mark.skipif(BACKEND == "c" and not building.compiler(), reason="there is no C compiler")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_that_ends_without_being_ended_for_all_is_noticed(tmp_path):
    old, new = {
        "c": ("if (swap_if(&cell->until, until, LAPSED))", "if (true)"),
        "py": ('if last.next.setdefault("", None) is None:', "if True:"),
    }[BACKEND]
    for twin, renewed in ((_backend, False), (changed(old, new, tmp_path), True)):
        cell = twin.Cell("resource", "line", int)
        cell.lease(past())
        assert not cell.live
        assert cell.lease(future()) is renewed


@pytest.mark.skipif(BACKEND == "py", reason="the Python twin reads the clock each time")
@pytest.mark.skipif(sys.platform != "linux" or not building.compiler(), reason="needs Linux's coarse clock, and a C compiler")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_that_runs_to_the_end_of_the_tick_is_noticed(tmp_path):
    twin = changed("if (left > CLOSE)", "if (true)", tmp_path)
    assert any(granted_too_late(twin) for _ in range(20))


def test_no_way_leads_past_its_end():
    assert ways_through(_backend, leased) == []


# A process that is stopped meanwhile

WORKER = """
import os
from ref_proxy import Provider
from ref_proxy.clock import boottime

leave, said, lease = map(int, sys.argv[1:])
provider = Provider("resource", name="line")
if lease:
    provider._cell.lease(boottime() + lease)
proxy = provider.proxy("worker")
with proxy.access() as resource:
    os.write(said, b"inside\\n")
    os.read(leave, 1)  # stopped in here, and continued
os.write(said, b"granted\\n" if proxy.try_access().resource else b"refused\\n")
provider.revoke()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("lease", "found"), [(SHORT, "refused"), (LONG, "granted"), (0, "granted")])
def test_a_process_that_was_stopped_for_longer_is_refused_without_a_thread_that_looks(lease, found):
    def wait() -> None:
        stopped = boottime()
        while boottime() < stopped + min(lease, SHORT):  # there is nothing but the clock that would tell
            pass

    assert stopped_and_continued(WORKER, wait, (), lease) == [found]
