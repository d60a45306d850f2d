"""A PostgreSQL server that lets in only who has a password, over TLS, with a certificate that is checked."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ref_proxy import cli, remote
from tests.support import Call, one_twin, until

from .conftest import made
from .test_postgres import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .server import PostgresServer

pytestmark = one_twin
PASSWORD = "s3cret"
# Whoever has no TLS is not let in; `postgres` is the test's own way.
ACCESS = "host all postgres 127.0.0.1/32 trust\nhostssl all all all scram-sha-256\nhost all all all reject\n"
OF_COLLEAGUES = "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'colleague'"


class Guarded(NamedTuple):
    """The server, and the certificate by which it is known."""

    server: PostgresServer
    certificate: Path

    def uri(self, password: str = f":{PASSWORD}", *, host: str = "localhost", **query: object) -> str:
        how = {"sslmode": "verify-full", "sslrootcert": self.certificate, "lease": 5, **query}
        return self.server.uri(host, f"colleague{password}", **how)


def certificate(folder: Path) -> Path:
    """One that says of itself that it is localhost's; its key lies beside it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs openssl, to make a certificate")
    new = ["req", "-new", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    whose = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    where = ["-keyout", folder / "server.key", "-out", folder / "server.crt"]
    subprocess.run([program, *new, *whose, *where], check=True, capture_output=True)
    (folder / "server.key").chmod(0o600)
    return folder / "server.crt"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    ours = certificate(tmp_path_factory.mktemp("certificate"))

    def prepare(data: Path) -> None:
        for file in (ours, ours.with_suffix(".key")):
            shutil.copy(file, data)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("ssl = on\npassword_encryption = 'scram-sha-256'\n")
        (data / "pg_hba.conf").write_text(ACCESS)

    with made(prepare) as server:
        server.rows(f"create role colleague login password '{PASSWORD}'")
        server.rows("grant create on database postgres to colleague")
        yield Guarded(server, ours)


@pytest.fixture(autouse=True)
def no_other_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of whoever runs the tests is not asked for."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")


def kept(where: str, guarded: Guarded, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address, where the password is kept there."""
    if where == "the address":
        return guarded.uri()
    if where == "a service file":
        service = ["[ours]", "host=localhost", f"port={guarded.server.port}", "user=colleague", f"password={PASSWORD}"]
        (folder / "services").write_text("\n".join(service))
        monkeypatch.setenv("PGSERVICEFILE", str(folder / "services"))
        return f"postgresql:///postgres?service=ours&sslmode=verify-full&sslrootcert={guarded.certificate}"
    file = folder / "passwords"
    file.write_text(f"localhost:{guarded.server.port}:*:colleague:{PASSWORD}\n")
    file.chmod(0o600)
    return guarded.uri("", passfile=file)


@pytest.mark.parametrize("where", ["the address", "a password file", "a service file"])
def test_whoever_has_the_password_is_let_in_and_the_certificate_is_right(
    where: str,
    guarded: Guarded,
    name: str,
    tmp_path: Path,
    puppets: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = kept(where, guarded, tmp_path, monkeypatch)
    assert cli.main(["remote", "list", place]) == 0
    told = capsys.readouterr().out
    assert "nothing is announced" in told
    shared = remote.announce(f"{place}#{name}", ["owned"])
    assert guarded.server.rows(OF_COLLEAGUES) == [(True,)]
    worker = puppets()
    worker.ask("attach", address=f"{place}#{name}")
    worker.ask("enter")
    assert cli.main(["remote", "list", place]) == 0
    assert cli.main(["remote", "revoke", f"{place}#{name}", "--timeout", "0.1"]) == 1
    removal = Call(shared.revoke)
    until(lambda: worker.ask("access") is None)
    worker.ask("leave")
    assert removal.result() == remote.Outcome("drained", (), shared.epoch)
    with remote.announce(f"{place}#{name}", ["owned"]):
        assert cli.main(["remote", "revoke", f"{place}#{name}"]) == 0
    told += "".join(capsys.readouterr())
    assert f"process {worker.pid} (" in told and name in told and "it was released" in told
    assert PASSWORD not in told


@pytest.mark.parametrize(
    ("password", "how", "complaint"),
    [
        ("wrong-s3cret", {}, 'password authentication failed for user "colleague"'),
        ("", {}, "no password supplied"),
        (PASSWORD, {"host": "127.0.0.1"}, 'does not match host name "127.0.0.1"'),
        (PASSWORD, {"sslrootcert": "another"}, "certificate verify failed"),
        (PASSWORD, {"sslrootcert": "/nonexistent"}, 'root certificate file "/nonexistent" does not exist'),
        (PASSWORD, {"sslmode": "disable"}, "no encryption"),
    ],
    ids=["a wrong password", "none", "another host's certificate", "another certificate", "no certificate to check by", "no TLS"],
)
def test_whoever_is_not_let_in_is_told_why_without_a_secret(
    password: str,
    how: dict[str, Any],
    complaint: str,
    guarded: Guarded,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if how.get("sslrootcert") == "another":
        how = {"sslrootcert": certificate(tmp_path)}
    place = guarded.uri(f":{password}" if password else "", **how)
    for wish in (
        lambda: remote.announce(f"{place}#{name}", ["x"]),
        lambda: remote.attach(f"{place}#{name}", open=opened),
        lambda: remote.survey(place),
        lambda: remote.revoke(f"{place}#{name}"),
    ):
        with pytest.raises(ConnectionError, match=f"colleague@.*cannot be reached: .*{re.escape(complaint)}") as refused:
            wish()
        assert PASSWORD not in str(refused.value)
    for command in (["list", place], ["revoke", f"{place}#{name}"]):
        assert cli.main(["remote", *command]) == 2
    told = "".join(capsys.readouterr())
    assert told.count(complaint) == 2 and PASSWORD not in told
