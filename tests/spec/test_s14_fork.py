"""S14: in a forked child the forking thread's sections are open, and no others; revoke() cannot hang; the parent is as it was."""

from __future__ import annotations

import os
import sysconfig
import threading

import pytest

from ref_proxy import BACKEND, Provider, RevokeDeadlock
from ref_proxy.srcu import Domain
from tests.support import Call, Holder, Resource, in_child, until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def test_the_forking_threads_sections_are_open_and_no_others(provider, proxy, resource):
    others = [Holder(proxy) for _ in range(3)]
    mine = proxy.access()

    def check():
        [blocker] = provider.blockers()
        assert blocker.ident == threading.get_ident()
        assert mine.resource is resource
        with pytest.raises(RevokeDeadlock):
            provider.revoke()
        mine.end()
        assert provider.revoke(timeout=5) is True
        assert proxy.revoked

    in_child(check)
    assert len(provider.blockers()) == 4
    assert not proxy.revoked
    assert resource.log == []
    mine.end()
    for holder in others:
        holder.leave()


def test_a_removal_that_waits_in_another_thread_goes_on_in_the_child_without_it(provider, proxy, resource):
    holder = Holder(proxy)
    removal = Call(provider.revoke).assert_waits()

    def check():
        assert provider.state == "draining"
        assert provider.revoke(timeout=5) is True
        assert resource.log == ["interrupted", "released"]

    in_child(check)
    assert resource.log == ["interrupted"]
    holder.leave()
    assert removal.result() is True


def test_a_replacement_that_waits_in_another_thread(provider, proxy):
    holder = Holder(proxy)
    new = Resource("new")
    replacement = Call(provider.replace, new).assert_waits()

    def check():
        with proxy.access() as inside:
            assert inside is new
        assert provider.replace(Resource("newer"), timeout=5) is new
        assert provider.revoke(timeout=5) is True

    in_child(check)
    holder.leave()
    replacement.result()


@pytest.mark.parametrize("hook", ["interrupt", "release"])
def test_a_hook_that_another_thread_is_in_is_the_parents_affair(hook):
    inside, go_on = threading.Event(), threading.Event()

    def slow(_):
        inside.set()
        assert go_on.wait(20)

    provider = Provider(Resource(), **{hook: slow})
    removal = Call(provider.revoke)
    assert inside.wait(20)

    def check():
        assert provider.revoke(timeout=5) is (hook == "interrupt")
        assert provider.state == "revoked"

    in_child(check)
    assert not removal.returned
    go_on.set()
    assert removal.result() is True


def test_revoke_soon_of_the_parent_comes_to_its_release_in_the_child(provider, proxy, resource):
    section = proxy.access()
    section.detach()
    removal = provider.revoke_soon()

    def check():
        section.end()
        until(lambda: removal.done)

    in_child(check)
    assert not removal.done
    section.end()
    until(lambda: removal.done)


def test_a_fork_inside_a_release_goes_on_there():
    def release(_):
        in_child(lambda: None)
        done.append(1)

    done: list[int] = []
    assert Provider(Resource(), release=release).revoke() is True
    assert done == [1]


@pytest.mark.skipif(
    BACKEND == "py" and bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="free-threaded CPython leaves the lock of a dict locked in a child if another thread was in it at the fork",
)
def test_forks_while_others_go_in_and_out_and_replace(resource):
    # The threads share nothing but the handles: without the GIL a dict or a class that another thread was busy with at the fork
    # may stay locked in the child, and that is CPython's affair.
    provider = Provider(resource)
    proxy = provider.proxy()
    stop = threading.Event()

    def read():
        while not stop.is_set():
            with proxy.try_access():
                pass

    def replace():
        while not stop.is_set():
            provider.replace(Resource(), timeout=20)

    calls = [Call(read), Call(read), Call(replace)]
    for _ in range(20):

        def check():
            with proxy.try_access() as inside:
                assert inside is not None
            provider.replace(Resource(), timeout=5)
            assert provider.revoke(timeout=5) is True
            assert proxy.revoked

        in_child(check)
    stop.set()
    for call in calls:
        call.result()
    provider.revoke()


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_a_loop_that_runs_in_the_parent_is_not_called_in_the_child(provider, proxy, library, monkeypatch):
    # Its lock may be held, in the child, by a thread that is not there; and what wakes it is the parent's too.
    loops = pytest.importorskip(library)
    owner, name = {
        "asyncio": lambda: (loops.BaseEventLoop, "call_soon_threadsafe"),
        "trio": lambda: (loops.lowlevel.TrioToken, "run_sync_soon"),
    }[library]()
    post, called = getattr(owner, name), []
    monkeypatch.setattr(owner, name, lambda *args: (called.append(os.getpid()), post(*args))[1])
    holder = Holder(proxy)

    async def remove():
        return await provider.arevoke()

    removal = Call(lambda: loops.run(remove() if library == "asyncio" else remove))
    until(lambda: removal.returned or (provider.state == "draining" and provider._removal._bell._ropes))

    def check():  # the holder's section has been ended in here, and the bell rung
        assert provider.revoke(timeout=5) is True
        assert os.getpid() not in called

    in_child(check)
    holder.leave()
    assert removal.result() is True
    assert os.getpid() in called


def test_a_domain_in_the_child():
    domain = Domain()
    entered, leave = threading.Event(), threading.Event()

    def read():
        with domain.read():
            entered.set()
            assert leave.wait(20)

    reader = Call(read)
    assert entered.wait(20)
    ran: list[int] = []
    domain.call(ran.append, 1)
    waiter = Call(domain.synchronize).assert_waits()

    def check():
        domain.synchronize(timeout=5)
        domain.barrier()
        assert ran == [1]

    in_child(check)
    assert ran == []
    leave.set()
    reader.result()
    waiter.result()
    domain.barrier()
