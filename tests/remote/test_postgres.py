"""Between hosts: a PostgreSQL server, and what becomes of all that is held when sessions, hosts and servers go."""

from __future__ import annotations

import itertools
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ref_proxy import Revoked, RevokeTimeout, remote
from tests import PATIENCE
from tests.support import Call, in_child, one_twin, struck_while_waiting, until

from .broken_off import BrokenOff
from .conformance import Conformance
from .hosts import OtherHost
from .puppet import Died
from .server import Lacking, PostgresServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

pytest.importorskip("psycopg", reason="needs psycopg, and libpq", exc_type=ImportError)

import psycopg

from ref_proxy.clock import boottime
from ref_proxy.remote import sql
from ref_proxy.remote.libpq import Lost, Talk
from ref_proxy.remote.session import Session
from ref_proxy.remote.vigil import Vigil

pytestmark = one_twin
LEASE = 1.5  # seconds
FOREVER = 600  # seconds of a lease that is not to be what ends a test
OURS = "select count(*) from pg_stat_activity where application_name like 'ref_proxy%%' or state like 'idle in%%'"
LOCKS = "select count(*) from pg_locks where locktype = 'advisory'"
WAITING = f"{LOCKS} and not granted"
TERMINATE = "select pg_terminate_backend(session) from ref_proxy.holder where pid = %s"


@pytest.fixture
def other_host() -> Iterator[OtherHost]:
    try:
        host = OtherHost()
    except Lacking as lacking:
        pytest.skip(f"needs {lacking}")
    yield host
    host.remove()


@pytest.fixture(autouse=True)
def nothing_left_there(server: PostgresServer, nothing_left: object) -> Iterator[None]:
    """At the end the server has no session and no lock of ours."""
    yield
    until(lambda: server.rows(OURS) == [(0,)] and server.rows(LOCKS) == [(0,)])


@pytest.fixture
def address(server: PostgresServer, name: str) -> str:
    return f"{server.uri(lease=LEASE)}#{name}"


@pytest.fixture
def patient_address(server: PostgresServer, name: str) -> str:
    return f"{server.uri(lease=FOREVER)}#{name}"


def opened(info: Any) -> list[Any]:
    return [info]


class TestConformance(Conformance):
    pass


class TestBrokenOff(BrokenOff):
    pass


# ---- None slips in between ----


@pytest.mark.parametrize("entered", [False, True], ids=["found", "has entered"])
def test_a_registration_that_meets_a_removal_at_any_step_is_refused_or_recalled(
    entered: bool, server: PostgresServer, patient_address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = remote.announce(patient_address, ["owned"])
    there, go_on = threading.Event(), threading.Event()
    execute = Session.execute

    def held_up(session: Session, text: str, *values: Any) -> Any:
        if text != sql.ENTER:
            return execute(session, text, *values)
        rows = execute(session, text, *values) if entered else None
        there.set()
        assert go_on.wait(PATIENCE)
        return execute(session, text, *values) if rows is None else rows

    monkeypatch.setattr(Session, "execute", held_up)
    address = f"{server.uri(lease=FOREVER, application_name='worker')}#{name}"
    released = threading.Event()
    attaching = Call(lambda: remote.attach(address, open=opened, release=lambda _: released.set()))
    assert there.wait(PATIENCE)
    removal = Call(shared.revoke)
    until(lambda: server.rows("select state from ref_proxy.announced where epoch = %s", shared.epoch) != [("live",)])
    if entered:
        until(lambda: server.rows(WAITING) == [(1,)])
        assert not removal.returned, "the worker has the lock"
    go_on.set()
    if entered:
        handle = attaching.result()
        assert released.wait(PATIENCE)
        assert handle.reason == "the owner has revoked it"
    else:
        with pytest.raises(remote.NotAnnounced):
            attaching.result()
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)


@pytest.mark.parametrize("how", ["revoked", "replaced"])
def test_a_removal_waits_for_a_registration_that_the_server_has_begun(
    how: str, server: PostgresServer, patient_address: str, name: str, slow_server: Callable[[str], Any]
) -> None:
    shared = remote.announce(patient_address, ["owned"], info={"is": "first"})
    epoch, released = shared.epoch, list[Any]()
    address = f"{server.uri(lease=FOREVER, application_name='worker')}#{name}"
    with slow_server("before insert") as begun:
        attaching = Call(lambda: remote.attach(address, open=opened, release=released.append))
        until(begun)
        removal = Call(shared.revoke if how == "revoked" else lambda: shared.replace(["other"], info={"is": "second"}))
        until(lambda: server.rows("select count(*) from pg_stat_activity where wait_event = 'transactionid'") == [(1,)])
        assert not removal.returned, "the row of the name is the registration's until it is over"
        assert server.rows("select state from ref_proxy.announced where epoch = %s", epoch) == [("live",)]
    removal.result()
    handle = attaching.result()
    if how == "replaced":
        until(lambda: handle.info == {"is": "second"})
        assert shared.revoke(timeout=PATIENCE).state == "drained"
    until(lambda: handle.state == "revoked")
    assert released[0] == [{"is": "first"}], "it was let in, and then told"


def test_the_lock_of_who_acknowledges_is_free_when_its_row_is_gone_and_not_before(
    server: PostgresServer, patient_address: str, puppets: Any, slow_server: Callable[[str], Any]
) -> None:
    shared = remote.announce(patient_address, ["owned"])
    puppets().ask("attach", address=patient_address)
    with slow_server("after delete") as begun:
        removal = Call(shared.revoke, timeout=PATIENCE)
        until(begun)
        until(lambda: server.rows(WAITING + " and objid <> 1") == [(1,)])
    assert removal.result().state == "drained", "a row that is seen with no lock is that of one who is lost"


@pytest.fixture
def slow_server(server: PostgresServer) -> Callable[[str], Any]:
    """In the body the server is held up in the middle of what is done to a holder's row. It gives whether it has come to that."""

    @contextmanager
    def slowly(when: str) -> Iterator[Callable[[], bool]]:
        with psycopg.connect(server.uri(), autocommit=True) as gate:
            gate.execute("select pg_advisory_lock(1)")
            gate.execute(
                "create function pg_temp.hold_up() returns trigger language plpgsql as "
                "$$begin perform pg_advisory_xact_lock(1); return new; end$$"
            )
            gate.execute(f"create trigger slow {when} on ref_proxy.holder for each row execute function pg_temp.hold_up()")
            try:
                yield lambda: server.rows(WAITING + " and objid = 1") == [(1,)]
            finally:
                gate.execute("select pg_advisory_unlock(1)")
                gate.execute("drop trigger slow on ref_proxy.holder")

    return slowly


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_is_killed_at_any_statement_is_dead_though_a_copy_of_it_has_its_connection(
    when: str, patient_address: str, puppets: Any
) -> None:
    for number in itertools.count(1):
        shared, worker, died = remote.announce(patient_address, ["owned"]), puppets(f"{when} statement {number}"), False
        try:
            worker.ask("attach", address=patient_address)
        except Died:
            died = True
        assert shared.revoke(timeout=PATIENCE).state == "drained", number
        try:
            if not died:
                worker.ask("gone")
        except Died:
            died = True
        if not died:
            break
    assert number > 5, "it was killed at many"


def test_an_attachment_that_fails_halfway_holds_nothing(
    server: PostgresServer, patient_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, other = remote.announce(patient_address, ["owned"]), remote.announce(patient_address + "-2", ["other"])
    with remote.attach(patient_address + "-2", open=opened):  # so the session goes on
        with monkeypatch.context() as patched:
            patched.setattr(Session, "execute", failing(Session.execute, sql.ENTER))
            with pytest.raises(Failed):
                remote.attach(patient_address, open=opened)
        assert shared.revoke(timeout=PATIENCE).state == "drained"
    other.revoke()


@pytest.mark.parametrize("statement", [sql.ANNOUNCE, sql.TIDY])
def test_an_announcement_that_fails_halfway_leaves_the_name_to_others(
    statement: str, patient_address: str, puppets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote.announce(patient_address + "-2", ["other"]):  # so the session goes on
        with monkeypatch.context() as patched:
            patched.setattr(Session, "execute", failing(Session.execute, statement))
            with pytest.raises(Failed):
                remote.announce(patient_address, ["owned"])
        heir = puppets()
        assert heir.ask("announce", address=patient_address)
        heir.ask("revoke")


class Failed(Exception):
    """What no statement raises."""


def failing(execute: Callable[..., Any], statement: str) -> Callable[..., Any]:
    """This statement fails for a reason of its own."""

    def run(session: Session, text: str, *values: Any) -> Any:
        if text == statement:
            raise Failed(text)
        return execute(session, text, *values)

    return run


# ---- A session that is lost ----


def test_a_worker_whose_session_ends_denies_and_can_attach_again(server: PostgresServer, address: str, puppets: Any) -> None:
    with remote.announce(address, ["owned"]) as shared:
        worker = puppets()
        worker.ask("attach", address=address)
        server.rows(TERMINATE, worker.pid)
        assert "terminating connection" in worker.ask("gone")["reason"]
        assert worker.ask("access") is None
        assert worker.ask("attach", address=address)["epoch"] == shared.epoch
        assert worker.ask("access") is not None
        until(lambda: [holder.state for holder in shared.holders()] == ["attached"])


def test_a_worker_whose_session_has_ended_acknowledges_late(server: PostgresServer, patient_address: str, puppets: Any) -> None:
    shared = remote.announce(patient_address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=patient_address)
    worker.ask("enter")
    server.rows(TERMINATE, worker.pid)
    until(lambda: worker.ask("access") is None)
    removal = Call(shared.revoke)
    until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
    assert not removal.returned
    worker.ask("leave")
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)


def test_one_that_is_lost_and_then_dies_is_dead(server: PostgresServer, patient_address: str, puppets: Any) -> None:
    shared = remote.announce(patient_address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=patient_address)
    worker.ask("enter")
    server.rows(TERMINATE, worker.pid)
    removal = Call(shared.revoke)
    until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
    worker.kill()
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)


def test_one_that_is_lost_and_stays_alive_is_waited_for_as_long_as_its_lease(
    server: PostgresServer, address: str, puppets: Any
) -> None:
    shared = remote.announce(address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    began = time.monotonic()
    server.rows(TERMINATE, worker.pid)
    outcome = shared.revoke()
    assert time.monotonic() - began >= LEASE
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "lost")]
    assert outcome.state == "fenced"
    worker.ask("leave")


def aged(server: PostgresServer) -> None:
    """All that is known of holders was noted more than a week ago."""
    [[columns]] = server.rows(
        "select string_agg(format('%%1$I = %%1$I - interval $$8 days$$', column_name), ', ') "
        "from information_schema.columns where table_schema = 'ref_proxy' and table_name = 'holder' and data_type like 'timest%%'"
    )
    server.rows(f"update ref_proxy.holder set {columns}")


def test_who_was_attached_for_weeks_is_not_forgotten_when_its_session_is_lost(
    server: PostgresServer, address: str, puppets: Any
) -> None:
    shared = remote.announce(address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    aged(server)
    server.rows(TERMINATE, worker.pid)
    until(lambda: worker.ask("access") is None)
    for _ in range(2):
        with remote.announce(address + "-2", ["what is left over is tidied up"]):
            aged(server)
    outcome = shared.revoke()
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "lost")]
    worker.ask("leave")


def test_what_a_dead_owner_has_left_behind_is_gone_a_week_after_it_was_noticed(
    server: PostgresServer, patient_address: str, puppets: Any
) -> None:
    owner, worker = puppets(), puppets()
    epoch = owner.ask("announce", address=patient_address)
    worker.ask("attach", address=patient_address)
    owner.kill()
    worker.kill()
    until(lambda: server.rows(OURS) == [(0,)])

    def left() -> int:
        with remote.announce(patient_address + "-2", ["what is left over is tidied up"]):
            return len(server.rows("select id from ref_proxy.holder where epoch = %s", epoch))

    assert [left(), left()] == [1, 1]
    aged(server)
    assert left() == 0


def test_a_server_that_does_not_answer_costs_the_lease_and_no_more(server: PostgresServer, address: str, puppets: Any) -> None:
    with remote.announce(address, ["owned"]) as shared:
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("spin")
        [[backend]] = server.rows("select session from ref_proxy.holder where pid = %s", worker.pid)
        os.kill(backend, signal.SIGSTOP)
        try:
            assert worker.ask("spun_out") > 0
            assert "lease has run out" in worker.ask("gone")["reason"]
        finally:
            os.kill(backend, signal.SIGCONT)
        assert shared.revoke().state == "drained"


def test_an_owner_whose_session_ends_denies_and_its_workers_do(server: PostgresServer, address: str, puppets: Any) -> None:
    released: list[Any] = []
    shared = remote.announce(address, ["owned"], release=released.append)
    worker, heir = puppets(), puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    server.rows("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'")
    until(lambda: shared.state == "draining")
    until(lambda: worker.ask("access") is None)
    assert heir.ask("announce", address=address) > shared.epoch
    removal = Call(shared.revoke)
    until(lambda: [holder.pid for holder in shared.holders()] == [worker.pid])
    assert not removal.returned and not released, "the one that it has told of is inside"
    worker.ask("leave")
    assert removal.result().state == "drained"
    assert worker.ask("attach", address=address), "what the heir announces was left alone"
    heir.ask("revoke")


def test_who_takes_a_dead_owners_name_has_its_workers_told_at_once(patient_address: str, puppets: Any) -> None:
    owner, worker = puppets(), puppets()
    owner.ask("announce", address=patient_address)
    worker.ask("attach", address=patient_address)
    owner.kill()
    with remote.announce(patient_address, ["owned"]):
        assert str(owner.pid) in worker.ask("gone")["reason"]


def test_who_follows_an_owner_that_has_just_died_is_not_refused_for_what_the_server_has_not_noticed_yet(
    server: PostgresServer, address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    execute = Session.execute
    with psycopg.connect(server.uri(), autocommit=True) as before:
        assert before.execute("select pg_try_advisory_lock(%s)", [sql.key("name", name)]).fetchone() == (True,)

        def executed(session: Session, text: str, *values: Any) -> Any:
            rows = execute(session, text, *values)
            if text == sql.WHO_OWNS:
                before.close()
            return rows

        monkeypatch.setattr(Session, "execute", executed)
        remote.announce(address, ["owned"]).revoke()


def test_the_end_of_the_owners_program_tells_its_workers_at_once(patient_address: str, puppets: Any) -> None:
    program = f"from ref_proxy import remote; shared = remote.announce({patient_address!r}, ['x']); input()"
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    worker = puppets()
    worker.ask("attach", address=patient_address, patience=PATIENCE)
    owner.communicate(b"\n", PATIENCE)
    assert worker.ask("gone")["reason"], "which it would not know of for a long time otherwise"


def test_the_end_of_a_workers_program_is_an_acknowledgement(server: PostgresServer, patient_address: str) -> None:
    with remote.announce(patient_address, ["owned"]) as shared:
        program = f"from ref_proxy import remote; handle = remote.attach({patient_address!r}, open=lambda info: [info])"
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE, capture_output=True)
        assert time.monotonic() - began < 5, "it was waited for in vain"
        assert server.rows("select count(*) from ref_proxy.holder where epoch = %s", shared.epoch) == [(0,)]


# ---- A lease ends by itself ----


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """The threads of the sessions with that application name do not run: they sleep, and do not wake up."""
    go_on, pause = threading.Event(), Talk.pause

    def paused(talk: Talk, *how: Any) -> None:
        if f"application_name={name}" in talk._dsn.conninfo:
            assert go_on.wait(PATIENCE)
        pause(talk, *how)

    with monkeypatch.context() as patched:
        patched.setattr(Talk, "pause", paused)
        try:
            yield
        finally:
            go_on.set()


def last_granted(proxy: Any) -> int:
    """When the last access began that was granted, in `boottime()`: it is tried until it is refused."""
    last = 0
    while True:
        begun = boottime()
        with proxy.try_access() as resource:
            if resource is None:
                return last
        last = begun


def test_a_holder_is_refused_from_the_end_of_its_lease_on_though_its_session_does_not_run(
    server: PostgresServer, patient_address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remote.announce(patient_address, ["owned"]) as shared:
        released = threading.Event()
        with held_up(monkeypatch, "stuck"):
            address = f"{server.uri(lease=LEASE, application_name='stuck')}#{name}"
            handle = remote.attach(address, open=opened, release=lambda _: released.set())
            until = handle._attachment.stay.until
            assert 0 < last_granted(handle.proxy()) < until < boottime()
            assert handle.reason == "", "nobody has heard anything yet"
        assert released.wait(PATIENCE)
        assert "lease" in handle.reason
        assert shared.state == "live"


def test_an_owner_is_refused_from_the_end_of_its_lease_on_though_its_session_does_not_run(
    server: PostgresServer, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with held_up(monkeypatch, "stuck"):
        begun = boottime()
        shared = remote.announce(f"{server.uri(lease=LEASE, application_name='stuck')}#{name}", ["owned"])
        assert last_granted(shared.proxy()) > 0
        assert boottime() > begun + LEASE * 1e9
    until(lambda: "its name is lost" in caplog.text)
    caplog.clear()
    assert shared.revoke(timeout=PATIENCE).state == "drained"


def test_a_lease_is_renewed_for_as_long_as_the_server_answers(server: PostgresServer, name: str) -> None:
    address = f"{server.uri(lease=0.5)}#{name}"
    with remote.announce(address, ["owned"]) as shared, remote.attach(address, open=opened) as handle:
        proxies, first = (shared.proxy(), handle.proxy()), handle._attachment.stay.until
        while boottime() < first + 2 * 10**9:
            for proxy in proxies:
                proxy.access().end()
            time.sleep(0.005)  # the session's thread is to run, too
        assert handle._attachment.stay.until > first, "it was not renewed: nobody has looked at it"


# ---- A server that goes ----


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["shut down", "crashed"])
def test_a_server_that_is_restarted_has_everybody_deny_and_loses_nobody(
    how: int, own_server: PostgresServer, name: str, puppets: Any
) -> None:
    address = f"{own_server.uri(lease=FOREVER)}#{name}"
    released: list[Any] = []
    shared = remote.announce(address, ["owned"], release=released.append)
    inside, idle = puppets(), puppets()
    for worker in (inside, idle):
        worker.ask("attach", address=address)
    inside.ask("enter")
    own_server.stop(how)
    assert idle.ask("gone")
    until(lambda: inside.ask("access") is None)
    until(lambda: shared.state == "draining")
    with pytest.raises(RevokeTimeout):
        shared.revoke(timeout=0.05)
    own_server.start()
    removal = Call(shared.revoke)
    until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
    assert not removal.returned and not released
    inside.ask("leave")
    assert removal.result().state == "drained" and released
    with remote.announce(address, ["again"]) as again:
        assert again.epoch > shared.epoch
        assert inside.ask("attach", address=address)["epoch"] == again.epoch


def test_a_crash_forgets_nobody_and_no_epoch_where_the_role_does_without_synchronous_commits(
    own_server: PostgresServer, name: str, puppets: Any
) -> None:
    own_server.rows("alter system set wal_writer_delay = '10s'")
    own_server.rows("alter role postgres set synchronous_commit = off")
    own_server.stop()
    own_server.start()
    address = f"{own_server.uri(lease=LEASE)}#{name}"
    with remote.announce(address, ["makes the schema"]):
        pass
    own_server.rows("checkpoint")
    shared = remote.announce(address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    own_server.stop(signal.SIGQUIT)
    own_server.start()
    outcome = shared.revoke()
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "lost")]
    with remote.announce(address, ["again"]) as again:
        assert again.epoch > shared.epoch
    worker.ask("leave")


@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
def test_a_commit_is_as_sure_as_the_server_makes_it_but_never_less_than_on_its_disk(
    theirs: str, ours: str, server: PostgresServer, name: str
) -> None:
    role = f"sure-{theirs}"
    server.rows(f'create role "{role}" superuser login')
    server.rows(f'alter role "{role}" set synchronous_commit = {theirs}')
    with remote.announce(f"{server.uri(user=role)}#{name}", ["owned"]) as shared:
        session = shared._sharing.current._desk.server
        assert session.call(lambda session: session.execute("show synchronous_commit")) == [(ours,)]


def test_a_server_that_is_down_is_named_and_its_password_is_not(name: str) -> None:
    address = f"postgresql://somebody:s3cret@127.0.0.1:{free_port()}/data?sslpassword=s3cret#{name}"
    for wish in (
        lambda: remote.announce(address, ["x"]),
        lambda: remote.attach(address, open=opened),
        lambda: remote.survey(address),
        lambda: remote.revoke(address),
    ):
        with pytest.raises(ConnectionError, match=r"somebody@127.0.0.1:\d+/data.*cannot be reached") as refused:
            wish()
        assert "s3cret" not in str(refused.value)


def test_whoever_is_patient_attaches_when_the_server_comes(own_server: PostgresServer, name: str, puppets: Any) -> None:
    address = f"{own_server.uri()}#{name}"
    own_server.stop()
    worker = puppets()
    worker.tell("attach", address=address, patience=PATIENCE)
    own_server.start()
    with remote.announce(address, ["owned"]) as shared:
        assert worker.hear()["epoch"] == shared.epoch


def test_a_timeout_is_kept_though_the_server_hangs_and_what_was_wished_is_done_later(
    own_server: PostgresServer, name: str, puppets: Any
) -> None:
    address = f"{own_server.uri(lease=FOREVER)}#{name}"
    shared = remote.announce(address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    shared.proxy().access().end()
    with hanging(own_server):
        assert [holder.pid for holder in Call(shared.holders, timeout=0.1).result()] in ([], [worker.pid])
        with pytest.raises(RevokeTimeout):
            Call(shared.revoke, timeout=0.1).result()
        with pytest.raises(Revoked):
            shared.proxy().access()
    until(lambda: worker.ask("access") is None)
    worker.ask("leave")
    assert shared.revoke(timeout=PATIENCE).state == "drained"


def test_a_name_is_given_up_though_the_server_hangs_when_that_is_told(
    own_server: PostgresServer, name: str, puppets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{own_server.uri(lease=FOREVER)}#{name}"
    shared, other = remote.announce(address, ["owned"]), remote.announce(address + "-2", ["other"])
    with hanging(own_server):
        Call(shared._sharing.current.withdraw).result()
    heir = puppets()
    until(lambda: own_server.rows("select name from ref_proxy.announced") == [(name + "-2",)])
    assert heir.ask("announce", address=address)
    heir.ask("revoke")
    shared.revoke()
    other.revoke()


@contextmanager
def hanging(server: PostgresServer) -> Iterator[None]:
    """None of its processes runs."""
    children = Path(f"/proc/{server._process.pid}/task/{server._process.pid}/children").read_text().split()
    pids = [server._process.pid, *map(int, children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# ---- Another host ----


def test_a_host_that_is_cut_off_denies_before_the_owner_calls_it_lost(
    server: PostgresServer, name: str, other_host: OtherHost, puppets: Any
) -> None:
    address = f"{server.uri(lease=LEASE)}#{name}"
    shared = remote.announce(address, ["owned"])
    worker = puppets(prefix=other_host.prefix)
    worker.ask("attach", address=f"{server.uri(other_host.server, lease=LEASE)}#{name}")
    worker.ask("enter")
    worker.ask("spin")
    other_host.cut()
    removal = Call(shared.revoke)
    assert worker.ask("spun_out") > 0
    assert not removal.returned
    outcome = removal.result()
    assert outcome.state == "fenced"
    assert [(holder.state, holder.epoch) for holder in outcome.holders] == [("lost", shared.epoch)]
    worker.ask("leave")


def test_a_host_that_comes_back_in_time_acknowledges_late(
    server: PostgresServer, name: str, other_host: OtherHost, puppets: Any
) -> None:
    shared = remote.announce(f"{server.uri()}#{name}", ["owned"])
    worker = puppets(prefix=other_host.prefix)
    worker.ask("attach", address=f"{server.uri(other_host.server, lease=5)}#{name}")
    worker.ask("enter")
    other_host.cut()
    [[number]] = server.rows("select pid from ref_proxy.holder where epoch = %s", shared.epoch)
    server.rows(TERMINATE, number)
    removal = Call(shared.revoke)
    until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
    other_host.mend()
    worker.ask("leave")
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)


def test_a_process_of_another_host_is_never_called_dead_by_its_number(
    server: PostgresServer, name: str, other_host: OtherHost, puppets: Any
) -> None:
    address = f"{server.uri(lease=LEASE)}#{name}"
    shared = remote.announce(address, ["owned"])
    worker = puppets(prefix=other_host.prefix)
    worker.ask("attach", address=f"{server.uri(other_host.server, lease=LEASE)}#{name}")
    worker.kill()
    outcome = shared.revoke()
    assert [holder.state for holder in outcome.holders] == ["lost"], "nobody here can know"


# ---- Cut off ----


def test_who_has_denied_is_cut_off_at_once_and_keeps_what_else_it_holds(patient_address: str, puppets: Any) -> None:
    shared, other = remote.announce(patient_address, ["owned"]), remote.announce(patient_address + "-2", ["other"])
    worker = puppets()
    worker.ask("attach", address=patient_address)
    worker.ask("enter")
    handle = remote.attach(patient_address + "-2", open=opened)
    outcome = shared.revoke(timeout=PATIENCE, fence_after=0.3)
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "fenced")]
    assert handle.state == "live"
    worker.ask("leave")
    assert other.revoke().state == "drained"


def test_who_has_swapped_is_cut_off_from_the_old_one_at_once_and_keeps_the_new_one(
    server: PostgresServer, patient_address: str, puppets: Any
) -> None:
    shared = remote.announce(patient_address, ["old"])
    worker = puppets()
    worker.ask("attach", address=patient_address)
    worker.ask("enter")
    with pytest.raises(RevokeTimeout) as late:
        shared.replace(["new"], info={"is": "new"}, timeout=0)
    until(lambda: server.rows("select denied from ref_proxy.holder order by id limit 1") == [(True,)])
    outcome = late.value.pending.wait(timeout=PATIENCE, fence_after=0)  # no lease has to be waited for
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "fenced")]
    assert worker.ask("access") == [{"is": "new"}]
    worker.ask("leave")
    assert shared.revoke().state == "drained"


def test_the_end_of_a_worker_and_of_the_wait_may_come_at_once(
    server: PostgresServer, patient_address: str, puppets: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    shared, worker = remote.announce(patient_address, ["owned"]), puppets()
    worker.ask("attach", address=patient_address)
    worker.ask("enter")
    sleep = Talk._sleep

    def sleep_long(talk: Talk, until: float | None, events: int, also: Iterable[int] = ()) -> bool:
        for fd in (talk.pgconn.socket, *also) if also else ():
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            assert poll.poll(PATIENCE * 1000)
        return sleep(talk, until, events, also)

    monkeypatch.setattr(Talk, "_sleep", sleep_long)
    removal = Call(shared.revoke)
    until(lambda: server.rows(WAITING) == [(1,)])
    worker.kill()
    assert removal.result().state == "drained"
    assert not caplog.records, "it was in doubt, and began anew"


@pytest.mark.parametrize("how", ["cut off", "killed"])
def test_a_wait_is_given_up_though_the_server_lets_nobody_in_any_more(
    how: str, own_server: PostgresServer, name: str, puppets: Any
) -> None:
    address = f"{own_server.uri(lease=FOREVER)}#{name}"
    shared = remote.announce(address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    copy = worker.ask("copy") if how == "killed" else 0  # it has the connection, so the server hears of no end
    removal = Call(shared.revoke)
    until(lambda: own_server.rows(WAITING) == [(1,)])
    until(lambda: own_server.rows("select denied from ref_proxy.holder") == [(True,)])  # who has not is given its lease
    os.kill(own_server._process.pid, signal.SIGSTOP)  # the one that takes connections
    try:
        if how == "killed":
            worker.kill()
        else:
            Call(shared.revoke, fence_after=0).result()
        outcome = removal.result()
        assert [holder.pid for holder in outcome.holders] == ([worker.pid] if how == "cut off" else [])
    finally:
        os.kill(own_server._process.pid, signal.SIGCONT)
        if copy:
            os.kill(copy, signal.SIGKILL)


def test_ctrl_c_in_a_wait_is_heard_at_once_and_the_removal_is_carried_on(address: str, puppets: Any) -> None:
    shared = remote.announce(address, ["owned"])
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with struck_while_waiting(interrupt), pytest.raises(KeyboardInterrupt):
        shared.revoke()
    assert shared.state == "draining"
    worker.ask("leave")
    assert shared.revoke().state == "drained"


def test_ctrl_c_in_a_replacement_hides_no_holder_from_the_removal(
    server: PostgresServer, patient_address: str, puppets: Any
) -> None:
    import psycopg

    shared = remote.announce(patient_address, ["owned"])
    worker = puppets()

    heard = threading.Event()

    def interrupt(*_: object) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    def strike() -> None:
        until(lambda: server.rows("select count(*) from pg_stat_activity where wait_event_type = 'Lock'") == [(1,)])
        while not heard.wait(0.01):  # one that comes in the instant before a wait does not end it
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)  # SIGINT may be ignored by who started this

    old = signal.signal(signal.SIGUSR1, interrupt)
    with psycopg.connect(server.uri()) as busy:
        busy.execute("select from ref_proxy.announced where epoch = %s for update", [shared.epoch])
        striking = Call(strike)
        with pytest.raises(KeyboardInterrupt):
            shared.replace(["new"])
        striking.result()
    signal.signal(signal.SIGUSR1, old)
    until(lambda: server.rows("select epoch from ref_proxy.announced where epoch > %s", shared.epoch) != [])
    assert worker.ask("attach", address=patient_address)["epoch"] > shared.epoch
    worker.ask("enter")
    removal = Call(shared.revoke)
    until(lambda: worker.ask("access") is None)
    assert not removal.returned
    worker.ask("leave")
    assert removal.result().state == "drained"


def test_a_replacement_whose_answer_is_lost_hides_no_holder_from_the_removal(
    address: str, puppets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = remote.announce(address, ["owned"])
    worker, execute = puppets(), Session.execute
    attached: list[Any] = []

    def lost(session: Session, text: str, *values: Any) -> Any:
        rows = execute(session, text, *values)
        if text == sql.SUCCEED:
            attached.append(worker.ask("attach", address=address)["epoch"])
            worker.ask("enter")
            raise Lost("the answer is lost")
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(Session, "execute", lost)
        with pytest.raises(Lost):
            shared.replace(["new"])
    assert attached[0] > shared.epoch
    removal = Call(shared.revoke, timeout=PATIENCE)
    until(lambda: [(holder.pid, holder.epoch) for holder in shared.holders()] == [(worker.pid, attached[0])])
    assert not removal.returned
    worker.ask("leave")
    assert removal.result() == remote.Outcome("drained", (), attached[0])


def test_a_wait_is_given_up_also_where_it_has_just_been_asked_for(patient_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, of_somebody = os.pipe()
    os.close(of_somebody)  # readable from now on
    waits = []

    def watched(_: Vigil) -> list[int]:
        waits.append(None)
        return [ended] if len(waits) < 20 else []

    execute, told = Session.execute, []

    def too_early(session: Session, text: str, *values: Any) -> Any:
        """Every other time the server says that nobody waits, so far."""
        told.extend([None] * (text == sql.CANCEL))
        return [] if text == sql.CANCEL and len(told) % 2 else execute(session, text, *values)

    monkeypatch.setattr(Session, "execute", too_early)
    monkeypatch.setattr(Vigil, "_alive", watched)
    shared = remote.announce(patient_address, ["owned"])
    handle = remote.attach(patient_address, open=opened)
    section = handle.proxy().access()
    section.detach()
    removal = Call(shared.revoke)
    until(lambda: len(waits) == 20)
    section.end()
    assert removal.result().state == "drained"
    os.close(ended)


# ---- Hints, schema, roles ----


def test_what_anybody_can_notify_revokes_nothing(server: PostgresServer, address: str) -> None:
    with remote.announce(address, ["owned"]) as shared:
        handle = remote.attach(address, open=opened)
        for payload in (f"gone {shared.epoch}", f"ask {shared.epoch}", "gone", "gone x", "\u0662", "who " + "9" * 30, "x" * 7000):
            server.rows("select pg_notify('ref_proxy', %s)", payload)
        assert shared.holders(), "which is after all of these"
        assert handle.state == "live"
        handle.close()


def test_a_schema_of_another_version_is_refused(server: PostgresServer, name: str) -> None:
    server.rows("create database other_version")
    address = f"{server.uri(database='other_version')}#{name}"
    with remote.announce(address, ["owned"]):
        pass
    server.rows("update ref_proxy.protocol set version = 99", database="other_version")
    until(lambda: server.rows(OURS) == [(0,)])
    for wish in (lambda: remote.announce(address, ["x"]), lambda: remote.attach(address, open=opened)):
        with pytest.raises(remote.ProtocolError, match="version 99, and this program speaks 1"):
            wish()


def test_a_role_without_rights_is_told_which_it_needs(server: PostgresServer, name: str) -> None:
    server.rows("create database with_roles")
    server.rows("create role plain login")
    server.rows("create role colleague login")
    place = server.uri(user="plain", database="with_roles")
    with pytest.raises(PermissionError, match="may not make the schema ref_proxy"):
        remote.announce(f"{place}#{name}", ["x"])
    with pytest.raises(remote.NotAnnounced):
        remote.attach(f"{place}#{name}", open=opened)
    with remote.announce(f"{server.uri(database='with_roles')}#{name}", ["x"]):
        with pytest.raises(PermissionError, match="needs rights on the schema"):
            remote.attach(f"{place}#{name}", open=opened)
        for grant in (
            "usage on schema ref_proxy",
            "select, insert, update, delete on all tables in schema ref_proxy",
            "usage on sequence ref_proxy.epoch",
        ):
            server.rows(f"grant {grant} to plain", database="with_roles")
        with remote.attach(f"{place}#{name}", open=opened) as handle:
            assert handle.state == "live"
    with remote.announce(f"{place}#{name}", ["x"]):
        pass


def make_colleague(server: PostgresServer, role: str) -> None:
    """A role with all rights that one needs, and not the first one's: it may not end sessions of others."""
    with remote.announce(f"{server.uri(lease=LEASE)}#{role}", ["x"]):  # so there is the schema
        pass
    server.rows(f"create role {role} login")
    for grant in ("usage on schema ref_proxy", "all on all tables in schema ref_proxy", "usage on sequence ref_proxy.epoch"):
        server.rows(f"grant {grant} to {role}")


def test_the_owners_role_need_not_be_allowed_to_end_sessions(server: PostgresServer, name: str, puppets: Any) -> None:
    make_colleague(server, "limited")
    shared = remote.announce(f"{server.uri(user='limited', lease=LEASE)}#{name}", ["owned"])
    worker = puppets()
    worker.ask("attach", address=f"{server.uri(lease=LEASE)}#{name}")
    worker.stop()
    outcome = shared.revoke(fence_after=0.05)
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "fenced")]
    worker.signal(signal.SIGCONT)
    until(lambda: worker.ask("access") is None)
    worker.ask("gone")


def test_a_removal_that_the_server_refuses_is_denied_here_and_goes_on_when_it_may(
    server: PostgresServer, name: str, puppets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_colleague(server, "hindered")
    shared = remote.announce(f"{server.uri(user='hindered', lease=LEASE)}#{name}", ["owned"])
    worker = puppets()
    worker.ask("attach", address=f"{server.uri(lease=LEASE)}#{name}")
    server.rows("revoke update on ref_proxy.announced from hindered")
    with pytest.raises(RevokeTimeout) as late:
        shared.revoke(timeout=0.1, fence_after=0)
    assert [holder.pid for holder in late.value.holders] == [worker.pid]
    with pytest.raises(Revoked):
        shared.proxy().access()
    assert "permission denied" in caplog.text
    server.rows("grant update on ref_proxy.announced to hindered")
    assert shared.revoke(timeout=PATIENCE).state in ("drained", "fenced")  # as the cut came before the news, or after
    assert worker.ask("gone")


def test_another_roles_holder_denies_what_is_replaced_when_it_is_fenced(
    server: PostgresServer, name: str, puppets: Any, tmp_path: Path
) -> None:
    make_colleague(server, "meek")
    shared, fifo = remote.announce(f"{server.uri(user='meek', lease=LEASE)}#{name}", ["owned"]), tmp_path / "fifo"
    os.mkfifo(fifo)
    worker = puppets()
    worker.ask("attach", address=f"{server.uri(lease=LEASE)}#{name}")
    _, outcome = shared.replace(["new"], info={"fifo": str(fifo)}, timeout=PATIENCE, fence_after=0.05)
    assert [(holder.pid, holder.state) for holder in outcome.holders] == [(worker.pid, "fenced")]
    assert worker.ask("access") is None
    fifo.write_bytes(b"")
    assert "cut off" in worker.ask("gone")["reason"]
    assert shared.revoke(timeout=PATIENCE).state == "drained"


def test_that_one_holder_is_another_roles_does_not_keep_the_others_from_being_cut_off(
    server: PostgresServer, name: str, puppets: Any
) -> None:
    make_colleague(server, "modest")
    address = f"{server.uri(user='modest', lease=LEASE)}#{name}"
    shared = remote.announce(address, ["owned"])
    theirs, ours = puppets(), puppets()
    theirs.ask("attach", address=f"{server.uri(lease=LEASE)}#{name}")
    ours.ask("attach", address=f"{server.uri(user='modest', lease=FOREVER)}#{name}")
    [[session]] = server.rows("select session from ref_proxy.holder where pid = %s", ours.pid)
    for worker in (theirs, ours):
        worker.stop()
    removal = Call(shared.revoke, fence_after=0.05)
    until(lambda: server.rows("select count(*) from pg_stat_activity where pid = %s", session) == [(0,)])
    ours.kill()
    assert [(holder.pid, holder.state) for holder in removal.result().holders] == [(theirs.pid, "fenced")]
    theirs.signal(signal.SIGCONT)
    theirs.ask("gone")


def test_who_may_not_say_that_it_has_let_go_says_so_when_it_may_again(server: PostgresServer, name: str, puppets: Any) -> None:
    make_colleague(server, "forgetful")
    shared = remote.announce(f"{server.uri(lease=LEASE)}#{name}", ["owned"])
    worker = puppets()
    worker.ask("attach", address=f"{server.uri(user='forgetful', lease=0.3)}#{name}")
    server.rows("revoke delete on ref_proxy.holder from forgetful")
    removal = Call(shared.revoke)
    until(lambda: b"the server could not be told" in worker.complaints())  # which is after its lease
    assert not removal.returned
    server.rows("grant delete on ref_proxy.holder to forgetful")
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout", "idle_session_timeout", "transaction_timeout"])
def test_a_timeout_of_the_role_ends_no_session_and_no_wait(setting: str, server: PostgresServer, name: str) -> None:
    if not server.rows("select name from pg_settings where name = %s", setting) and setting == "transaction_timeout":
        pytest.skip("this server does not know it")
    server.rows(f"create role {setting} superuser login")
    server.rows(f"alter role {setting} set {setting} = '1s'")
    with remote.announce(f"{server.uri(user=setting)}#{name}", ["owned"]) as shared:
        ours = shared._sharing.current._desk.server
        assert ours.call(lambda session: session.execute(f"show {setting}")) == [("0",)]


def test_an_epoch_does_not_come_again_where_the_schema_was_dropped(server: PostgresServer, name: str) -> None:
    server.rows("create database dropped")
    address = f"{server.uri(database='dropped')}#{name}"
    with remote.announce(address, ["x"]) as shared:
        before = shared.epoch
    server.rows("drop schema ref_proxy cascade", database="dropped")
    until(lambda: server.rows(OURS) == [(0,)])
    with remote.announce(address, ["x"]) as shared:
        assert shared.epoch > before


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("postgresql://h/d?lease=0", "lease=0"),
        ("postgresql://h/d?lease=soon", "lease=soon"),
        ("postgresql://h/d?lease=nan", "lease=nan"),
        ("postgresql://h/d?lease=1000001", "lease=1000001 .* at most 1000000"),
        ("postgresql://h/d?nonsense=1", "nonsense"),
        ("postgresql://u:s3cret%zz@h/d", "no address of a PostgreSQL server"),
        ("postgresql://u:a/s3cret@h:1/d", "percent"),
        ("postgresql://u:a@s3cret@h:1/d", "percent"),
        ("postgresql://me@h:s3cret@h:1/d", "percent"),
        ("postgresql://u:a/b?s3cret@h/d", "no address of a PostgreSQL server"),
        ("postgresql://u:a#s3cret@h:1/d?lease=0", "lease=0"),
        ("postgresql://u:a?s3cret@h:1/d?lease=0", "lease=0"),
        ("postgresql://h:1/d?password=a@s3cret&nonsense=1", "no address of a PostgreSQL server"),
        ("postgresql://u:s3cret@h:1/d?connect_timeout=abc", "connect_timeout=abc"),
        ("postgresql://u:s3cret@h:1/d?connect_timeout=nan", "connect_timeout=nan"),
    ],
)
def test_a_bad_address_is_refused_without_a_secret(uri: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        remote.attach(uri + "#name", open=opened)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("password", ["s3cret", "a?s3cret", "a#s3cret", "a:s3cret", "%40s3cret"])
def test_a_password_is_in_no_name_and_no_message(
    password: str, server: PostgresServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{server.uri(user=f'postgres:{password}', lease=LEASE)}#{name}"
    monkeypatch.setattr(sys, "orig_argv", ["python", "worker.py", address])
    with pytest.raises(remote.NotAnnounced) as refused:
        remote.attach(address, open=opened)
    told = [str(refused.value)]
    with remote.announce(address, ["x"]) as shared, pytest.raises(FileExistsError) as again:
        handle = remote.attach(address, open=opened)
        told += [repr(shared), repr(handle), shared.name, str(remote.survey(address)), str(shared.holders())]
        told += [str(server.rows("select application_name from pg_stat_activity"))]
        remote.announce(address, ["x"])
    told.append(str(again.value))
    assert not [line for line in told if "s3cret" in line]
    with pytest.raises(ValueError) as nameless:
        remote.attach(f"postgresql://u:{password}@h/d", open=opened)
    assert "s3cret" not in str(nameless.value)


# ---- Processes ----


def test_a_forked_child_leaves_its_parents_session_alone(patient_address: str) -> None:
    with remote.announce(patient_address, ["owned"]) as shared:
        with remote.attach(patient_address, open=opened) as handle:

            def child() -> None:
                import gc

                assert handle.state != "live"
                gc.collect()
                with pytest.raises(FileExistsError):
                    remote.announce(patient_address, ["mine"])
                with remote.attach(patient_address, open=opened) as own:
                    assert own.epoch == shared.epoch

            in_child(child)
            assert handle.state == "live"
            assert os.getpid() in [holder.pid for holder in shared.holders() if holder.state == "attached"]


def test_one_session_serves_all_names_of_a_process_and_ends_when_none_is_left(server: PostgresServer, address: str) -> None:
    shares = [remote.announce(f"{address}-{number}", ["x"]) for number in range(5)]
    handles = [remote.attach(f"{address}-{number}", open=opened) for number in range(5)]
    assert server.rows(OURS) == [(1,)]
    for handle in handles:
        handle.close()
    for shared in shares:
        shared.revoke()
    until(lambda: server.rows(OURS) == [(0,)])
    for shared in shares:
        assert server.rows("select count(*) from ref_proxy.holder where epoch = %s", shared.epoch) == [(0,)]


def test_holders_have_the_name_that_the_address_gives_them(server: PostgresServer, name: str) -> None:
    with remote.announce(f"{server.uri(application_name='owner-app')}#{name}", ["x"]):
        assert server.rows("select count(*) from pg_stat_activity where application_name = 'owner-app'") == [(1,)]


# ---- Pools ----


@pytest.fixture
def pool(server: PostgresServer, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A PgBouncer in some mode; returns its address."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("needs pgbouncer")
    processes: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        port = free_port()
        settings = tmp_path / "pgbouncer.ini"
        settings.write_text(
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"auth_type = any\npool_mode = {mode}\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n"
            f"[databases]\npostgres = host=127.0.0.1 port={server.port} user=postgres dbname=postgres\n"
        )
        tmp_path.chmod(0o755)
        settings.chmod(0o644)
        user = {} if os.geteuid() else {"user": pwd.getpwnam("nobody").pw_uid}
        for folder in tmp_path.parents:
            if os.geteuid() == 0 and folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        with (tmp_path / "log").open("wb") as log:
            processes.append(subprocess.Popen([program, settings], stdout=log, stderr=log, **user))  # type: ignore[call-overload]
        from psycopg.pq import PGconn, Ping

        uri = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        until(lambda: PGconn.ping(uri.encode()) == Ping.OK or processes[-1].poll() is not None)
        assert processes[-1].poll() is None, (tmp_path / "log").read_text()
        return uri

    yield start
    for process in processes:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pool_that_lends_by_the_transaction_is_refused(mode: str, pool: Callable[[str], str], name: str) -> None:
    uri = pool(mode)
    for wish in (lambda: remote.announce(f"{uri}#{name}", ["x"]), lambda: remote.attach(f"{uri}#{name}", open=opened)):
        with pytest.raises(remote.ProtocolError, match="lends sessions by the transaction"):
            wish()


def test_a_pool_in_session_mode_will_do(pool: Callable[[str], str], name: str, puppets: Any) -> None:
    address = f"{pool('session')}?lease={LEASE}#{name}"
    shared = remote.announce(address, ["x"])
    worker = puppets()
    worker.ask("attach", address=address)
    assert shared.revoke(timeout=PATIENCE).state == "drained"
