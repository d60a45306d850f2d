"""cpython 145040: a connection is closed during a query, and the query's end kills the process.

https://github.com/python/cpython/issues/145040

`sqlite3.Connection.close()` sets the connection's pointer to the database to NULL while a query is under way. When the query has
its row, it goes on with that pointer. The report closes out of a callback, as does
https://github.com/python/cpython/issues/145046; here another thread does, which `check_same_thread=False` is there to allow.
(https://github.com/python/cpython/issues/146471 is a neighbour, not the same: there two threads share one cursor, and nothing is
removed. A lock mends that.)
"""

from __future__ import annotations

import sqlite3
import threading

import pytest

from ref_proxy import Provider, Revoked
from tests import PATIENCE
from tests.support import Call, until

from .museum import Bare, note, run


def is_closed(connection):
    try:
        return connection.total_changes < 0
    except sqlite3.ProgrammingError:
        return True


def scene(own):
    # Without cached statements, which `close()` would wait for before it comes to the pointer.
    connection = sqlite3.connect(":memory:", check_same_thread=False, cached_statements=0)
    owner = own(connection, release=sqlite3.Connection.close)
    proxy = owner.proxy()
    midway = threading.Event()

    def pause():
        midway.set()
        until(lambda: owner.state != "live" or is_closed(connection))
        return 42

    connection.create_function("pause", 0, pause)

    def query():
        try:
            for question in ("select 42", "select pause()", "select 42"):
                with proxy.access() as connection:
                    note("done" if connection.execute(question).fetchall() == [(42,)] else "wrong")
        except Revoked:
            note("refused")

    user = Call(query)
    assert midway.wait(PATIENCE)
    owner.revoke()
    user.result()


@pytest.mark.once
def test_without_it_the_process_is_killed():
    ending = run(scene, Bare)
    assert ending.how == "SIGSEGV", ending.changed
    assert ending.told == {"done": 1}, ending.changed


def test_with_it_the_connection_is_closed_after_the_query():
    run(scene, Provider).assert_good()
