"""paramiko 380: a socket is closed in another thread during a `recv()`, which sleeps on for good.

https://github.com/paramiko/paramiko/issues/380

A transport was closed in another thread than the one that reads from it, and the process never ended: on Linux `close()` does not
wake who is asleep in a call on that descriptor. The kernel keeps the connection for the sleeper, which shows here: what the peer
sends after the close is received, on a socket that has no descriptor any more. Where the peer says nothing, nobody is woken.
"""

from __future__ import annotations

import socket
import threading

import pytest

from ref_proxy import Provider, Revoked
from tests.support import Call, sleeps_in_call_on, until

from .museum import ROUNDS, Bare, note, run


def scene(own):
    near, far = socket.socketpair()
    number = near.fileno()
    owner = own(near, interrupt=lambda near: near.shutdown(socket.SHUT_RDWR), release=socket.socket.close)
    proxy = owner.proxy()
    heard = threading.Event()

    def receive():
        try:
            while True:
                with proxy.access() as near:
                    message = near.recv(100)
                    if near.fileno() == -1:
                        note("received-after-close")
                        return
                if message:  # nothing, where it was shut down
                    note("done")
                    heard.set()
        except Revoked:
            note("refused")

    reader = Call(receive)
    far.send(b"in time")
    until(lambda: heard.is_set() and sleeps_in_call_on(reader, number))
    owner.revoke()
    if sleeps_in_call_on(reader, number):
        note("sleeps-on")
        far.send(b"too late")
    reader.result()
    far.close()


@pytest.mark.once
def test_without_it_the_reader_sleeps_on():
    ending = run(scene, Bare)
    assert ending.how == "exit 0", ending.changed
    assert ending.told == {"done": ROUNDS, "sleeps-on": ROUNDS, "received-after-close": ROUNDS}, ending.changed


def test_with_it_the_reader_is_woken_and_the_socket_closed_after_it():
    run(scene, Provider).assert_good()
