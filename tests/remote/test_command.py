"""`ref-proxy remote`: owners, holders, what blocks a removal, and a removal from outside."""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ref_proxy import cli, remote
from ref_proxy.remote.unix import Unix
from tests import PATIENCE

from .test_unix import answering, listener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .puppet import Puppet


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["remote", *words])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_list_shows_owners_holders_and_who_is_inside(
    name: str, puppets: Callable[..., Puppet], capsys: pytest.CaptureFixture[str]
) -> None:
    owner, inside = puppets(), puppets()
    epoch = owner.ask("announce", address=f"unix:{name}")
    inside.ask("attach", address=f"unix:{name}")
    inside.ask("enter")
    with remote.announce(f"unix:{name}-2", ["x"]):
        status, out, err = run(capsys, "list")
    assert (status, err) == (0, "")
    first, second = re.split(r"\n(?=unix:)", out.strip())
    assert first.startswith(f"unix:{name}, epoch {epoch}, live\n  owner   process {owner.pid} (")
    assert re.search(rf"\n  holder  process {inside.pid} \(.*\) on .*, attached, proxies 'puppet'\n", first)
    assert re.search(rf"\n {{10}}inside: proxy 'puppet' of 'unix:{name}' in thread 'MainThread'", first)
    assert second.startswith(f"unix:{name}-2, ") and second.endswith("held by nobody else")
    assert run(capsys, "list", name)[1].strip() == first


def test_list_says_where_there_is_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list") == (0, "unix:: nothing is announced\n", "")
    status, out, err = run(capsys, "list", name)
    assert (status, out) == (2, "") and f"nobody announces 'unix:{name}'" in err


def test_list_names_those_whose_owner_cannot_be_asked(
    name: str,
    directory: Path,
    puppets: Callable[..., Puppet],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ref_proxy.remote.unix.HANDSHAKE", 0.05)
    stopped = puppets()
    stopped.ask("announce", address=f"unix:{name}-2")
    stopped.stop()
    listener(directory / f"{name}-3").close()  # what a dead owner has left is nobody
    with answering(directory / name, b'{"do": "listed", "version": 2, "survey": {}}\n'):
        status, out, err = run(capsys, "list")
    another, late = out.splitlines()
    assert (status, err) == (2, "")
    assert another.startswith(f"unix:{name}: ") and "speaks version 2 of the protocol" in another
    assert late.startswith(f"unix:{name}-2: ") and f"process {stopped.pid}, did not answer within 0.05 s" in late
    assert {found.state for found in remote.survey("unix:")} == {"unknown"}


def test_owners_are_asked_side_by_side(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together, survey = threading.Barrier(3), Unix._survey

    def asked(unix: Unix, which: str) -> remote.Survey:
        together.wait(PATIENCE)  # until all three are
        return survey(unix, which)

    monkeypatch.setattr(Unix, "_survey", asked)
    with ExitStack() as owners:
        for number in range(3):
            owners.enter_context(remote.announce(f"unix:{name}-{number}", ["x"]))
        assert [found.address for found in remote.survey("unix:")] == [f"unix:{name}-{number}" for number in range(3)]


def test_revoke_says_who_holds_it_up_and_carries_on(
    name: str, puppets: Callable[..., Puppet], capsys: pytest.CaptureFixture[str]
) -> None:
    owner, inside = puppets(), puppets()
    owner.ask("announce", address=f"unix:{name}")
    inside.ask("attach", address=f"unix:{name}")
    inside.ask("enter")
    status, out, _ = run(capsys, "revoke", name, "--timeout", "0.1")
    assert status == 1 and "still held by" in out and f"process {inside.pid} " in out and "inside: proxy 'puppet'" in out
    inside.ask("leave")
    status, out, _ = run(capsys, "revoke", f"unix:{name}")
    assert status == 0 and "nobody uses it any more, and it was released" in out


def test_revoke_names_whom_it_cut_off(name: str, puppets: Callable[..., Puppet], capsys: pytest.CaptureFixture[str]) -> None:
    owner, stopped = puppets(), puppets()
    owner.ask("announce", address=f"unix:{name}")
    stopped.ask("attach", address=f"unix:{name}")
    stopped.stop()
    status, out, _ = run(capsys, "revoke", name, "--fence-after", "0.1")
    assert status == 1 and "these were cut off" in out and f"process {stopped.pid} " in out and ", fenced" in out


@pytest.mark.parametrize("bad", ["redis:x", "unix:../x"])
def test_a_bad_address_is_named(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "revoke"):
        status, out, err = run(capsys, command, bad)
        assert (status, out) == (2, "") and err.startswith("ref-proxy remote: ")


def test_another_users_place_is_named(directory: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory.chmod(0o777)
    status, _, err = run(capsys, "revoke", name)
    assert status == 2 and str(directory) in err
