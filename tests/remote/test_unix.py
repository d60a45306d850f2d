"""One host: the Unix socket, and the kernel that says who is alive."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from ref_proxy import Revoked, RevokeDeadlock, RevokeTimeout, remote
from tests import PATIENCE
from tests.support import Call, until

from .broken_off import BrokenOff
from .conformance import Conformance
from .puppet import Failed, Puppet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module", autouse=True)
def forkserver() -> None:
    """It keeps descriptors for good: before any test counts them."""
    multiprocessing.forkserver.ensure_running()


@pytest.fixture
def address(name: str) -> str:
    return f"unix:{name}"


class TestConformance(Conformance):
    @pytest.fixture(autouse=True)
    def no_socket_left(self, directory: Path) -> object:
        yield
        assert [path.name for path in directory.iterdir() if path.is_socket()] == []


def listener(path: Path) -> socket.socket:
    """Somebody who is no owner, at the place of one."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.bind(str(path))
    found.listen()
    return found


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """The same, who answers that to the first one who comes."""
    with listener(path) as other:

        def serve() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        serving = Call(serve)
        yield
        serving.result()


def said(path: Path, *words: bytes) -> bytes:
    """What an owner answers to that, until it hangs up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.connect(str(path))
        for word in words:
            visitor.sendall(word)
        return heard(visitor)


def heard(visitor: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    visitor.settimeout(PATIENCE)
    return b"".join(iter(lambda: visitor.recv(65536), b""))


class TestBrokenOff(BrokenOff):
    pass


class TestBadInput:
    @pytest.mark.parametrize(
        ("bad", "complaint"),
        [
            ("", "no scheme"), ("scope", "no scheme"), ("redis:scope", "redis:"), ("unix:", "has no name"),
            ("unix:a/b", "no name"), ("unix:../x", "no name"), ("unix:.x", "no name"), ("unix:" + "x" * 65, "no name"),
            ("unix:/" + "x" * 200, "longer than"),
        ],
    )  # fmt: skip
    def test_a_bad_address_is_named(self, bad: str, complaint: str) -> None:
        for use in (lambda: remote.announce(bad, ["x"]), lambda: remote.attach(bad, open=list), lambda: remote.revoke(bad)):
            with pytest.raises(ValueError, match=complaint):
                use()
        with pytest.raises(TypeError, match="an address is a str"):
            remote.attach(7, open=list)  # type: ignore[arg-type]

    def test_what_cannot_be_called_is_refused_before_anything_is_done(self, address: str) -> None:
        with pytest.raises(TypeError, match="open must be callable"):
            remote.attach(address, open="x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="release must be callable"):
            remote.announce(address, ["x"], release="x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="cannot be None"):
            remote.announce(address, None)

    @pytest.mark.parametrize(
        "garbage",
        [
            b"GET / HTTP/1.1\r\n\r\n", b"\x80\x04K\x01.\n", b"[1]\n", b"null\n", b"{}\n", b'{"do": []}\n', b'{"do": "attach"}\n',
            b'{"do": "attach", "version": 1, "process": 7, "gate": false}\n',
            b'{"do": "attach", "version": true, "process": "x", "gate": false}\n',
            b'{"do": "attach", "version": 1, "process": "x", "gate": false, "more": 1}\n',
            b'{"do": "left"}\n',
            b'{"do": "welcome", "version": 1}\n', b'{"do": "revoke", "version": 1, "timeout": "x", "fence_after": null}\n',
            b"[" * 100_000 + b"\n", b"x" * 70_000,
        ],
    )  # fmt: skip
    def test_garbage_is_refused_and_nothing_is_lost(self, garbage: bytes, address: str, directory: Path, name: str) -> None:
        with remote.announce(address, ["x"]) as shared:
            answer = said(directory / name, garbage)
            assert b'"do": "refused"' in answer
            assert shared.holders() == []
            handle = remote.attach(address, open=lambda info: [info])
            assert handle.state == "live"
            shared.revoke()
            assert handle.state == "revoked"

    def test_a_holder_that_talks_nonsense_counts_until_its_process_ends(
        self, address: str, directory: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        program = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode()); "
            "s.recv(99); s.sendall(b'nonsense\\n'); print('said', flush=True); input()"
        )
        shared = remote.announce(address, ["x"])
        hello = '{"do": "attach", "version": 1, "process": "odd", "gate": false}\n'
        command = [sys.executable, "-c", program, str(directory / name), hello]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as odd:
            assert odd.stdout is not None and odd.stdout.readline() == b"said\n"
            until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
            with pytest.raises(RevokeTimeout, match="odd"):
                shared.revoke(timeout=0.05)
            odd.communicate(b"\n")
        assert shared.revoke().state == "drained"
        assert "is not understood any more" in caplog.text

    def test_an_owner_of_another_version_is_named(self, address: str, directory: Path, name: str) -> None:
        complaint = f"{name}.*process {os.getpid()}.*version 2 .* this one 1"
        with (
            answering(directory / name, b'{"do": "welcome", "version": 2, "epoch": 1, "info": {}}\n'),
            pytest.raises(remote.ProtocolError, match=complaint),
        ):
            remote.attach(address, open=lambda info: info)

    def test_a_visitor_of_another_version_is_told(self, address: str, directory: Path, name: str) -> None:
        with remote.announce(address, ["x"]):
            assert b"version 2 of the protocol, and this one 1" in said(directory / name, b'{"do": "attach", "version": 2}\n')

    @pytest.mark.parametrize(
        "answer", [b"HTTP/1.1 400 Bad Request\r\n", b'{"do": "outcome", "version": 1, "outcome": {}}\n', b"\0" * 9 + b"\n"]
    )
    def test_what_is_no_owner_is_named(self, answer: bytes, address: str, directory: Path, name: str) -> None:
        with answering(directory / name, answer), pytest.raises(remote.ProtocolError, match=name):
            remote.attach(address, open=lambda info: info)

    @pytest.mark.parametrize(
        ("error", "raised"),
        [
            ("NotAnnounced", remote.NotAnnounced), ("PermissionError", PermissionError),
            ("ProtocolError", remote.ProtocolError), ("another", remote.ProtocolError),
        ],
    )  # fmt: skip
    def test_a_refusal_is_what_it_says_whatever_words_its_reason_has(
        self, error: str, raised: type[Exception], address: str, directory: Path, name: str
    ) -> None:
        refusal = f'{{"do": "refused", "version": 1, "error": "{error}", "reason": "no user, it is gone"}}\n'
        with answering(directory / name, refusal.encode()), pytest.raises(raised, match="no user, it is gone") as caught:
            remote.attach(address, open=lambda info: info)
        assert caught.type is raised

    def test_an_owner_that_does_not_answer_is_named(
        self, address: str, directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ref_proxy.remote.worker.ANSWER", 0.05)
        with listener(directory / name):
            with pytest.raises(
                TimeoutError, match=f"owner of 'unix:{name}', process {os.getpid()}, did not answer within 0.05 s"
            ):
                remote.attach(address, open=lambda info: info)

    def test_a_visitor_that_says_nothing_is_shown_out(
        self, address: str, directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ref_proxy.remote.unix_owner.HANDSHAKE", 0.05)
        with remote.announce(address, ["x"]):
            assert said(directory / name) == b""

    def test_a_name_that_is_spelled_otherwise_is_the_same_one(self, address: str, directory: Path, name: str) -> None:
        with remote.announce(address, ["x"]) as shared:
            other = f"unix:{directory}/../{directory.name}/{name}"
            with remote.attach(other, open=lambda info: [info]) as handle, handle.proxy().access():
                with pytest.raises(RevokeDeadlock):
                    shared.revoke()

    def test_a_stale_socket_is_nobody_and_the_next_owner_takes_its_place(self, address: str, directory: Path, name: str) -> None:
        listener(directory / name).close()
        with pytest.raises(remote.NotAnnounced, match="has left the socket behind"):
            remote.attach(address, open=lambda info: info)
        with remote.announce(address, ["x"]), remote.attach(address, open=lambda info: [info]) as handle:
            assert handle.state == "live"

    def test_a_directory_that_others_can_write_to_is_refused(self, address: str, directory: Path) -> None:
        directory.chmod(0o770)
        for use in (lambda: remote.announce(address, ["x"]), lambda: remote.attach(address, open=list)):
            with pytest.raises(PermissionError, match=f"{directory}.*0700"):
                use()

    def test_a_directory_that_is_a_link_is_refused(
        self, address: str, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "link").symlink_to(directory)
        monkeypatch.setenv("REF_PROXY_DIR", str(tmp_path / "link"))
        with pytest.raises(PermissionError, match="not a directory of this user's alone"):
            remote.announce(address, ["x"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
class TestOtherUsers:
    def test_another_user_is_refused_also_where_the_directory_lets_him_in(self, address: str, directory: Path, name: str) -> None:
        with remote.announce(address, ["x"]) as shared:
            for path in (directory, *directory.parents[:2]):
                path.chmod(0o755)
            (directory / name).chmod(0o666)
            path = str(directory / name)
            program = (
                f"import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect({path!r}); print(s.recv(999))"
            )
            answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
            assert '"error": "PermissionError"' in answer.stdout, answer.stderr
            assert "not user 65534" in answer.stdout
            assert shared.holders() == []

    def test_root_may_attach_to_another_users_by_its_path(self, directory: Path, puppets: Callable[..., Puppet]) -> None:
        theirs = directory / "theirs"
        theirs.mkdir(mode=0o700)
        os.chown(theirs, 65534, 65534)
        for path in (directory, *directory.parents[:2]):
            path.chmod(0o755)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        tried = subprocess.run([*nobody, sys.executable, "-c", "import ref_proxy"], capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"another user cannot run this interpreter: {tried.stderr.splitlines()[-1]}")
        owner = puppets(prefix=nobody)
        owner.ask("announce", address=f"unix:{theirs / 'scope'}")
        with remote.attach(f"unix:{theirs / 'scope'}", open=lambda info: [info]) as handle:
            assert handle.state == "live"
        owner.ask("revoke")


def test_a_removal_that_stalls_says_who_holds_it_and_again_after_growing_intervals(
    address: str, puppets: Callable[..., Puppet], caplog: pytest.LogCaptureFixture
) -> None:
    shared = remote.announce(address, ["x"], name="line", stall_after=0.01)
    worker = puppets()
    worker.ask("attach", address=address)
    worker.ask("enter")
    removal = Call(shared.revoke)
    until(lambda: len(caplog.records) >= 3)
    worker.ask("leave")
    assert removal.result().state == "drained"
    told = [record.args for record in caplog.records]
    assert all(args[0] == "line" and f"process {worker.pid}" in args[2] for args in told)
    assert all(args[1] >= 0.01 * (2**number - 1) for number, args in enumerate(told, 1))


class TestProcesses:
    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    def test_processes_of_multiprocessing_attach_for_themselves(self, method: str, directory: Path, name: str) -> None:
        address = f"unix:{directory / name}"  # a fork server has the environment of its own start
        context = multiprocessing.get_context(method)
        with remote.announce(address, ["x"], info={"n": 7}) as shared, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 on warns of a fork where there are threads
            receiver, sender = context.Pipe(duplex=False)
            workers = [context.Process(target=attach_and_stay, args=(address, sender), name=f"worker-{i}") for i in range(3)]
            for worker in workers:
                worker.start()
            assert [receiver.poll(PATIENCE) and receiver.recv() for _ in workers] == [7, 7, 7]
            assert sorted(holder.process for holder in shared.holders()) == ["worker-0", "worker-1", "worker-2"]
            assert shared.revoke(timeout=PATIENCE).state == "drained"
            for worker in workers:
                worker.join(PATIENCE)
                assert worker.exitcode == 0
            receiver.close()
            sender.close()

    def test_a_fork_inside_a_section_is_told_of(self, address: str, caplog: pytest.LogCaptureFixture) -> None:
        with remote.announce(address, ["x"]), remote.attach(address, open=lambda info: [info], name="line") as handle:
            reader, writer = os.pipe()
            with handle.proxy().access(), warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
                if child == 0:
                    os.write(writer, caplog.text.encode())
                    os._exit(0)
            os.waitpid(child, 0)
            os.close(writer)
            with os.fdopen(reader) as told:
                assert f"'line': process {os.getpid()} forked inside a section" in told.read()

    def test_a_forked_child_of_the_owner_can_remove_nothing(self, address: str) -> None:
        with remote.announce(address, ["x"]) as shared:
            reader, writer = os.pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                with shared.proxy().try_access() as resource:
                    os.write(writer, f"{resource}; ".encode())
                try:
                    shared.revoke(timeout=0)
                except RuntimeError as error:
                    os.write(writer, str(error).encode())
                os._exit(0)
            os.waitpid(child, 0)
            os.close(writer)
            with os.fdopen(reader) as told:
                words = told.read()
            assert words.startswith("None; "), "nobody would wait for what it does with it"
            assert f"is process {os.getpid()}'s, which announced it" in words
            assert shared.state == "live"

    def test_what_has_become_another_program_counts_until_that_ends(self, address: str, puppets: Callable[..., Puppet]) -> None:
        shared = remote.announce(address, ["x"])
        worker = puppets()
        worker.ask("attach", address=address)
        worker.tell("become", program=["sleep", "60"])
        until(lambda: [holder.state for holder in shared.holders()] == ["lost"])
        with pytest.raises(RevokeTimeout, match="lost"):
            shared.revoke(timeout=0)
        worker.kill()
        assert shared.revoke().state == "drained"

    def test_the_end_of_the_interpreter_does_not_hang(self, address: str) -> None:
        program = (
            f"from ref_proxy import remote; s = remote.announce({address!r}, ['x']); "
            f"h = remote.attach({address!r}, open=lambda i: [i])"
        )
        ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=PATIENCE)
        assert (ended.returncode, ended.stderr) == (0, "")

    @pytest.mark.parametrize("held", [True, False])
    def test_a_removal_after_the_last_word_of_the_interpreter_says_so_where_it_would_have_to_wait(
        self, held: bool, address: str, directory: Path, name: str, puppets: Callable[..., Puppet]
    ) -> None:
        program = f"""if True:
            import atexit

            def late():  # later than what is registered later
                try:
                    print(shared.revoke().state)
                except ConnectionError as error:
                    print(error)

            atexit.register(late)
            from ref_proxy import remote
            shared = remote.announce({address!r}, ["x"])
            print("up", flush=True)
            input()
        """
        worker = puppets()
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as owner:
            assert owner.stdout is not None and owner.stdout.readline() == "up\n"
            if held:
                worker.ask("attach", address=address)
            try:
                out, errors = owner.communicate("\n", timeout=PATIENCE)
            finally:
                owner.kill()
        assert errors == ""
        if held:
            assert "is denied, and not released" in out and f"process {worker.pid} " in out
            worker.ask("gone")
        else:
            assert out == "drained\n"
            assert not (directory / name).exists()

    def test_a_call_to_its_own_owner_after_the_last_word_of_the_interpreter_is_refused_at_once(self, address: str) -> None:
        program = f"""if True:
            import atexit

            def late():
                for call in (lambda: remote.attach({address!r}, open=print), lambda: remote.revoke({address!r}),
                             lambda: remote.survey({address!r})):
                    try:
                        print(call())
                    except ConnectionError as error:
                        print(error)
                print(remote.survey("unix:"))

            atexit.register(late)
            from ref_proxy import remote
            shared = remote.announce({address!r}, ["x"])
        """
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
        assert ended.stderr == ""
        why = "is announced by this process, whose interpreter is on its way out"
        assert [why in line for line in ended.stdout.splitlines()] == [True] * 4

    @pytest.mark.parametrize("thing", ["shared", "handle"])
    def test_neither_side_can_be_pickled(self, thing: str, address: str) -> None:
        with remote.announce(address, ["x"]) as shared, remote.attach(address, open=lambda info: [info]) as handle:
            with pytest.raises(TypeError, match="pass its address"):
                pickle.dumps({"shared": shared, "handle": handle}[thing])


class TestTheName:
    """Whose it is."""

    def test_it_stays_its_owners_whatever_way_the_same_process_asks_for_it_again(
        self, address: str, directory: Path, name: str, puppets: Callable[..., Puppet]
    ) -> None:
        other = puppets()
        with remote.announce(address, ["x"]):
            for again in (name, directory / name, f"{directory}/../{directory.name}/{name}"):
                with pytest.raises(FileExistsError, match=f"has an owner already, process {os.getpid()}"):
                    remote.announce(f"unix:{again}", ["y"])
                with pytest.raises(Failed, match=f"has an owner already, process {os.getpid()}"):
                    other.ask("announce", address=address)
        assert other.ask("announce", address=address)
        other.ask("revoke")

    def test_it_stays_its_owners_when_somebody_removes_the_file_of_the_lock(
        self, address: str, directory: Path, name: str, puppets: Callable[..., Puppet]
    ) -> None:
        other = puppets()
        with remote.announce(address, ["x"]):
            (directory / f".{name}.lock").unlink()
            with pytest.raises(Failed, match=f"has an owner already, process {os.getpid()}"):
                other.ask("announce", address=address)

    def test_it_stays_the_next_owners_when_the_one_whose_files_were_removed_leaves(
        self, address: str, directory: Path, name: str, puppets: Callable[..., Puppet]
    ) -> None:
        other = puppets()
        first = remote.announce(address, ["x"])
        (directory / f".{name}.lock").unlink()
        (directory / name).unlink()
        epoch = other.ask("announce", address=address)
        first.revoke()
        with remote.attach(address, open=lambda info: [info]) as handle:
            assert handle.epoch == epoch
        other.ask("revoke")

    def test_it_is_the_next_owners_though_a_copy_of_the_dead_one_has_the_socket(
        self, address: str, puppets: Callable[..., Puppet]
    ) -> None:
        owner = puppets()
        epoch = owner.ask("announce", address=address)
        copy = owner.ask("copy")
        try:
            owner.kill()
            with remote.announce(address, ["x"]) as shared, remote.attach(address, open=lambda info: [info]) as handle:
                assert handle.epoch == shared.epoch > epoch
        finally:
            os.kill(copy, signal.SIGKILL)

    def test_nothing_but_a_socket_is_removed_to_make_place(self, directory: Path) -> None:
        (directory / "model.bin").write_text("precious")
        with pytest.raises(FileExistsError, match=r"model\.bin, where there is something else"):
            remote.announce(f"unix:{directory}/model.bin", ["x"])
        assert [path.name for path in directory.iterdir()] == ["model.bin"]
        assert (directory / "model.bin").read_text() == "precious"

    def test_another_programs_socket_is_left_alone_and_named(self, directory: Path) -> None:
        path = directory / "model.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(path))
            for call in (
                lambda: remote.announce(f"unix:{path}", ["x"]),
                lambda: remote.attach(f"unix:{path}", open=lambda info: [info]),
                lambda: remote.revoke(f"unix:{path}"),
            ):
                with pytest.raises(remote.ProtocolError, match=r"model\.sock, where there is one of another kind"):
                    call()
            assert path.is_socket()

    def test_it_is_given_up_also_where_the_program_has_gone_elsewhere_meanwhile(
        self, tmp_path: Path, directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REF_PROXY_DIR", directory.name)
        monkeypatch.chdir(directory.parent)
        shared = remote.announce(f"unix:{name}", ["x"])
        monkeypatch.chdir(tmp_path)
        assert (directory / name).is_socket()
        shared.revoke()
        assert not (directory / name).exists()


class TestMuchToSay:
    """More than a socket takes at once, and more than a message may have."""

    def test_an_answer_of_any_size_comes_whole(self, address: str) -> None:
        with remote.announce(address, ["x"]) as shared, ExitStack() as held:
            handles = [held.enter_context(remote.attach(address, open=lambda info: [info])) for _ in range(40)]
            proxies = [handle.proxy(f"{number}: {'x' * 1000}") for handle in handles for number in range(32)]
            told = sum(len(proxy) for holder in shared.holders(PATIENCE) for proxy in holder.proxies)
            assert told > 1024 * 1024
            for where in (address, "unix:"):
                (found,) = remote.survey(where)
                assert sum(len(proxy) for holder in found.holders for proxy in holder.proxies) == told
            del proxies

    @pytest.mark.parametrize("letter", ["x", "日", "\U0001f600", "\n"])
    def test_a_holder_with_names_of_any_length_is_understood(self, letter: str, address: str) -> None:
        shared = remote.announce(address, ["x"])
        with remote.attach(address, open=lambda info: [info]) as handle, ExitStack() as sections:
            proxies = [handle.proxy(f"{number:02d}: {letter * 10_000}") for number in range(32)]
            for proxy in proxies:
                sections.enter_context(proxy.access())
            (holder,) = shared.holders(PATIENCE)
        shared.revoke(fence_after=0)  # for a holder that is not understood would count until this process ends
        assert holder.state == "attached"
        assert [proxy[:5] for proxy in holder.proxies] == [f"{number:02d}: {letter}" for number in range(32)]
        assert len(holder.inside) == 32

    def test_who_does_not_read_it_is_left(
        self, address: str, directory: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ref_proxy.remote.unix_link.LAST_WORDS", 0.05)
        monkeypatch.setattr("ref_proxy.remote.unix_owner.me", lambda: "x" * 1000_000)
        with remote.announce(address, ["x"]), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
            visitor.connect(str(directory / name))
            visitor.sendall(b'{"do": "list", "version": 1}\n')
            end = select.poll()
            end.register(visitor, 0)  # not for what there is to read
            assert end.poll(PATIENCE * 1000), "it is still waited for"
            assert b"\n" not in heard(visitor), "a socket takes all of it: nobody had to read"


class TestWithoutPidfds:
    """Where the kernel has none, the end of the connection has to do."""

    @pytest.fixture(autouse=True)
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ref_proxy.remote.peers._pidfd", lambda *_: None)

    def test_a_worker_that_is_killed_is_noticed(self, address: str, puppets: Callable[..., Puppet]) -> None:
        shared = remote.announce(address, ["x"])
        worker = puppets()
        worker.ask("attach", address=address)
        child = worker.ask("fork")  # which has closed what it inherited
        try:
            worker.kill()
            assert shared.revoke(timeout=PATIENCE).state == "drained"
        finally:
            os.kill(child["pid"], signal.SIGKILL)

    def test_an_owner_that_is_killed_is_noticed(self, address: str, puppets: Callable[..., Puppet]) -> None:
        owner = puppets()
        owner.ask("announce", address=address)
        handle = remote.attach(address, open=lambda info: [info])
        owner.kill()
        until(lambda: handle.state == "revoked")
        assert f"process {owner.pid}, is gone" in handle.reason


@pytest.mark.parametrize("left", range(5))
def test_an_owner_that_has_no_descriptor_left_lets_in_whoever_waits_with_its_gate_as_soon_as_it_has(
    left: int, address: str, puppets: Callable[..., Puppet]
) -> None:
    owner, worker = puppets(), puppets()
    owner.ask("announce", address=address)
    owner.ask("exhaust", but=left)
    worker.tell("attach", address=address)
    if left < (3 if sys.version_info >= (3, 13) else 4):  # its connection, its pidfd, its gate, and what a mapping keeps
        until(lambda: b"whoever comes has to wait" in owner.complaints())
    owner.ask("relieve")
    assert worker.hear()["epoch"]
    assert "ref_proxy gate" in Path(f"/proc/{owner.pid}/maps").read_text()
    assert owner.ask("revoke")["state"] == "drained"
    worker.kill()


def test_an_owner_that_has_no_descriptor_left_for_long_is_named(
    address: str, puppets: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ref_proxy.remote.worker.ANSWER", 0.1)
    owner = puppets()
    owner.ask("announce", address=address)
    owner.ask("exhaust", but=2)
    with pytest.raises(TimeoutError, match=f"owner of '{address}', process {owner.pid}, has no descriptor or thread left"):
        remote.attach(address, open=list)


class TestAnAttachThatFailed:
    """It holds nothing."""

    def test_an_owner_that_goes_on_too_late_does_not_wait_for_it(
        self, address: str, puppets: Callable[..., Puppet], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ref_proxy.remote.worker.ANSWER", 0.05)
        owner = puppets()
        owner.ask("announce", address=address)
        owner.stop()
        with pytest.raises(TimeoutError):
            remote.attach(address, open=list)
        owner.signal(signal.SIGCONT)
        assert owner.ask("revoke", timeout=PATIENCE)["state"] == "drained"

    @pytest.mark.parametrize("left", range(12))
    def test_no_descriptor_left_at_whatever_step(self, left: int, address: str, puppets: Callable[..., Puppet]) -> None:
        worker = puppets()
        shared = remote.announce(address, ["x"])
        worker.ask("exhaust", but=left)
        try:
            worker.ask("attach", address=address)
        except Failed:
            assert shared.revoke(timeout=PATIENCE).state == "drained"
        else:
            assert left >= 3
            worker.kill()
            shared.revoke()

    @pytest.mark.parametrize("left", range(8))
    def test_who_has_no_descriptor_left_to_announce_keeps_no_name(
        self, left: int, address: str, puppets: Callable[..., Puppet]
    ) -> None:
        owner = puppets()
        owner.ask("exhaust", but=left)
        try:
            owner.ask("announce", address=address)
        except Failed:
            remote.announce(address, ["x"]).revoke()
            owner.ask("relieve")
            owner.ask("announce", address=address)
        else:
            assert left >= 3
        assert owner.ask("revoke")["state"] == "drained"


class TestHub:
    def test_there_is_no_thread_before_and_after(self, address: str) -> None:
        from ref_proxy.waiting import _job_ended, _jobs

        assert not _jobs
        with remote.announce(address, ["x"]):
            assert len(_jobs) == 1
            handles = [remote.attach(address, open=lambda info: [info]) for _ in range(5)]
            assert len(_jobs) == 1, "one for all"
            for handle in handles:
                handle.close()
        assert _job_ended.wait(lambda: not _jobs, monotonic() + PATIENCE)

    def test_a_signal_handler_may_revoke_in_the_midst_of_anything(self, address: str) -> None:
        outcomes: list[remote.Outcome] = []
        old = signal.signal(signal.SIGUSR1, lambda *_: outcomes.append(remote.revoke(other)))
        other = f"{address}-other"
        try:
            with remote.announce(address, ["x"]) as shared:
                for _ in range(20):
                    second = remote.announce(other, ["y"])
                    os.kill(os.getpid(), signal.SIGUSR1)
                    second.revoke()
                    shared.replace(["z"])
        finally:
            signal.signal(signal.SIGUSR1, old)
        assert [outcome.state for outcome in outcomes] == ["drained"] * 20


def attach_and_stay(address: str, sender: Any) -> None:
    handle = remote.attach(address, open=lambda info: [info["n"]])
    proxy = handle.proxy()
    with proxy.access() as resource:
        sender.send(resource[0])
    try:
        while True:
            with proxy.access():
                pass
    except Revoked:
        handle.close()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before 3.13 subinterpreters are made in another way")
def test_subinterpreters_announce_and_attach_and_their_end_leaves_nothing(address: str, puppets: Callable[..., Puppet]) -> None:
    interpreters = pytest.importorskip("_interpreters")
    program = f"""if True:
        import sys
        sys.path[:] = {sys.path!r}
        import warnings
        warnings.simplefilter("ignore")
        from ref_proxy import remote
        shared = remote.announce({address!r}, ["x"])
        handle = remote.attach({address!r}, open=lambda info: ["opened"])
        with handle.proxy().access() as resource:
            assert resource == ["opened"]
        assert shared.revoke(timeout=30).state == "drained" and handle.state == "revoked"
        shared = remote.announce({address!r}, ["x"])
        handle = remote.attach({address!r}, open=lambda info: ["opened"])
        try:
            remote.announce({address + "-taken"!r}, ["x"])
        except FileExistsError:
            pass
        else:
            raise AssertionError("the main interpreter has that name")
    """
    other = puppets()
    with remote.announce(f"{address}-taken", ["x"]):
        for _ in range(3):
            interpreter = interpreters.create()
            assert interpreters.run_string(interpreter, program) is None
            interpreters.destroy(interpreter)
            with pytest.raises(Failed, match="has an owner already"):
                other.ask("announce", address=f"{address}-taken")
    other.kill()
    with pytest.raises(remote.NotAnnounced):
        remote.attach(address, open=list)
