"""A FUSE file whose server answers no read: nothing wakes who is blocked in it but the end of its connection."""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
from pathlib import Path

import pytest

from ref_proxy import Revoked, RevokeTimeout
from ref_proxy.adapters import files
from tests import PATIENCE
from tests.support import Call

from .support import CLONE_NEWNS, Lacking, apart, libc, system

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, INTERRUPT = 1, 2, 3, 14, 15, 18, 25, 26, 36
FOPEN_DIRECT_IO = 1
MS_NOSUID, MS_NODEV = 2, 4
ROOT, FILE = 1, 2


class Server:
    """A file system with one file, 'silent', which can be opened, and whose reads are never answered."""

    def __init__(self, folder: Path) -> None:
        self.reading = threading.Event()
        try:
            self._device = os.open("/dev/fuse", os.O_RDWR)
            options = f"fd={self._device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
            system(libc.mount(b"silent", bytes(folder), b"fuse", MS_NOSUID | MS_NODEV, options), "mounting /dev/fuse")
            self._mount_control()
        except OSError as error:
            raise Lacking(f"/dev/fuse: {error}") from None
        self._serving = Call(self._serve)
        self.path = folder / "silent"
        self.abort_file = Path(f"/sys/fs/fuse/connections/{os.minor(self.path.stat().st_dev)}/abort")

    def _mount_control(self) -> None:
        control = Path("/sys/fs/fuse/connections")
        if not any(control.iterdir()):
            system(libc.mount(b"fusectl", bytes(control), b"fusectl", 0, None), "mounting fusectl")

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 17)
            except OSError as error:
                if error.errno == errno.ENODEV:  # the end of the connection
                    return
                raise
            operation, unique, node = struct.unpack_from("=4xIQQ", request)
            if operation == READ:
                self.reading.set()
            elif operation not in {FORGET, INTERRUPT}:
                self._answer(unique, self._reply(operation, node))

    def _reply(self, operation: int, node: int) -> bytes | None:
        if operation == INIT:
            return struct.pack("=IIII HHIIHHI 28x", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, 0)
        if operation == LOOKUP:
            return struct.pack("=QQQQII", FILE, 0, 0, 0, 0, 0) + self._attributes(FILE)
        if operation == GETATTR:
            return struct.pack("=QII", 0, 0, 0) + self._attributes(node)
        if operation == OPEN:
            return struct.pack("=QII", 1, FOPEN_DIRECT_IO, 0)
        return b"" if operation in {FLUSH, RELEASE} else None

    def _attributes(self, node: int) -> bytes:
        mode = 0o40755 if node == ROOT else 0o100644
        return struct.pack("=QQQQQQ IIIIIIIIII", node, 4096, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _answer(self, unique: int, reply: bytes | None) -> None:
        error, body = (-errno.ENOSYS, b"") if reply is None else (0, reply)
        os.write(self._device, struct.pack("=IiQ", 16 + len(body), error, unique) + body)

    def abort(self, *_: object) -> None:
        self.abort_file.write_bytes(b"1")

    def end(self) -> None:
        self._serving.result()
        os.close(self._device)


def test_who_is_blocked_when_the_connection_is_aborted_learns_that_it_is_gone(tmp_path):
    def check():
        server, told = Server(tmp_path), []
        provider = files.provide(server.path, flags=os.O_RDONLY, name="silent", on_gone=told.append)
        file = files.open(provider.proxy())
        reading = Call(file.read, 10)
        assert server.reading.wait(PATIENCE)
        server.abort()
        with pytest.raises(Revoked, match="'silent' went away by itself") as caught:
            reading.result()
        assert caught.value.__cause__.errno in {errno.ECONNABORTED, errno.ENOTCONN}
        with pytest.raises(Revoked, match="went away by itself") as caught:
            file.read(10)
        assert caught.value.__cause__.errno == errno.ENOTCONN
        assert told == [provider]
        assert provider.revoke(timeout=PATIENCE) is True
        server.end()

    apart(CLONE_NEWNS, check)


def test_a_removal_that_knows_how_to_abort_brings_them_back(tmp_path):
    def check():
        server = Server(tmp_path)
        provider = files.provide(server.path, flags=os.O_RDONLY, interrupt=server.abort)
        reading = Call(files.open(provider.proxy()).read, 10)
        assert server.reading.wait(PATIENCE)
        assert provider.revoke(timeout=PATIENCE) is True
        with pytest.raises(Revoked):
            reading.result()
        server.end()

    apart(CLONE_NEWNS, check)


def test_a_removal_that_does_not_know_waits_and_releases_nothing_under_them(tmp_path):
    """No poll and no waker helps: the read sleeps in the kernel, as one of a disk does. It is said so, and it is true."""

    def check():
        server = Server(tmp_path)
        provider = files.provide(server.path, flags=os.O_RDONLY)
        reading = Call(files.open(provider.proxy("reader")).read, 10)
        assert server.reading.wait(PATIENCE)
        with pytest.raises(RevokeTimeout, match="proxy 'reader'"):
            provider.revoke(timeout=0.1)
        assert provider.state == "draining" and not reading.returned
        server.abort()
        assert provider.revoke(timeout=PATIENCE) is True
        with pytest.raises(Revoked):
            reading.result()
        server.end()

    apart(CLONE_NEWNS, check)
