"""Guarded objects: they look like the resource, each use of them is a section of its own, and nothing of it is left over."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import functools
import gc
import inspect
import io
import mmap
import pickle
import signal
import socket
import sqlite3
import sys
import threading
import types
import weakref

import pytest

from ref_proxy import Provider, Revoked, RevokeDeadlock, RevokeTimeout, guarded, tasks
from tests import PATIENCE
from tests.support import Call, until

CLOSED_WHILE_KEPT = sys.version_info[:2] in {(3, 12), (3, 13)}  # whose coroutines keep their variables then, if never begun


class Line:
    """A resource of every kind of use; it sees whether it is used outside a section, or after its release."""

    kind = "line"

    def __init__(self):
        self.provider = None
        self.log = []
        self.speed = 9600
        self.send = self.write  # an attribute that is a bound method

    def write(self, data, *rest, end="", **more):
        """Write it."""
        self.log.append(self.inside())
        return data, *rest, end, *more.items()

    def inside(self):
        return len(self.provider.blockers())

    def fail(self):
        raise KeyError("failed")

    def me(self):
        return self

    def cursor(self):
        return iter([1, 2, 3])

    def words(self):
        try:
            self.log.append(self.inside())
            got = yield "one"
            yield got
        finally:
            self.log.append("words left")
        return "done"

    @contextlib.contextmanager
    def transaction(self):
        self.log.append("begin")
        try:
            yield self
        finally:
            self.log.append("commit")

    @property
    def double(self):
        return 2 * self.speed

    @staticmethod
    def plain():
        return "plain"

    @classmethod
    def named(cls):
        return cls.__name__

    pair = functools.partialmethod(write, "a", end="b")

    async def read(self):
        await asyncio.sleep(0)
        return self.inside()

    async def open_cursor(self):
        return self.cursor()

    async def stream(self):
        for i in range(3):
            yield i + 10 * self.inside()

    @types.coroutine
    def old(self):
        yield from asyncio.sleep(0).__await__()
        return self.inside()

    def __len__(self):
        return 3

    def __getitem__(self, at):
        if at > 2:
            raise IndexError(at)
        return at * self.inside()

    def __contains__(self, what):
        return what == "x"

    def __call__(self, what):
        return "called", what

    def __add__(self, other):
        return 1 + other if isinstance(other, int) else NotImplemented

    def __iadd__(self, other):
        self.speed += other
        return self

    def __str__(self):
        return "a line"


def provide(resource, **hooks):
    provider = Provider(resource, name="line", **hooks)
    if isinstance(resource, Line):
        resource.provider = provider
    return provider


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def provider(line):
    provider = provide(line)
    yield provider
    provider.revoke(timeout=PATIENCE)


@pytest.fixture
def port(provider):
    return guarded(provider.proxy("reader"))


# ---- It looks like the resource ----


def test_a_method_call_is_a_section_of_its_own(port, line, provider):
    assert port.write("a", "b", end="c", d=4) == ("a", "b", "c", ("d", 4))
    assert line.log == [1]
    assert provider.blockers() == []


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 8, 9, 30])
def test_any_number_of_arguments_is_passed_on(port, count):
    assert port.write("a", *range(count)) == ("a", *range(count), "")
    keywords = {f"k{i}": i for i in range(count)}
    assert port.write("a", **keywords) == ("a", "", *keywords.items())


def test_attributes_are_read_written_and_deleted(port, line, provider):
    assert (port.speed, port.double, port.kind) == (9600, 19200, "line")
    port.speed = 1
    port.extra = 2
    assert (line.speed, line.extra, port.double) == (1, 2, 2)
    del port.extra
    with pytest.raises(AttributeError, match="'Line' object has no attribute 'extra'"):
        port.extra  # noqa: B018
    assert not hasattr(port, "extra")
    assert provider.blockers() == []


def test_an_attribute_that_came_later_and_a_method_that_was_replaced_on_the_object_count(port, line):
    line.later = 5
    line.inside = lambda: "patched"
    assert (port.later, port.inside()) == (5, "patched")


def test_special_methods_go_to_the_resource(port, line):
    assert (len(port), port[2], list(port), "x" in port, "y" in port, port(1)) == (3, 2, [0, 1, 2], True, False, ("called", 1))
    assert (port + 1, str(port), f"{port}", bool(port)) == (2, "a line", "a line", True)
    with pytest.raises(TypeError):
        port + "x"
    same = port
    port += 5
    assert port is same and line.speed == 9605


def test_it_is_an_instance_of_the_resources_type(port):
    assert isinstance(port, Line)
    assert port.__class__ is Line
    assert type(port) is not Line
    assert type(port).__doc__ == Line.__doc__
    assert {"write", "speed", "double"} <= set(dir(port))


def test_a_method_says_what_it_stands_for(port):
    assert port.write.__name__ == "write"
    assert port.write.__doc__ == "Write it."
    assert inspect.signature(port.write) == inspect.signature(Line().write)
    assert inspect.iscoroutinefunction(port.read)
    assert not inspect.iscoroutinefunction(port.write)
    assert repr(port.write) == "<bound method Line.write of <guarded Line of 'line', live>>"


def test_what_returns_the_resource_returns_the_guarded_object(port):
    assert port.me() is port
    with port.transaction() as inside:
        assert inside is port


def test_a_method_taken_off_it_is_guarded_and_holds_nothing(port, provider):
    taken, sent = port.write, port.send
    assert provider.blockers() == []
    assert taken("x") == sent("x") == ("x", "")
    provider.revoke(timeout=0)
    for call in (taken, sent):
        with pytest.raises(Revoked):
            call("x")


def test_static_and_class_methods_and_partial_ones(port, line):
    assert (port.plain(), port.named()) == ("plain", "Line")
    assert port.pair() == ("a", "b")
    assert line.log == [1]


def test_equality_and_hash_are_those_of_the_type():
    mine = provide([1, 2])
    one, two = guarded(mine.proxy()), guarded(mine.proxy())
    assert one == [1, 2] == two
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    other = provide(Line())
    one, two = guarded(other.proxy()), guarded(other.proxy())
    assert one == one and one != two and len({one, two}) == 2
    for provider in (mine, other):
        provider.revoke()


def test_a_type_without_attributes_of_its_own_has_those_of_the_type():
    class Slotted:
        __slots__ = ("speed",)

        def twice(self):
            return 2 * self.speed

    provider = provide(Slotted())
    port = guarded(provider.proxy())
    port.speed = 4
    assert (port.speed, port.twice()) == (4, 8)
    with pytest.raises(AttributeError):
        port.other  # noqa: B018
    del port.speed
    assert not hasattr(port, "speed")
    provider.revoke()
    with pytest.raises(Revoked):
        port.speed  # noqa: B018


def test_a_patched_method_is_called(port, monkeypatch):
    monkeypatch.setattr(Line, "inside", lambda self: "patched")
    assert port.inside() == "patched"


def test_an_exception_ends_the_section_and_comes_out(port, provider):
    for use in (port.fail, lambda: port[3], lambda: port.missing, port.write, lambda: len(port, 1)):
        with pytest.raises((LookupError, AttributeError, TypeError)):
            use()
        assert provider.blockers() == []


def test_what_cannot_be_guarded_ends_its_section(port, line, provider, recwarn):
    class Choosy(type):
        def __getattr__(cls, name):
            raise KeyError(name)

    steps = Choosy("Steps", (), {"__next__": next})()
    line.inside = lambda: steps
    with pytest.raises(KeyError, match="add_done_callback"):
        port.inside()
    assert provider.blockers() == []
    assert recwarn.list == []  # it was not dropped: it ended


def test_the_annotations_of_the_type_are_not_those_of_the_class_that_is_made_for_it():
    names = {}
    exec(
        compile("class Annotated:\n    speed: int = 1", "annotated", "exec", dont_inherit=True), names
    )  # evaluated late, from 3.14 on
    provider = provide(names["Annotated"]())
    assert type(guarded(provider.proxy())).__annotations__ == {}
    provider.revoke()


def test_it_cannot_be_copied_or_pickled(port):
    for how in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot copy or pickle <guarded Line of 'line', live>"):
            how(port)


def test_misuse_of_guarded(provider):
    with pytest.raises(TypeError, match=r"guarded\(\) takes a Proxy, as provider\.proxy\(\) makes it, not a Provider"):
        guarded(provider)
    proxy = provider.proxy("reader")
    proxy.close()
    with pytest.raises(ValueError, match="proxy 'reader' of 'line' is closed"):
        guarded(proxy)
    provider.revoke()
    with pytest.raises(Revoked):
        guarded(provider.proxy())
    with provide([]) as other, pytest.raises(TypeError, match="the guarded method 'append' is called on a guarded object"):
        type(guarded(other.proxy())).append([], 1)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_keeps_the_resource_no_more_than_its_proxy_does():
    line = Line()
    provider = Provider(line, name="line")  # not `provide`: the resource would keep its provider
    port = guarded(provider.proxy())
    gone = weakref.ref(line)
    assert weakref.ref(port)() is port
    provider.revoke()
    del provider, line
    gc.collect()
    assert gone() is None
    with pytest.raises(Revoked):
        port.me()


def test_a_resource_that_holds_its_own_guarded_object_is_collected():
    line = Line()
    provider = provide(line)
    line.port, line.steps = (port := guarded(provider.proxy())), guarded(provider.proxy()).cursor()
    gone = weakref.ref(line)
    provider.revoke()
    del provider, line, port
    gc.collect()
    assert gone() is None


def test_the_class_of_a_type_goes_with_it():
    class Passing:
        def use(self):
            return 1

    provider = provide(Passing())
    assert guarded(provider.proxy()).use() == 1
    assert type(guarded(provider.proxy())) is type(guarded(provider.proxy()))
    provider.revoke()
    gone = weakref.ref(Passing)
    del Passing, provider
    gc.collect()  # the class that was made for it
    gc.collect()  # and then itself
    assert gone() is None


# ---- When it is gone ----


def test_everything_raises_once_it_is_revoked_but_close(port, provider):
    steps, cursor = iter(port), port.cursor()
    provider.revoke()
    assert repr(port) == "<guarded Line of 'line', revoked>"
    assert isinstance(port, Line)
    assert "write" in dir(port)
    uses = [lambda: port.write("x"), lambda: port.speed, lambda: len(port), lambda: port[0], lambda: next(steps), port.words]
    uses += [
        lambda: next(cursor),
        lambda: port.__class__ and port(1),
        lambda: setattr(port, "speed", 1),
        port.transaction,
        port.read,
    ]
    for use in uses:
        with pytest.raises(Revoked):
            use()
    assert port.close() is None
    with pytest.raises(ValueError, match=r"a guarded Line of 'line' is closed: get another one with guarded\(proxy\)"):
        port.write("x")


def test_a_call_that_is_under_way_is_waited_for(provider, line):
    entered, leave = threading.Event(), threading.Event()

    def stay():
        entered.set()
        assert leave.wait(PATIENCE)
        return line.speed

    line.stay = stay
    call = Call(guarded(provider.proxy("reader")).me().__class__.__len__, line)  # a bare one is not
    call.result()
    line.write = stay
    call = Call(guarded(provider.proxy("reader")).write)
    assert entered.wait(PATIENCE)
    removal = Call(provider.revoke).assert_waits()
    assert [blocker.proxy for blocker in provider.blockers()] == ["reader"]
    leave.set()
    assert call.result() == 9600
    assert removal.result() is True


def test_after_replace_it_is_on_the_new_one_and_what_came_from_the_old_one_is_refused(port, provider):
    cursor, sent = port.cursor(), port.send
    assert next(cursor) == 1
    new = Line()
    new.provider, new.speed = provider, 1
    provider.replace(new)
    assert port.speed == 1
    for use in (lambda: next(cursor), lambda: sent("x")):
        with pytest.raises(Revoked, match="'line' was refused: the resource that it came from was replaced; get another one"):
            use()


# ---- close() ----


def test_close_gives_up_this_handle_and_no_more():
    released = []
    stream = io.BytesIO(b"ping")
    provider = provide(stream, release=released.append)
    one, two = guarded(provider.proxy()), guarded(provider.proxy())
    one.close()
    one.close()
    assert repr(one) == "<guarded BytesIO of 'line', closed>"
    assert one.closed is True
    for use in (one.read, lambda: one.anything, lambda: next(one), one.__enter__):
        with pytest.raises(ValueError, match="is closed"):
            use()
    assert two.closed is False
    assert two.read() == b"ping"
    assert released == [] and not stream.closed
    provider.revoke()


def test_a_call_that_is_under_way_goes_on_when_the_handle_is_closed(port, line, provider):
    entered, leave = threading.Event(), threading.Event()
    line.inside = lambda: (entered.set(), leave.wait(PATIENCE))
    call = Call(port.inside)
    assert entered.wait(PATIENCE)
    port.close()
    assert len(provider.blockers()) == 1
    leave.set()
    assert call.result() == (None, True)


def test_a_close_that_is_awaited_is_awaited():
    class Client:
        closed = False

        async def close(self):
            self.closed = True

        async def aclose(self):
            self.closed = True

    client = Client()
    provider = provide(client)

    async def main():
        for close in ("close", "aclose"):
            port = guarded(provider.proxy())
            assert inspect.iscoroutinefunction(getattr(port, close))
            await asyncio.create_task(getattr(port, close)())
            assert repr(port) == "<guarded Client of 'line', closed>"

    asyncio.run(main())
    assert client.closed is False
    provider.revoke()


def test_after_close_there_is_nothing_to_wait_for():
    class Stream:
        waited = 0

        def close(self):
            pass

        async def wait_closed(self):
            self.waited += 1

        def stream(self):
            return iter(Steps())

    class Steps(Stream):
        def __iter__(self):
            return self

        def __next__(self):
            return 1

    stream = Stream()
    provider = provide(stream)
    port, other = guarded(provider.proxy()), guarded(provider.proxy())
    inner = port.stream()

    async def main():
        await port.wait_closed()
        assert stream.waited == 1
        port.close()
        await port.wait_closed()
        assert stream.waited == 1
        await provider.arevoke()
        for each in (port, inner, other):
            each.close()
            await each.wait_closed()
        assert inspect.iscoroutinefunction(port.wait_closed)

    asyncio.run(main())


def test_close_is_there_where_the_type_has_none_or_hides_it():
    class Hiding:  # as codecs.StreamReaderWriter does
        def __init__(self, stream):
            self.stream = stream

        def __getattr__(self, name):
            return getattr(self.stream, name)

    stream = io.BytesIO()
    provider = provide(Hiding(stream))
    with contextlib.closing(guarded(provider.proxy())) as port:
        port.write(b"x")
    assert repr(port).endswith("closed>")
    assert not stream.closed
    provider.revoke()


# ---- What goes on after the call ----


def test_what_is_read_and_not_called_holds_nothing_and_is_not_ended(port, line, provider):
    line.steps = line.words()
    line.reading = line.read()
    line.done = concurrent.futures.Future()
    assert port.done is line.done
    assert isinstance(port.reading, types.CoroutineType)
    assert next(port.steps) == "one"
    gc.collect()
    assert provider.blockers() == []
    assert line.steps.send("two") == "two"  # it was not closed when what was read was dropped
    assert asyncio.run(_awaited(port.reading)) == 1
    steps = port.steps
    provider.revoke(timeout=0)
    with pytest.raises(Revoked):
        next(steps)


async def _awaited(awaitable):
    return await awaitable


def test_a_generator_holds_its_section_until_it_is_done(port, line, provider):
    words = port.words()
    assert isinstance(words, types.GeneratorType)
    assert next(words) == "one"
    assert words.send("two") == "two"
    with pytest.raises(RevokeTimeout):
        Call(provider.revoke, 0).result()
    with pytest.raises(StopIteration, match="done"):
        next(words)
    assert line.log == [1, "words left"]
    assert provider.blockers() == []


@pytest.mark.parametrize("leave", ["close", "drop", "throw"])
def test_a_generator_that_is_left_ends_its_section_after_its_own_cleaning_up(port, line, provider, leave):
    line.inside = lambda: provider.blockers() != []
    words = port.words()
    next(words)
    if leave == "close":
        words.close()
    elif leave == "throw":
        with pytest.raises(KeyError):
            words.throw(KeyError())
    del words
    gc.collect()
    assert line.log == [True, "words left"]
    assert provider.blockers() == []


@pytest.mark.parametrize("method", ["words", "stream", "transaction"])
def test_what_is_dropped_before_it_began_ends_its_section_and_warns_of_nothing(port, line, provider, method):
    begun = getattr(port, method)()
    del begun
    gc.collect()
    assert provider.blockers() == []
    assert line.log == []


def test_a_coroutine_that_nobody_awaits_is_warned_of_by_python_alone(port, provider, recwarn):
    reading = port.read()
    assert len(provider.blockers()) == 1
    del reading
    gc.collect()
    assert [str(each.message) for each in recwarn.list] == ["coroutine 'Line.read' was never awaited"]
    recwarn.clear()  # it keeps the coroutine
    assert provider.blockers() == []


@pytest.mark.skipif(CLOSED_WHILE_KEPT, reason="Python keeps the variables of a coroutine that was closed before it began")
def test_a_coroutine_that_is_closed_before_it_began_ends_its_section(port, provider):
    reading, words = port.read(), port.words()
    reading.close()
    words.close()
    assert provider.blockers() == []


def test_a_coroutine_holds_its_section_until_it_is_done(port, provider):
    async def main():
        assert await port.read() == 1
        assert await asyncio.create_task(port.read()) == 1
        assert await asyncio.wait_for(port.read(), PATIENCE) == 1
        assert await asyncio.gather(port.read(), port.read()) == [2, 1]
        assert await port.old() == 1
        reading = port.read()
        assert inspect.isawaitable(reading)
        await reading
        cursor = await port.open_cursor()
        assert repr(cursor) == "<guarded list_iterator of 'line', live>"
        assert provider.blockers() == []

    asyncio.run(main())


def test_a_coroutine_in_a_task_is_known_by_it_and_waited_for(port, line, provider):
    async def main():
        gate = asyncio.Event()

        async def slow():
            await gate.wait()
            return line.speed

        line.read = slow
        task = asyncio.create_task(port.read(), name="slow")
        await asyncio.sleep(0)
        assert [blocker.task for blocker in provider.blockers()] == ["slow"]
        with pytest.raises(RevokeDeadlock, match="this very thread is inside"):
            provider.revoke()  # it would block the very loop that the task needs
        removal = asyncio.create_task(provider.arevoke())
        while provider.state != "draining":
            await asyncio.sleep(0)
        gate.set()
        assert await task == 9600
        assert await removal is True

    asyncio.run(main())


def test_a_cancelled_coroutine_ends_its_section(port, line, provider):
    async def main():
        line.read = asyncio.Event().wait
        task = asyncio.create_task(port.read())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert provider.blockers() == []

    asyncio.run(main())


def test_a_coroutine_that_runs_in_another_thread_can_be_waited_for_by_its_caller(port, line, provider):
    begun, leave = threading.Event(), threading.Event()

    async def slow():
        begun.set()
        while not leave.is_set():
            await asyncio.sleep(0)

    line.read = slow
    running = Call(asyncio.run, port.read())
    assert begun.wait(PATIENCE)
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)  # no RevokeDeadlock
    leave.set()
    running.result()
    assert provider.revoke(timeout=PATIENCE) is True


def test_an_async_generator_holds_its_section_until_it_is_done(port, provider):
    async def main():
        assert [each async for each in port.stream()] == [10, 11, 12]
        assert provider.blockers() == []
        stream = port.stream()
        assert await anext(stream) == 10
        assert len(provider.blockers()) == 1
        await stream.aclose()
        assert provider.blockers() == []

    asyncio.run(main())


def test_an_async_generator_that_outlives_its_loop_is_closed_once(port, line, provider):
    told = []

    async def stream():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            line.log.append("stream left")

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        streams = port.stream(), port.stream()
        assert [await anext(each) for each in streams] == [1, 1]
        return streams  # the loop closes them

    line.stream = stream
    kept = asyncio.run(main())
    assert told == []
    assert line.log == ["stream left"] * 2
    assert provider.blockers() == []
    del kept


def test_an_async_generator_is_sent_to_and_thrown_into(port, line):
    async def echo():
        got = "first"
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = error
            finally:
                line.log.append(got)

    async def main():
        line.stream = echo
        stream = port.stream()
        assert await stream.asend(None) == "first"
        assert await stream.asend("second") == "second"
        error = KeyError()
        assert await stream.athrow(error) is error
        with pytest.raises(ValueError):
            await stream.athrow(ValueError())
        assert [each async for each in stream] == []

    asyncio.run(main())


def test_an_async_generator_that_is_dropped_is_closed_by_the_loop_inside_its_section(port, line, provider):
    async def stream():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            line.log.append(len(provider.blockers()))

    async def main():
        line.stream = stream
        async for _ in port.stream():
            break
        gc.collect()
        while provider.blockers():
            await asyncio.sleep(0)

    asyncio.run(main())
    assert line.log == [1]


def test_a_future_is_held_until_it_is_done(port, line, provider):
    async def main():
        line.read = asyncio.get_running_loop().create_future
        future = port.read()
        assert isinstance(future, asyncio.Future)
        assert len(provider.blockers()) == 1
        future.set_result(1)
        while provider.blockers():
            await asyncio.sleep(0)
        port.read()  # dropped
        gc.collect()
        assert provider.blockers() == []

    asyncio.run(main())
    line.read = lambda: work
    work = concurrent.futures.Future()
    assert port.read() is work
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)  # its own thread's, and ended by another one
    work.set_result(1)
    assert provider.blockers() == []


def test_an_awaitable_that_is_also_a_context_manager_is_both(port, line, provider):
    class Request:  # as aiohttp's
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return line.inside()

        async def __aenter__(self):
            return line.inside()

        async def __aexit__(self, *error):
            line.log.append(line.inside())

    async def main():
        line.get = Request
        line.inside = lambda: len(provider.blockers())
        assert await port.request() == 1
        assert provider.blockers() == []
        async with port.request() as inside:
            assert inside == 1
            assert len(provider.blockers()) == 1
        assert line.log == [1]
        assert provider.blockers() == []

    Line.request = lambda self: self.get()
    try:
        asyncio.run(main())
    finally:
        del Line.request


def test_an_iterator_is_guarded_step_by_step(port, provider):
    cursor = port.cursor()
    assert repr(cursor) == "<guarded list_iterator of 'line', live>"
    assert iter(cursor) is cursor
    assert next(cursor) == 1
    assert provider.blockers() == []
    assert list(cursor) == [2, 3]
    provider.revoke()
    with pytest.raises(Revoked):
        next(cursor)


def test_a_cursor_is_guarded_and_its_close_always_works():
    provider = provide(sqlite3.connect(":memory:", check_same_thread=False), release=sqlite3.Connection.close)
    database = guarded(provider.proxy())
    cursor = database.cursor()
    assert cursor.execute("create table t (x)") is cursor
    assert cursor.connection is database
    cursor.executemany("insert into t values (?)", [(1,), (2,)])
    assert database.execute("select x from t").fetchall() == [(1,), (2,)]
    other = database.execute("select x from t")
    cursor.close()
    provider.revoke()
    with pytest.raises(Revoked):
        other.fetchone()
    assert other.close() is None


# ---- `with` ----


def test_a_with_is_one_section_and_commits(provider):
    database = provide(sqlite3.connect(":memory:"), release=sqlite3.Connection.close)
    connection = guarded(database.proxy())
    with connection as inside:
        assert inside is connection
        connection.execute("create table t (x)")
        connection.execute("insert into t values (1)")
        assert connection.in_transaction
        assert len(database.blockers()) == 1
    assert not connection.in_transaction
    with pytest.raises(KeyError), connection:
        connection.execute("insert into t values (2)")
        raise KeyError
    assert connection.execute("select x from t").fetchall() == [(1,)]
    assert database.blockers() == []
    database.revoke()


def test_a_with_on_what_it_closes_gives_up_the_handle_and_leaves_the_resource_to_the_others():
    class Wrapper:
        closed = False

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.close()

        def close(self):
            self.closed = True

    one, other = socket.socketpair()
    for resource, closed in (
        (io.BytesIO(), lambda each: each.closed),
        (one, lambda each: each.fileno() < 0),
        (mmap.mmap(-1, 4096), lambda each: each.closed),
        (Wrapper(), lambda each: each.closed),
    ):
        provider = provide(resource)
        port = guarded(provider.proxy())
        with port as inside:
            with port:
                pass
            assert inside is port
            assert repr(port).endswith("live>"), resource  # the last one that is left gives it up
        assert repr(port).endswith("closed>"), resource
        assert not closed(resource), resource
        assert provider.blockers() == []
        provider.revoke()
        if hasattr(resource, "close"):
            resource.close()
    other.close()


class Manager:
    """Notes who enters and leaves."""

    def __init__(self):
        self.log = []

    def __enter__(self):
        self.log.append("enter")
        return "entered"

    def __exit__(self, *error):
        self.log.append("exit")
        return error[0] is KeyError

    async def __aenter__(self):
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error):
        await asyncio.sleep(0)


def test_a_with_passes_on_what_is_entered_and_what_is_swallowed():
    manager = Manager()
    provider = provide(manager)
    port = guarded(provider.proxy())
    with port as inside:
        assert inside == "entered"
        raise KeyError
    assert manager.log == ["enter", "exit"]
    provider.revoke()


def test_a_with_that_is_revoked_meanwhile_is_left_in_its_own_section():
    manager = Manager()
    provider = provide(manager)
    port = guarded(provider.proxy())
    with port:
        removal = provider.revoke_soon()
        with pytest.raises(Revoked):
            port.log  # noqa: B018
        assert not removal.done
    assert manager.log == ["enter", "exit"]
    assert removal.wait(PATIENCE)


def test_each_thread_leaves_its_own_with():
    provider = provide(Manager())
    port = guarded(provider.proxy())
    entered, leave = threading.Event(), threading.Event()

    def other():
        with port:
            entered.set()
            assert leave.wait(PATIENCE)
            return [blocker.ident for blocker in provider.blockers()]

    call = Call(other)
    assert entered.wait(PATIENCE)
    with port, port:
        assert sorted(blocker.ident for blocker in provider.blockers()).count(call.ident) == 1
    assert [blocker.ident for blocker in provider.blockers()] == [call.ident]
    leave.set()
    assert call.result() == [call.ident]
    assert provider.blockers() == []
    provider.revoke()


def test_each_task_of_asyncio_leaves_its_own_with_and_is_told_apart():
    provider = provide(Manager())
    port = guarded(provider.proxy())

    async def stay(gate):
        async with port as inside:
            assert inside is port
            with port:
                await gate.wait()

    async def main():
        gates = [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(stay(gate), name=f"task {i}") for i, gate in enumerate(gates)]
        while len(provider.blockers()) < 4:
            await asyncio.sleep(0)
        assert sorted(str(blocker.task) for blocker in provider.blockers()) == ["task 0", "task 0", "task 1", "task 1"]
        gates[0].set()
        await tasks[0]
        assert [blocker.task for blocker in provider.blockers()] == ["task 1", "task 1"]
        removal = asyncio.create_task(provider.arevoke())  # no RevokeDeadlock: it is another task that is inside
        while provider.state != "draining":
            await asyncio.sleep(0)
        gates[1].set()
        assert await removal is True

    asyncio.run(main())


def test_a_task_that_is_inside_itself_is_refused_its_removal():
    provider = provide(Manager())
    port = guarded(provider.proxy())

    async def main():
        async with port:
            with pytest.raises(RevokeDeadlock, match="this very task"):
                await provider.arevoke()
        assert await provider.arevoke() is True

    asyncio.run(main())


def test_each_task_of_trio_leaves_its_own_with():
    trio = pytest.importorskip("trio")

    class Quiet(Manager):
        async def __aenter__(self):
            await trio.lowlevel.checkpoint()
            return self

        async def __aexit__(self, *error):
            await trio.lowlevel.checkpoint()

        async def read(self):
            await trio.lowlevel.checkpoint()
            return len(provider.blockers())

    provider = provide(Quiet())
    port = guarded(provider.proxy())

    async def stay(gate):
        async with port:
            with port:
                await gate.wait()

    async def main():
        assert await port.read() == 1
        gates = [trio.Event(), trio.Event()]
        async with trio.open_nursery() as nursery:
            for i, gate in enumerate(gates):
                nursery.start_soon(stay, gate, name=f"task {i}")
            while len(provider.blockers()) < 4:
                await trio.lowlevel.checkpoint()
            gates[0].set()
            while len(provider.blockers()) > 2:
                await trio.lowlevel.checkpoint()
            assert [blocker.task for blocker in provider.blockers()] == ["task 1", "task 1"]
            gates[1].set()
        assert await provider.arevoke() is True

    trio.run(main)


@pytest.mark.parametrize("resource", [Manager(), io.BytesIO()], ids=["called", "given up"])
def test_ctrl_c_while_a_with_is_being_left_leaves_no_section(monkeypatch, resource):
    provider = provide(resource)
    port = guarded(provider.proxy())
    current = tasks.current

    def interrupted():
        monkeypatch.setattr(tasks, "current", current)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), port:
        monkeypatch.setattr(tasks, "current", interrupted)
    assert provider.blockers() == []
    assert getattr(resource, "log", ["exit"])[-1] == "exit"
    provider.revoke()


def test_a_with_may_be_entered_while_another_thread_is_importing_asyncio(monkeypatch):
    provider = provide(Manager())
    monkeypatch.setitem(sys.modules, "asyncio", types.ModuleType("asyncio"))  # as far as it got
    with guarded(provider.proxy()) as inside:
        assert inside == "entered"
    assert provider.blockers() == []
    provider.revoke()


def test_what_is_left_in_another_task_is_the_newest_that_is_open():
    provider = provide(Manager())
    port = guarded(provider.proxy())
    Call(port.__enter__).result()
    assert len(provider.blockers()) == 1
    port.__exit__(None, None, None)
    assert provider.blockers() == []
    provider.revoke()


def test_an_enter_that_fails_leaves_no_section():
    class Failing(Manager):
        def __enter__(self):
            raise KeyError

        async def __aenter__(self):
            raise KeyError

    provider = provide(Failing())
    port = guarded(provider.proxy())

    async def main():
        with pytest.raises(KeyError):
            async with port:
                pytest.fail("the body ran")

    with pytest.raises(KeyError), port:
        pytest.fail("the body ran")
    asyncio.run(main())
    assert provider.blockers() == []
    provider.revoke()


# ---- Existing code ----


def test_a_buffered_reader_runs_on_a_guarded_raw_stream():
    class Raw(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:4] = b"ping"
            return 4

    provider = provide(Raw(), release=Raw.close)
    reader = io.BufferedReader(guarded(provider.proxy()), 4)
    assert reader.read(6) == b"pingpi"
    provider.revoke()
    reader.read(2)  # what it had taken already
    with pytest.raises(Revoked):
        reader.read(1)
    with pytest.raises(Revoked):
        reader.close()  # it flushes first
    assert reader.closed


def test_a_socket_and_its_file_run_guarded():
    one, other = socket.socketpair()
    provider = provide(one, release=socket.socket.close)
    line = guarded(provider.proxy())
    with line.makefile("rwb") as file:
        other.sendall(b"one\ntwo\n")
        assert [next(file), file.readline()] == [b"one\n", b"two\n"]
        file.write(b"three")
        file.flush()
    assert other.recv(10) == b"three"
    file = line.makefile("rb")
    provider.revoke()
    with pytest.raises(Revoked):
        file.readline()
    file.close()
    other.close()


def test_a_serial_port_runs_guarded():
    serial = pytest.importorskip("serial")
    provider = provide(serial.serial_for_url("loop://", timeout=1), release=lambda port: port.close())
    with guarded(provider.proxy()) as port:
        assert port.is_open
        port.baudrate = 115200
        assert port.write(b"ping\n") == 5
        assert port.in_waiting == 5
        assert port.read_until(b"\n") == b"ping\n"
    assert provider.blockers() == []
    with provider.proxy().access() as bare:
        assert bare.is_open and bare.baudrate == 115200
    provider.revoke()


# ---- From anywhere ----


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_it_may_be_called_from_a_signal_handler_that_interrupts_it(port, line, provider):
    def handler(*_):
        line.log.append(port.me() is port)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        line.inside = lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        port.inside()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert line.log == [True]
    assert provider.blockers() == []


def test_a_guarded_object_of_itself_recurses_no_further_than_python_lets_it():
    provider = provide([])
    port = guarded(provider.proxy())
    provider.replace(port)
    with pytest.raises(RecursionError):
        port.append(1)
    provider.replace([])
    assert provider.blockers() == []
    provider.revoke()


def test_threads_that_call_close_and_revoke_at_the_same_time():
    for _ in range(50):
        numbers = [0]
        provider = provide(numbers)
        proxy = provider.proxy()
        port = guarded(proxy)
        start = threading.Barrier(4)

        def call(port=port, start=start):
            start.wait(PATIENCE)
            with contextlib.suppress(Revoked, ValueError):
                while True:
                    port.append(1)
                    list(iter(port))[:1]
                    del port[:]

        calls = [Call(call), Call(call)]
        closing = Call(lambda port=port, start=start: (start.wait(PATIENCE), port.close()))
        start.wait(PATIENCE)
        assert provider.revoke(timeout=PATIENCE) is True
        for each in [*calls, closing]:
            each.result()
        until(lambda provider=provider: provider.state == "revoked")
