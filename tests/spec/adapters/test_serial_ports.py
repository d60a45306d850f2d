"""Serial ports: everybody who is blocked comes back with Revoked, and so does who finds that the port was pulled."""

from __future__ import annotations

import errno
import gc
import io
import os
import socket
import subprocess
import sys
import tty
from pathlib import Path

import pytest

import ref_proxy
from ref_proxy import Provider, Revoked, RevokeTimeout
from ref_proxy.adapters import serial_ports
from tests.support import Call, in_child, until

serial = pytest.importorskip("serial", reason="needs ref-proxy[serial]")
pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")

MANY = 5


class Line:
    """A serial line: its device, and whoever is at the other end."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)

    def send(self, data: bytes) -> None:
        os.write(self.master, data)

    def pull(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            os.close(self._slave)
            self.master = -1


@pytest.fixture
def line():
    line = Line()
    yield line
    line.pull()


@pytest.fixture
def told():
    return []


@pytest.fixture
def provider(line, told):
    provider = serial_ports.provide(line.device, name="line", on_gone=told.append)
    yield provider
    provider.revoke(timeout=20)


@pytest.fixture
def port(provider):
    with serial_ports.open(provider.proxy("reader")) as port:
        yield port


def assert_blocked(provider: Provider, calls: list[Call]) -> None:
    """Prove that all of them are in a section, and there in pyserial. An instant before they sleep will do: it lasts."""
    until(
        lambda: (
            sum(any("adapters/serial_ports" in frame.filename for frame in b.stack) for b in provider.blockers()) == len(calls)
            or any(c.returned for c in calls)
        )
    )
    for call in calls:
        assert not call.returned, f"it did not block, but came back with {call._outcome}"


def assert_all_cut_short(provider: Provider, calls: list[Call]) -> None:
    assert_blocked(provider, calls)
    assert provider.revoke(timeout=20) is True
    for call in calls:
        with pytest.raises(Revoked, match="'line' was revoked in the middle of this call"):
            call.result()


READS = [
    lambda port: port.read(10),
    lambda port: port.readinto(bytearray(10)),
    lambda port: port.read_until(b"!"),
    lambda port: list(port.iread_until(b"!")),
    lambda port: port.readline(),
    list,
    lambda port: io.TextIOWrapper(io.BufferedRWPair(port, port)).readline(),
]


@pytest.mark.parametrize("read", READS)
def test_many_blocked_readers_come_back_with_revoked(read, provider):
    ports = [serial_ports.open(provider.proxy()) for _ in range(MANY)]
    assert_all_cut_short(provider, [Call(read, port) for port in ports])


def test_a_read_that_has_some_is_cut_short_and_says_so(line, provider, port):
    call = Call(port.read, 10)
    assert_blocked(provider, [call])
    line.send(b"half")
    with provider.proxy().access() as bare:
        until(lambda: bare.in_waiting == 0)
    assert_all_cut_short(provider, [call])


def test_many_blocked_writers_come_back_with_revoked(provider):
    ports = [serial_ports.open(provider.proxy()) for _ in range(MANY)]
    assert_all_cut_short(provider, [Call(port.write, bytes(1_000_000)) for port in ports])


def test_what_many_writers_write_arrives_whole(line, provider):
    ports = [serial_ports.open(provider.proxy()) for _ in range(MANY)]
    calls = [Call(port.write, bytes([number]) * 10_000) for number, port in enumerate(ports)]
    heard = bytearray()
    while len(heard) < MANY * 10_000:
        heard += os.read(line.master, 100_000)
    assert [call.result() for call in calls] == [10_000] * MANY
    assert [heard.count(number) for number in range(MANY)] == [10_000] * MANY


@pytest.mark.parametrize("timeout", [3600, None])
def test_a_reader_with_a_long_timeout_does_not_sit_it_out(timeout, provider, port):
    port.timeout = timeout
    assert port.timeout == timeout
    assert_all_cut_short(provider, [Call(port.read, 10) for _ in range(MANY)])


@pytest.mark.parametrize("url", ["alt://{}?class=PosixPollSerial", "spy://{}"])
def test_each_kind_of_port_with_pipes_is_cancelled(url, line):
    provider = serial_ports.provide(url.format(line.device), name="line")
    ports = [serial_ports.open(provider.proxy()) for _ in range(MANY)]
    assert_all_cut_short(provider, [Call(port.read, 1) for port in ports])


def test_a_read_that_begins_in_a_section_after_the_cancellation_does_not_block(provider):
    with provider.proxy().access() as bare:
        removal = provider.revoke_soon()
        assert [bare.read(1) for _ in range(3)] == [b""] * 3
        assert bare.write(b"x") <= 1
    assert removal.wait(20)
    assert not bare.is_open


def test_many_blocked_readers_of_a_loop_come_back_with_revoked():
    provider = serial_ports.provide("loop://", name="line")
    ports = [serial_ports.open(provider.proxy()) for _ in range(MANY)]
    assert_all_cut_short(provider, [Call(port.read, 1) for port in ports])


def test_a_port_that_cannot_be_cancelled_must_have_a_timeout(line):
    url = f"alt://{line.device}?class=VTIMESerial"
    with pytest.raises(ValueError, match=r"cannot be cancelled.*give the port a timeout"):
        serial_ports.provide(url)
    provider = serial_ports.provide(url, timeout=0.1, name="line")
    with serial_ports.open(provider.proxy()) as port:
        assert_revoked(provider, Call(read_on, port))


def read_on(port):
    while True:
        assert port.read(1) == b""


def assert_revoked(provider: Provider, call: Call) -> None:
    assert_blocked(provider, [call])
    assert provider.revoke(timeout=20) is True
    with pytest.raises(Revoked):
        call.result()


def test_a_port_in_the_network_ends_its_reads_by_their_timeout_and_is_gone_when_the_other_side_is(told):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = "socket://{}:{}".format(*server.getsockname())
        first = serial_ports.provide(url, timeout=0.05, name="line")
        second = serial_ports.provide(url, timeout=20, name="other", on_gone=told.append)
        peers = [server.accept()[0] for _ in range(2)]
        assert_revoked(first, Call(read_on, serial_ports.open(first.proxy())))
        for peer in peers:
            peer.close()
    with pytest.raises(Revoked, match="'other' went away by itself"):
        serial_ports.open(second.proxy()).read(1)
    assert told == [second]
    second.revoke(timeout=20)


# A port that is pulled.


def test_who_is_blocked_when_the_line_is_pulled_gets_revoked_and_the_owner_is_told_once(line, provider, told):
    ports = [serial_ports.open(provider.proxy()) for _ in range(MANY)]
    calls = [Call(port.read, 10) for port in ports]
    assert_blocked(provider, calls)
    line.pull()
    for call in calls:
        with pytest.raises(Revoked, match="'line' went away by itself") as caught:
            call.result()
        assert isinstance(caught.value.__cause__, serial.SerialException)
    assert told == [provider]
    assert provider.state == "live"


USES = [
    lambda port: port.read(1),
    lambda port: port.write(b"x"),
    lambda port: port.in_waiting,
    lambda port: port.reset_input_buffer(),
    lambda port: port.flush(),
    lambda port: setattr(port, "baudrate", 19200),
]


@pytest.mark.parametrize("use", USES)
def test_every_use_of_a_pulled_line_is_revoked_from_what_pyserial_raised(use, line, provider, port, told):
    line.pull()
    with pytest.raises(Revoked, match="'line' went away by itself") as caught:
        use(port)
    assert caught.value.__cause__ is not None
    assert caught.value.errno == errno.ENODEV
    assert told == [provider]


def test_that_it_is_gone_is_seen_also_by_one_who_is_handling_another_error(line, port):
    line.pull()
    try:
        raise OSError(errno.ENOENT, "something else")
    except OSError:
        with pytest.raises(Revoked):
            port.read(1)


def test_the_owner_may_revoke_when_he_is_told(line):
    provider = serial_ports.provide(line.device, on_gone=lambda provider: provider.revoke(timeout=20))
    port = serial_ports.open(provider.proxy())
    line.pull()
    with pytest.raises(Revoked):
        port.read(1)
    assert provider.state == "revoked"


def test_what_is_no_departure_stays_what_it_is(line, port, told):
    port.write_timeout = 0.01
    with pytest.raises(serial.SerialTimeoutException):
        port.write(bytes(1_000_000))
    port.write_timeout = 0
    assert port.write(bytes(1_000_000)) == 0  # there is no room
    line.send(b"x")
    with pytest.raises(ValueError, match="baudrate"):
        port.baudrate = -1
    with pytest.raises(TypeError):
        port.read("one")
    assert port.read(1) == b"x"
    port.timeout = 0
    assert port.read(1) == b""
    assert told == []


# What a handle is.


def test_it_reads_and_writes_like_a_port(line, provider, port):
    port.timeout = 5
    line.send(b"one\ntwo!three\nfour")
    assert port.readline() == b"one\n"
    assert port.read_until(b"!") == b"two!"
    assert port.read_until(size=2) == b"th"
    assert next(port.iread_until()) == b"ree\n"
    until(lambda: port.in_waiting == 4)
    assert port.read_all() == b"four"
    line.send(b"five")
    buffer = bytearray(4)
    assert port.readinto(buffer) == 4
    assert buffer == b"five"
    assert port.write(b"ping") == 4
    port.flush()
    assert os.read(line.master, 10) == b"ping"
    assert (port.port, port.name, port.is_open) == (line.device, line.device, True)
    port.baudrate = 115200
    assert serial_ports.open(provider.proxy()).baudrate == 115200
    line.send(b"x")
    until(lambda: port.in_waiting == 1)
    port.reset_input_buffer()
    assert port.in_waiting == 0


def test_close_gives_up_this_handle_alone(line, provider, port):
    other = serial_ports.open(provider.proxy())
    with other:
        other.close()
    assert not other.is_open
    assert other.closed
    with pytest.raises(serial.PortNotOpenError) as caught:
        other.read(1)
    assert not isinstance(caught.value, Revoked)
    line.send(b"x")
    assert port.read(1) == b"x"
    provider.revoke(timeout=20)
    assert not port.is_open
    port.close()
    port.close()


def test_it_gives_no_number_away_and_does_not_open(port):
    with pytest.raises(io.UnsupportedOperation):
        port.fileno()
    with pytest.raises(io.UnsupportedOperation, match="opened by its provider"):
        port.open()


def test_its_text_says_whose_it_is_and_its_state(provider, port):
    assert repr(port) == "<ref_proxy.adapters.serial_ports.SerialPort on 'line', live>"
    provider.revoke(timeout=20)
    assert repr(port).endswith("revoked>")
    port.close()
    assert repr(port).endswith("closed>")


# Taking over.


def test_an_open_port_is_taken_over_and_closed_by_the_removal(line):
    mine = serial.Serial(line.device, baudrate=9600)
    provider = serial_ports.provide(mine)
    assert provider.name == line.device
    with provider.proxy().access() as bare:
        assert bare is mine
    provider.revoke(timeout=20)
    assert not mine.is_open


def test_what_cannot_be_provided_stays_the_callers(line):
    mine = serial.Serial(line.device)
    with pytest.raises(TypeError, match="keeps its settings: set baudrate on it"):
        serial_ports.provide(mine, baudrate=9600)
    assert mine.is_open
    mine.close()
    with pytest.raises(ValueError, match="is not open"):
        serial_ports.provide(mine)
    with pytest.raises(TypeError, match="not a StringIO"):
        serial_ports.provide(io.StringIO())
    with pytest.raises(serial.SerialException):
        serial_ports.provide("/nowhere/at/all")


def test_a_port_that_a_consumer_closed_is_removed_all_the_same(provider, caplog):
    with provider.proxy().access() as bare:
        bare.close()
    assert provider.revoke(timeout=20) is True
    assert caplog.text == ""


def test_a_proxy_that_leads_to_something_else_is_refused():
    with Provider(io.StringIO(), name="text") as provider, pytest.raises(TypeError, match="no serial port"):
        serial_ports.open(provider.proxy())


def test_a_removal_leaves_no_descriptor(line):
    before = os.listdir("/dev/fd")
    serial_ports.provide(line.device).revoke(timeout=20)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_provider_that_is_dropped_wakes_its_readers_and_closes(line):
    provider = serial_ports.provide("loop://", name="line")
    call = Call(serial_ports.open(provider.proxy()).read, 1)
    assert_blocked(provider, [call])
    with pytest.warns(ResourceWarning, match="dropped while live"):
        del provider
        gc.collect()
    with pytest.raises(Revoked):
        call.result()


def test_a_removal_waits_for_a_section_that_does_not_block_in_the_port(provider):
    section = provider.proxy("slow").access()
    section.detach()
    with pytest.raises(RevokeTimeout, match="'slow'"):
        provider.revoke(timeout=0)
    section.end()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_childs_removal_brings_its_own_readers_back_and_leaves_the_parents_alone(line, provider, port):
    reading = Call(port.read, 4)
    assert_blocked(provider, [reading])

    def check():
        mine = Call(port.read, 4)
        assert_all_cut_short(provider, [mine])

    in_child(check)
    assert_blocked(provider, [reading])
    line.send(b"ping")
    assert reading.result() == b"ping"


# Without pyserial.


def child(code: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(ref_proxy.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source, "REF_PROXY_BACKEND": ref_proxy.BACKEND},
        capture_output=True,
        text=True,
    )


def test_without_pyserial_it_says_which_extra_brings_it():
    run = child(
        "import sys; sys.modules['serial'] = None\nfrom ref_proxy.adapters import serial_ports\nserial_ports.provide('loop://')"
    )
    assert "ImportError: serial ports need pyserial, which is not installed: pip install 'ref-proxy[serial]'" in run.stderr


def test_importing_the_module_does_not_import_pyserial():
    run = child("import sys\nfrom ref_proxy.adapters import serial_ports\nprint('serial' in sys.modules)")
    assert run.stdout == "False\n"
