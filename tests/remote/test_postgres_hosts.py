"""An address that names several PostgreSQL servers, of which one is the primary at a time."""

from __future__ import annotations

import shutil
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ref_proxy import remote
from tests import PATIENCE
from tests.support import Call, one_twin, until

from .conftest import made
from .server import PostgresServer, free_port
from .test_postgres import LEASE, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = one_twin


def replicated(data: Path) -> None:
    """What it does can be followed by another one."""
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("wal_level = replica\nmax_wal_senders = 10\n")


@contextmanager
def replicating() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary, and a standby that follows it synchronously."""
    with made(replicated) as primary, follower(primary) as standby:
        primary.rows("alter system set synchronous_standby_names = 'follower'")
        primary.rows("alter system set synchronous_commit = 'remote_apply'")
        primary.rows("select pg_reload_conf()")
        until(lambda: primary.rows("select sync_state from pg_stat_replication") == [("sync",)])
        yield primary, standby


def follower(of: PostgresServer) -> PostgresServer:
    """A standby of that one."""

    def prepare(data: Path) -> None:
        ours = (data / "postgresql.conf").read_text()
        of.stop()
        shutil.rmtree(data)
        shutil.copytree(of.folder / "data", data)
        of.start()
        (data / "standby.signal").touch()
        (data / "postgresql.conf").write_text(f"{ours}primary_conninfo = '{of.uri(application_name='follower')}'\n")
        replicated(data)

    return PostgresServer(prepare)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its standby, neither of which a test may stop."""
    with replicating() as both:
        yield both


def address(*ports: int, name: str, **query: object) -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    options = "&".join(f"{key}={value}" for key, value in {"lease": LEASE, **query}.items())
    return f"postgresql://postgres:s3cret@{hosts}/postgres?{options}#{name}"


@pytest.mark.parametrize("how", [{}, {"target_session_attrs": "read-write"}], ids=["by itself", "as the address says"])
def test_of_several_servers_the_primary_is_found(
    how: dict[str, Any], servers: tuple[PostgresServer, PostgresServer], name: str, puppets: Any
) -> None:
    primary, standby = servers
    shared = remote.announce(address(free_port(), standby.port, primary.port, name=name, **how), ["owned"])
    worker = puppets()
    worker.ask("attach", address=address(primary.port, standby.port, name=name, **how))
    worker.ask("enter")
    removal = Call(shared.revoke)
    until(lambda: worker.ask("access") is None)
    assert not removal.returned
    worker.ask("leave")
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [({}, "hot standby"), ({"target_session_attrs": "any"}, "is a standby.*: name the primary")],
    ids=["by itself", "as the address says"],
)
def test_a_standby_alone_is_refused(
    how: dict[str, Any], complaint: str, servers: tuple[PostgresServer, PostgresServer], name: str
) -> None:
    place = address(servers[1].port, name=name, **how)
    for wish in (lambda: remote.announce(place, ["x"]), lambda: remote.attach(place, open=opened)):
        with pytest.raises(ConnectionError, match=complaint) as refused:
            wish()
        assert "s3cret" not in str(refused.value)


def test_a_removal_goes_on_at_the_standby_that_takes_the_primarys_place(name: str, puppets: Any) -> None:
    with replicating() as (primary, standby):
        both = address(primary.port, standby.port, name=name, lease=600)
        released: list[Any] = []
        shared = remote.announce(both, ["owned"], release=released.append)
        worker = puppets()
        worker.ask("attach", address=both)
        worker.ask("enter")
        primary.stop(signal.SIGQUIT)
        until(lambda: worker.ask("access") is None)
        until(lambda: shared.state == "draining")
        removal = Call(shared.revoke)
        worker.tell("attach", address=both, patience=PATIENCE)
        standby.rows("select pg_promote()")
        until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
        assert not removal.returned and not released
        with remote.announce(both, ["again"]) as again:
            assert again.epoch > shared.epoch
            assert worker.hear()["epoch"] == again.epoch
        worker.ask("leave")
        assert removal.result() == remote.Outcome("drained", (), shared.epoch)
        assert released
