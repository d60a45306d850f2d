"""pyserial 713: a port is closed in another thread during a read, and the read fails in the middle with TypeError.

https://github.com/pyserial/pyserial/issues/713

`Serial.read()` waits in `select()` on the port's descriptor. `Serial.close()` closes that and sets it to None. When something
arrives after all, the read goes on with None: "'NoneType' object cannot be interpreted as an integer"; a little earlier it would
have been "Bad file descriptor", or the bytes of whoever got the number next. The report adds that `cancel_read()` before the
`close()` would not mend it, because nobody waits for the read to be over. That wait is what a removal has in between.
"""

from __future__ import annotations

import os
import pty
import threading
import tty

import pytest

from ref_proxy import Provider, Revoked
from ref_proxy.adapters import serial_ports
from tests.support import Call, sleeps_in_call_on, until

from .museum import ROUNDS, Bare, note, run

serial = pytest.importorskip("serial")

MESSAGE = b"ping"


def scene(own):
    far, near = pty.openpty()
    tty.setraw(near)
    port = serial.Serial(os.ttyname(near))
    select = max(port.fd, port.pipe_abort_read_r) + 1  # what its first argument is
    owner = own(port, release=serial.Serial.close) if own is Bare else serial_ports.provide(port)
    proxy = owner.proxy()
    heard = threading.Event()

    def read():
        try:
            while True:
                with proxy.access() as port:
                    received = port.read(len(MESSAGE))
                    if received:  # nothing, where it was cancelled
                        note("done" if received == MESSAGE else "wrong")
                        heard.set()
        except Revoked:
            note("refused")
        except Exception as error:
            note(type(error).__name__)

    reader = Call(read)
    os.write(far, MESSAGE)
    until(lambda: heard.is_set() and sleeps_in_call_on(reader, select))
    owner.revoke()
    os.write(far, MESSAGE)
    reader.result()
    os.close(near)
    os.close(far)


@pytest.mark.once
def test_without_it_the_read_fails_in_the_middle():
    ending = run(scene, Bare)
    assert ending.how == "exit 0", ending.changed
    # What `select()` was told before the close may bring it back at once: that read still has the number, and fails with EBADF.
    assert ending.told["TypeError"] > 0, ending.changed
    assert ending.told["TypeError"] + ending.told["SerialException"] == ROUNDS, ending.changed


def test_with_it_the_port_is_closed_after_the_read():
    run(scene, Provider).assert_good()
