"""Names that not everybody can spell: of processes, proxies and tasks, in whatever a terminal or a database is able to write."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from ref_proxy import cli, remote
from tests import PATIENCE
from tests.support import one_twin

if TYPE_CHECKING:
    from .server import PostgresServer

ODD = "caf\udce9 日本 \x1b[2J\n"
SPELLED = r"caf\udce9 \u65e5\u672c \x1b[2J\n"


@pytest.fixture
def odd_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "worker.py", ODD])


@pytest.mark.usefixtures("odd_command")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_list_can_be_printed_anywhere(encoding: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with remote.announce(f"unix:{name}", ["x"]) as shared, remote.attach(f"unix:{name}", open=lambda info: [info]) as handle:
        proxy = handle.proxy("日本\udce9")
        assert [holder.proxies for holder in shared.holders(PATIENCE)] == [("日本\udce9",)]
        out = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(["remote", "list", name]) == 0
        out.seek(0)
        told = out.read()
    assert f"worker.py {SPELLED})" in told
    assert r"\udce9" in told and proxy


@one_twin
@pytest.mark.usefixtures("odd_command")
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "UTF8"])
def test_who_has_an_odd_name_announces_and_attaches_in_any_database(encoding: str, server: PostgresServer, name: str) -> None:
    database = f"in_{encoding.lower()}"
    server.rows(f"create database {database} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0")
    address = f"{server.uri(database=database, lease=10)}#{name}"
    with (
        remote.announce(address, ["x"], info={"odd": "日本"}) as shared,
        remote.attach(address, open=lambda info: [info]) as handle,
    ):
        proxy = handle.proxy("日本")
        assert handle.info == {"odd": "日本"}
        (holder,) = shared.holders(PATIENCE)
        assert (holder.process, holder.proxies) == (f"python worker.py {SPELLED}", ("日本",))
        assert SPELLED in remote.survey(address)[0].owner and proxy
