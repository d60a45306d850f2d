"""The C interface: a section of C code keeps the promises that one of Python's does, and misuse of it is loud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
from functools import partial
from pathlib import Path

import pytest

from ref_proxy import BACKEND, Provider, Revoked, RevokeDeadlock, RevokeTimeout, _core_py, dump, guarded, report
from ref_proxy._backend import trace
from ref_proxy.clock import boottime
from ref_proxy.srcu import Domain
from tests import PATIENCE, SLOWNESS, building
from tests.support import Call, Resource, in_child, sleeps_in_call_on, until

if BACKEND != "c":
    pytest.skip("the Python twin has no C interface", allow_module_level=True)
pytestmark = [
    pytest.mark.skipif(not building.compiler(), reason="there is no C compiler"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
SOURCE = Path(__file__).with_name("_c_sections.c")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return building.build(SOURCE, tmp_path_factory.mktemp("c_sections"), "-pthread")


@pytest.fixture(scope="module")
def c(built):
    return building.load(built)


class Sleeper:
    """A thread inside a C section, asleep in a system call without the GIL. `wake()` brings it out."""

    def __init__(self, c, proxy):
        self._read, self._write = os.pipe()
        self.call = Call(c.sleep_in, proxy, self._read)
        until(lambda: self.call.returned or sleeps_in_call_on(self.call, self._read))

    def wake(self):
        os.write(self._write, b"\x2a")
        value = self.call.result()
        os.close(self._read)
        os.close(self._write)
        return value


def apart(program, built, **environment):
    """Run a program in a process of its own, where `c` is the extension."""
    head = f"import sys; sys.path[:] = {sys.path!r}\nfrom pathlib import Path\nfrom tests import building\n"
    head += f"c = building.load(Path({str(built)!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60 * SLOWNESS,
        env={**os.environ, **environment},
        check=False,
    )


# S1, S2, S5: granted, and denied


def test_an_access_lends_the_resource_for_the_section(c, provider, proxy, resource):
    def inside(lent):
        assert lent is resource
        assert len(provider.blockers()) == 1
        return lent.use()

    assert c.access(proxy, inside) == c.try_access(proxy, inside) == "resource"
    assert provider.blockers() == []


def test_sections_nest_and_overlap_and_are_ended_in_any_order(c, provider, proxy):
    counts: list[int] = []

    def count():
        counts.append(len(provider.blockers()))

    def nest_inside(inward, _):
        return c.nest(proxy, 3, inward, count)

    for inward in (True, False):
        assert c.nest(proxy, 16, inward, lambda: None) == 16
        with proxy.access():
            counts.clear()
            assert c.nest(proxy, 5, inward, count) == 5
            assert c.access(proxy, partial(nest_inside, inward)) == 3
            assert counts == [6, 5]
            assert len(provider.blockers()) == 1
    assert provider.revoke() is True


def test_sections_of_c_and_of_python_end_between_each_other(c, provider, proxy):
    sections = [kind() for _ in range(3) for kind in (proxy.access, lambda: c.Held(proxy))]
    for section in sections[1::3] + sections[0::3] + sections[2::3]:
        section.end()
    assert provider.blockers() == []
    assert provider.revoke() is True


def test_a_refused_access_raises_what_pythons_does_and_holds_nothing(c, provider, proxy):
    provider.revoke()
    with pytest.raises(Revoked) as pythons:
        proxy.access()
    with pytest.raises(Revoked) as cs:
        c.access(proxy, pytest.fail)
    assert (cs.value.errno, str(cs.value)) == (pythons.value.errno, str(pythons.value))
    assert c.try_access(proxy, pytest.fail) == "gone"
    assert provider.blockers() == []


def test_an_access_is_refused_as_soon_as_a_gate_is_closed_and_an_open_section_goes_on(c, provider, proxy):
    gate = bytearray(1)
    provider._cell.watch(gate)
    assert c.access(proxy, lambda lent: lent.name) == "resource"
    held = c.Held(proxy)
    gate[0] = 1
    with pytest.raises(Revoked) as pythons:
        proxy.access()
    with pytest.raises(Revoked) as cs:
        c.access(proxy, pytest.fail)
    assert str(cs.value) == str(pythons.value)
    assert c.try_access(proxy, pytest.fail) == "gone"
    assert len(provider.blockers()) == 1
    removal = Call(provider.revoke).assert_waits()
    held.end()
    assert removal.result() is True


def test_an_access_is_refused_as_soon_as_a_lease_is_over(c, provider, proxy):
    provider._cell.lease(boottime() + 3600 * 10**9)
    assert c.access(proxy, lambda lent: lent.name) == "resource"
    late = Provider("resource", name="line")
    late._cell.lease(1)
    with pytest.raises(Revoked):
        c.access(late.proxy(), pytest.fail)
    assert c.try_access(late.proxy(), pytest.fail) == "gone"
    assert late._cell.lease(boottime() + 3600 * 10**9) is False
    late.revoke()


def test_an_exception_in_the_section_ends_it_and_comes_out(c, provider, proxy):
    with pytest.raises(ZeroDivisionError):
        c.access(proxy, lambda _: 1 / 0)
    assert provider.blockers() == []


def test_a_record_serves_for_one_section_after_another(c, provider, proxy):
    c.misuse("again", proxy)
    assert provider.revoke() is True


def test_the_resource_of_a_domain_is_none(c):
    domain = Domain("routes")
    assert c.access(domain._proxy, lambda lent: [lent]) == [None]
    cookie = domain.start_poll()
    assert domain.poll(cookie)


# S3, S4, S6, S12: a removal waits


def test_a_removal_waits_for_a_section_that_sleeps_without_the_gil(c, provider, proxy, resource):
    sleeper = Sleeper(c, proxy)
    removal = Call(provider.revoke).assert_waits()
    assert resource.log == ["interrupted"]
    assert c.try_access(proxy, pytest.fail) == "gone"
    assert sleeper.wake() == (resource, 42)
    assert removal.result() is True
    assert resource.log == ["interrupted", "released"]


def test_an_interrupt_brings_a_sleeping_section_back(c):
    read, write = os.pipe()
    provider = Provider(write, interrupt=lambda fd: os.write(fd, b"\x01"), release=os.close)
    sleeper = Call(c.sleep_in, provider.proxy(), read)
    until(lambda: sleeps_in_call_on(sleeper, read))
    assert provider.revoke(timeout=PATIENCE) is True
    assert sleeper.result() == (write, 1)
    os.close(read)


def test_the_end_that_a_removal_waited_for_keeps_an_exception_that_is_set(c, provider, proxy):
    held = c.Held(proxy)
    held.detach()
    removal = Call(provider.revoke).assert_waits()
    with pytest.raises(LookupError, match="set before the end"):
        c.end_with_error(held)
    assert removal.result() is True


def test_a_replacement_waits_for_the_sections_of_the_old_resource_alone(c, provider, proxy, resource):
    old = Sleeper(c, proxy)
    new = Resource("new")
    replacement = Call(provider.replace, new).assert_waits()
    newer = Sleeper(c, proxy)
    assert old.wake()[0] is resource
    assert replacement.result() is resource
    assert newer.wake()[0] is new


def test_many_threads_at_once(c, provider, proxy):
    def use():
        for _ in range(2000):
            assert c.try_access(proxy, lambda lent: lent.name) in {"resource", "new", "gone"}

    calls = [Call(use) for _ in range(4)]
    for _ in range(20):
        provider.replace(Resource("new"), timeout=PATIENCE)
    assert provider.revoke(timeout=PATIENCE) is True
    for call in calls:
        call.result()
    assert provider.blockers() == []


# S7, S8, S19: who is inside


def test_a_timeout_names_the_thread(c, provider, proxy):
    sleeper = Sleeper(c, proxy)
    with pytest.raises(RevokeTimeout) as late:
        provider.revoke(timeout=0)
    [blocker] = late.value.blockers
    assert (blocker.proxy, blocker.ident, blocker.thread) == ("reader", sleeper.call.ident, sleeper.call.name)
    assert blocker.stack[-1].name == "<lambda>"  # whose line calls into C
    sleeper.wake()
    assert provider.revoke() is True


def test_ones_own_section_is_a_deadlock_that_is_told(c, provider, proxy, resource):
    for remove in (provider.revoke, lambda: provider.replace(Resource())):

        def inside(_, remove=remove):
            with pytest.raises(RevokeDeadlock, match="section of proxy 'reader' that this very thread is inside"):
                remove()

        c.access(proxy, inside)
    assert provider.state == "live"
    assert resource.log == []


def test_a_detached_section_is_waited_for_and_may_be_ended_by_another_thread(c, provider, proxy):
    held = c.Held(proxy)
    with pytest.raises(RevokeDeadlock):
        provider.revoke()
    held.detach()
    [blocker] = provider.blockers()
    assert blocker.detached
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)
    other = Call(held.end)
    assert provider.revoke() is True
    other.result()
    with pytest.raises(ValueError, match="this ref_proxy_section is not open"):
        held.detach()


def test_its_token_is_no_objects_id(c, provider, proxy):
    # By their tokens sections are told from each other, and looked for among the objects that a task holds.
    held = [c.Held(proxy) for _ in range(3)]
    sections = [proxy.access() for _ in range(3)]
    tokens = [section[4] for section in provider._cell.sections(0, 1)]
    assert len(set(tokens)) == 6
    assert set(map(id, sections)) <= set(tokens)
    assert not set(map(id, held)) & set(tokens)
    for each in [*held, *sections]:
        each.end()


def test_dump_shows_it(c, provider, proxy, capsys):
    c.access(proxy, lambda _: dump())
    assert "provider 'line', live, 1 section open\n  proxy 'reader' of 'line' in thread 'MainThread'" in capsys.readouterr().err


def test_no_python_code_runs_but_the_bodies(c, provider, proxy):
    ran: list[str] = []

    def body(_):
        pass

    old = sys.getprofile()
    sys.setprofile(lambda frame, event, _: ran.append(frame.f_code.co_name) if event == "call" else None)
    try:
        c.access(proxy, body)
        c.misuse("again", proxy)
    finally:
        sys.setprofile(old)
    assert ran == ["body"]


# Those who debug


def test_a_tracer_hears_of_it_and_may_refuse_it(c):
    heard: list[int] = []

    def tracer(_, token):
        heard.append(token)
        if len(heard) == 4:
            raise LookupError

    trace(tracer)
    try:
        provider = Provider("resource", name="traced")
    finally:
        trace(report.note_access if report.noting else None)
    proxy = provider.proxy()
    trace(tracer)
    try:
        held = c.Held(proxy)
        [section] = provider._cell.sections(0, 1)
        assert heard == [0, section[4]]
        held.end()
        with pytest.raises(LookupError):
            c.access(proxy, pytest.fail)
        assert provider._cell.sections(0, 1) == []
    finally:
        trace(report.note_access if report.noting else None)
    provider.revoke()


def test_a_tracer_is_asked_before_a_gate_is(c):
    gate, heard = bytearray(1), []

    def tracer(_, token):
        heard.append(token)
        gate[0] = 1

    trace(tracer)
    try:
        provider = Provider("resource", name="traced")
        provider._cell.watch(gate)
        assert c.try_access(provider.proxy(), pytest.fail) == "gone"
        assert heard == [0]
    finally:
        trace(report.note_access if report.noting else None)
    provider.revoke()


def test_with_debugging_a_report_tells_where_it_began(built):
    done = apart(
        """
        from ref_proxy import Provider
        provider = Provider("r", name="line")
        def here(_):
            [blocker] = provider.blockers()
            print(blocker.began[-1].name)
        def reads():
            c.access(provider.proxy(), here)
        reads()
        """,
        built,
        REF_PROXY_DEBUG="1",
    )
    assert done.stdout == "reads\n", done.stderr


# S10, S13 to S15


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")
def test_from_a_signal_handler_that_interrupts_accesses(c, provider, proxy):
    ran: list[str] = []
    old = signal.signal(signal.SIGALRM, lambda *_: ran.append(c.access(proxy, lambda lent: lent.name)))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        until(lambda: c.access(proxy, lambda _: len(ran)) > 50)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert provider.revoke() is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_child_the_forking_threads_sections_are_open_and_no_others(c, provider, proxy, resource):
    sleepers = [Sleeper(c, proxy) for _ in range(2)]

    def check():
        [blocker] = provider.blockers()
        assert blocker.ident == threading.get_ident()
        with pytest.raises(RevokeDeadlock):
            provider.revoke()
        [Call(c.nest, proxy, 16, True, lambda: None).result() for _ in range(10)]  # threads on the stacks of those that are gone

    c.access(proxy, lambda _: in_child(check))
    assert len(provider.blockers()) == 2

    def remove():
        assert provider.revoke(timeout=5) is True

    in_child(remove)
    assert not proxy.revoked
    for sleeper in sleepers:
        assert sleeper.wake()[0] is resource


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a GIL of their own: from 3.12")
def test_in_subinterpreters_with_their_own_gil(c, built):
    program = f"""
    from pathlib import Path
    from ref_proxy import Provider, Revoked
    from tests import building
    c = building.load(Path({str(built)!r}))
    provider = Provider(["a resource"], name="line")
    assert c.access(provider.proxy(), lambda lent: lent[0]) == "a resource"
    assert not c.is_proxy(provider)
    held = c.Held(provider.proxy())
    held.detach()
    soon = provider.revoke_soon()
    held.end()
    assert soon.wait(10)
    """
    done = apart(
        f"""
        from tests.spec.test_s15_interpreters import _interpreters, _run, destroy
        from ref_proxy import Provider
        provider = Provider("outer")
        def inside(_):
            for _ in range(3):
                module, interpreter = _interpreters()
                _run(module, interpreter, {textwrap.dedent(program)!r})
                destroy(module, interpreter)
            print(len(provider.blockers()))
        c.access(provider.proxy(), inside)
        provider.revoke()
        """,
        built,
    )
    assert done.stdout == "1\n", done.stderr


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="a build with the GIL")
def test_no_gil_is_switched_back_on(built):
    done = apart("print(sys._is_gil_enabled())", built, PYTHON_GIL="")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("returns", [True, False])
def test_the_interpreter_ends_with_a_daemon_thread_inside(built, returns):
    """The record is on the stack of a thread that is ended before the modules are, where the interpreter ends threads."""
    done = apart(
        f"""
        import os, threading
        from ref_proxy._backend import Cell, Proxy
        from tests.support import sleeps_in_call_on, until
        cell = Cell(["r"], "line", list)  # and no provider, which would be finalised before what comes here
        proxy = Proxy(cell)
        read, write = os.pipe()
        thread = threading.Thread(target=c.sleep_in, args=(proxy, read), daemon=True)
        thread.start()
        until(lambda: sleeps_in_call_on(thread, read))
        class Last:
            def __init__(self):
                self.kept = cell, proxy, c, os, write, thread.native_id, until
            def __del__(self):
                cell, proxy, c, os, write, task, until = self.kept
                if {returns}:
                    os.write(write, b"!")
                    if {sys.version_info < (3, 14)}:
                        until(lambda: not os.path.exists(f"/proc/self/task/{{task}}"))
                        c.scribble()
                with proxy.access():
                    assert c.nest(proxy, 16, False, lambda: None) == 16
                    cell.sections(0, 9)
                cell.deny()
                os.write(1, b"released\\n" if cell.drained(0, 9) else b"ended\\n")
        last = Last()
        """,
        built,
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


# S18: misuse is loud


@pytest.mark.parametrize("call", ["access", "try_access", "Held"])
def test_what_is_no_proxy_is_refused(c, provider, proxy, call):
    foreign = _core_py.Proxy(_core_py.Cell("r", "line", print), "reader")
    for wrong in (None, provider, "line", guarded(proxy), foreign, provider._cell):
        with pytest.raises(TypeError, match=f"an access needs a Proxy, made by provider.proxy.., not a .*{type(wrong).__name__}"):
            getattr(c, call)(wrong, *[print] * (call != "Held"))
    assert [c.is_proxy(each) for each in (proxy, provider, None, foreign)] == [True, False, False, False]


@pytest.mark.parametrize("call", ["access", "try_access"])
def test_a_closed_proxy_is_refused(c, proxy, call):
    proxy.close()
    with pytest.raises(ValueError, match="proxy 'reader' of 'line' is closed: get another one from the provider"):
        getattr(c, call)(proxy, print)


def test_a_section_that_was_never_begun(c, proxy):
    with pytest.raises(ValueError, match="this ref_proxy_section is not open"):
        c.misuse("unbegun", proxy)


@pytest.mark.parametrize("how", ["twice", "tried twice"])
def test_a_record_that_is_open_is_not_begun_again(c, provider, proxy, how):
    with pytest.raises(ValueError, match="an access of proxy 'reader' of 'line' was given a ref_proxy_section that is open"):
        c.misuse(how, proxy)
    assert provider.blockers() == []
    assert provider.revoke() is True


@pytest.mark.parametrize(
    ("how", "message"),
    [("moved", "an open ref_proxy_section was moved, copied or overwritten"), ("no thread state", "PyThreadState_Get")],
)
def test_what_cannot_go_on_ends_the_process_and_says_why(built, how, message):
    done = apart(f"from ref_proxy import Provider\nprovider = Provider('r')\nc.misuse({how!r}, provider.proxy())", built)
    assert done.returncode == -signal.SIGABRT
    assert message in done.stderr
