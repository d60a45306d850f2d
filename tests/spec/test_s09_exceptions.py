"""S9: any exception that leaves a `with` ends its section; Ctrl-C in a waiting revoke() is heard, and the removal resumable."""

from __future__ import annotations

import signal

import pytest

from ref_proxy import Provider
from tests.support import Call, Holder, Resource, struck_while_waiting

needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
def test_an_exception_ends_the_section(provider, proxy, error):
    with pytest.raises(error), proxy.access():
        raise error
    assert provider.blockers() == []


def test_return_break_and_continue_end_the_section(provider, proxy):
    def early():
        with proxy.access() as inside:
            return inside

    assert early().name == "resource"
    for _ in range(3):
        with proxy.access():
            continue
    for _ in range(3):
        with proxy.access():
            break
    assert provider.blockers() == []


def test_a_generator_that_is_dropped_inside_ends_the_section(provider, proxy):
    def read():
        with proxy.access() as inside:
            while True:
                yield inside.use()

    reading = read()
    next(reading)
    assert len(provider.blockers()) == 1
    reading.close()
    assert provider.blockers() == []


def ctrl_c():
    raise KeyboardInterrupt


@needs_signals
def test_ctrl_c_in_a_waiting_revoke_leaves_it_denied_and_resumable(provider, proxy, resource):
    holder = Holder(proxy)
    with struck_while_waiting(ctrl_c), pytest.raises(KeyboardInterrupt):
        provider.revoke()
    assert provider.state == "draining"
    assert proxy.revoked
    assert resource.log == ["interrupted"]
    holder.leave()
    assert provider.revoke(timeout=20) is True
    assert resource.log == ["interrupted", "released"]


@needs_signals
def test_ctrl_c_in_a_waiting_replace_leaves_the_new_one_published(provider, proxy):
    holder = Holder(proxy)
    new = Resource("new")
    with struck_while_waiting(ctrl_c), pytest.raises(KeyboardInterrupt):
        provider.replace(new)
    with proxy.access() as inside:
        assert inside is new
    removal = Call(provider.revoke).assert_waits()  # the old one's reader is waited for all the same
    holder.leave()
    assert removal.result() is True


def test_ctrl_c_in_the_release_is_heard_and_the_release_not_repeated():
    def release(_):
        calls.append(1)
        raise KeyboardInterrupt

    calls: list[int] = []
    provider = Provider(Resource(), release=release)
    with pytest.raises(KeyboardInterrupt):
        provider.revoke()
    assert provider.revoke() is False
    assert calls == [1]


@needs_signals
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ctrl-C between an access and its `with` drops a section: it says so
def test_ctrl_c_at_any_instruction_loses_no_section_and_no_wake_up(monkeypatch):
    # Strikes at arbitrary instructions of access, end and revoke; whatever it breaks off, the next revoke() comes to its end.
    armed = False  # it may strike in the storm alone

    def handler(*_):
        if armed:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.unraisablehook", lambda _: None)  # where it strikes in a finaliser
    old = signal.signal(signal.SIGALRM, handler)
    struck = 0
    try:
        for i in range(600):
            resource = Resource()
            provider = Provider(resource, release=Resource.release, interrupt=Resource.interrupt)
            proxy = provider.proxy()
            other = Call(_read_until_revoked, proxy)
            try:
                try:
                    armed = True
                    # Again and again: a finaliser may have swallowed the first.
                    signal.setitimer(signal.ITIMER_REAL, 0.00002 + (i % 100) * 0.000002, 0.05)
                    _storm(provider, proxy, revoke=i % 3 == 0)
                finally:
                    armed = False
            except KeyboardInterrupt:
                struck += 1
            provider.revoke(timeout=20)
            other.result()
            assert provider.state == "revoked"
            assert resource.log.count("released") <= 1  # none: it struck in the release itself
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert struck


def _storm(provider, proxy, revoke):
    while not proxy.revoked:
        with proxy.try_access() as inside:
            if inside is not None:
                inside.use()
        if revoke:
            provider.revoke()


def _read_until_revoked(proxy):
    while (section := proxy.try_access()).resource is not None:
        section.end()
