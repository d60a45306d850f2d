"""`srcu.Domain`: grace periods for structures of one's own."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest

from ref_proxy import RevokeDeadlock, RevokeTimeout
from ref_proxy.srcu import Domain
from tests.support import Call, until


@pytest.fixture
def domain():
    return Domain("routes")


class Reader:
    def __init__(self, domain):
        self._inside, self._leave = threading.Event(), threading.Event()
        self.call = Call(self._read, domain)
        assert self._inside.wait(20)

    def _read(self, domain):
        with domain.read() as nothing:
            assert nothing is None
            self._inside.set()
            assert self._leave.wait(20)

    def leave(self):
        self._leave.set()
        self.call.result()


def test_synchronize_waits_for_those_that_began_before_and_for_those_alone(domain):
    domain.synchronize()
    old = Reader(domain)
    waiter = Call(domain.synchronize).assert_waits()
    new = Reader(domain)
    old.leave()
    waiter.result()
    new.leave()


def test_synchronizers_wait_for_all_that_began_before_each(domain):
    first = Reader(domain)
    one = Call(domain.synchronize).assert_waits()
    second = Reader(domain)
    two = Call(domain.synchronize).assert_waits()
    second.leave()
    two.assert_waits()  # the first reader began before it as well
    first.leave()
    one.result()
    two.result()


def test_a_section_has_no_resource(domain):
    section = domain.read()
    assert section.resource is None
    section.end()
    with pytest.raises(ValueError, match="has ended"):
        _ = section.resource


def test_synchronize_inside_is_refused_and_times_out_with_the_blockers(domain):
    with domain.read():
        with pytest.raises(RevokeDeadlock, match="domain 'routes'"):
            domain.synchronize()
        with pytest.raises(RevokeTimeout, match="domain 'routes': still waiting") as caught:
            Call(domain.synchronize, timeout=0).result()
    assert [blocker.provider for blocker in caught.value.blockers] == ["routes"]


def test_polling(domain):
    cookie = domain.start_poll()
    assert domain.poll(cookie)
    section = domain.read()
    assert domain.poll(cookie)
    later = domain.start_poll()
    assert not domain.poll(later)
    section.end()
    assert domain.poll(later)


def test_calls_run_after_their_grace_period_in_order_and_elsewhere(domain):
    ran: list[object] = []
    reader = Reader(domain)
    for i in range(5):
        domain.call(ran.append, i)
    domain.call(lambda: ran.append(threading.get_ident()))
    assert ran == []
    reader.leave()
    domain.barrier()
    assert ran[:5] == [0, 1, 2, 3, 4]
    assert ran[5] != threading.get_ident()


def test_barrier_waits_for_callbacks_that_wait_for_readers(domain):
    reader = Reader(domain)
    ran: list[int] = []
    domain.call(ran.append, 1)
    with domain.read():
        with pytest.raises(RevokeDeadlock, match="barrier"):
            domain.barrier()
    barrier = Call(domain.barrier)
    until(lambda: len(domain._callbacks) == 2)
    assert not barrier.returned
    reader.leave()
    barrier.result()
    assert ran == [1]


def test_a_callback_may_call_but_not_wait_for_itself(domain):
    caught: list[BaseException] = []

    def callback():
        domain.call(ran.append, 2)
        try:
            domain.barrier()
        except RevokeDeadlock as error:
            caught.append(error)

    ran: list[int] = []
    domain.call(callback)
    until(lambda: ran)
    assert len(caught) == 1


def test_a_callback_that_fails_is_logged_and_stops_nothing(domain, caplog):
    ran: list[int] = []
    domain.call(lambda: 1 / 0)
    domain.call(ran.append, 1)
    domain.barrier()
    assert ran == [1]
    assert "domain 'routes': a callback failed" in caplog.text


def test_calls_from_many_threads_all_run(domain):
    ran: list[int] = []

    def call():
        for i in range(200):
            with domain.read():
                domain.call(ran.append, i)

    calls = [Call(call) for _ in range(4)]
    for call_ in calls:
        call_.result()
    domain.barrier()
    assert len(ran) == 800


def test_publishing_a_structure_of_ones_own(domain):
    class Routes:
        table: ClassVar[dict[str, int]] = {"a": 1}

    torn: list[dict[str, int]] = []

    def read():
        for _ in range(2000):
            with domain.read():
                table = Routes.table
                if "dead" in table:
                    torn.append(table)

    readers = [Call(read) for _ in range(2)]
    while any(not reader.returned for reader in readers):
        old, Routes.table = Routes.table, {"a": 1}
        domain.synchronize(timeout=20)
        old["dead"] = 1
    assert torn == []


def test_what_it_is_called(domain):
    assert repr(domain) == "<ref_proxy.srcu.Domain 'routes'>"
    assert domain.name == "routes"
