"""cpython 121544: a file is closed in another thread during a write, and the write lands in a file that was opened since.

https://github.com/python/cpython/issues/121544

A file object looks up its descriptor's number first, and makes the system call afterwards. In between another thread may close
the file and open another one, which is given the lowest free number: the same. The page calls it unfixable without deadlocks,
with the GIL or without.

Here the moment in between is made long. The write waits for a pipe that is full; the file is closed, and a log is opened. Then
a signal interrupts the write, and the interpreter makes the system call once more, with the number that it has in its hand.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading

import pytest

from ref_proxy import Provider, Revoked
from tests.support import Call, is_waiting, sleeps_in_call_on, until

from .museum import ROUNDS, Bare, note, run

CAPACITY = 1 << 20
SECRET = b"a secret"


def full_pipe():
    """A pipe that takes no more, so that a write to it waits: its reading end, and a file."""
    end, number = os.pipe()
    os.set_blocking(number, False)
    while os.write(number, b"." * CAPACITY) == CAPACITY:
        pass
    os.set_blocking(number, True)
    return open(end, "rb", buffering=0), open(number, "wb", buffering=0)


def scene(own):
    interrupted = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: interrupted.set())
    writer = threading.main_thread()  # signals interrupt the system calls of this one alone
    end, secrets = full_pipe()
    number = secrets.fileno()
    owner = own(secrets, release=lambda file: file.close())
    proxy = owner.proxy()

    def remove():
        owner.revoke()
        log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (who gets it closes it)
        assert log.fileno() == number
        return log

    def meanwhile():
        until(lambda: sleeps_in_call_on(writer, number))
        removal = Call(remove)
        until(lambda: removal.returned or is_waiting(removal.ident))
        signal.pthread_kill(writer.ident, signal.SIGUSR1)
        until(interrupted.is_set)
        end.read(CAPACITY)  # now there is room
        return removal.result()

    others = Call(meanwhile)
    try:
        with proxy.access() as file:
            file.write(SECRET)
        with proxy.access():
            note("still-granted")
    except Revoked:
        note("refused")
    with end, others.result() as log:
        log.seek(0)
        note("done" if end.readall() == SECRET else "lost")
        if log.read():
            note("in-the-log")


@pytest.mark.once
def test_without_it_the_secret_is_written_to_the_log():
    ending = run(scene, Bare)
    assert ending.how == "exit 0", ending.changed
    assert ending.told == {"lost": ROUNDS, "in-the-log": ROUNDS, "still-granted": ROUNDS}, ending.changed


def test_with_it_the_number_is_free_after_the_write():
    run(scene, Provider).assert_good()
