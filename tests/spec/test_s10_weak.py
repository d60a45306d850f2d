"""S10, weak: a proxy keeps nothing alive; a dropped provider warns, denies, releases after the last section; a clean exit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from ref_proxy import Provider, Revoked, RevokeTimeout
from tests import SLOWNESS
from tests.support import Call, Holder, Resource, until


def test_a_proxy_keeps_neither_the_provider_nor_the_resource_alive():
    resource = Resource()
    provider = Provider(resource)
    proxy = provider.proxy()
    gone = [weakref.ref(resource), weakref.ref(provider)]
    del resource
    with pytest.warns(ResourceWarning):
        del provider
        gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert proxy.revoked


def test_the_resource_is_let_go_of_when_it_was_released():
    class Heavy:
        pass

    provider = Provider(Heavy(), release=lambda heavy: alive.append(weakref.ref(heavy)))
    alive: list[weakref.ref[Heavy]] = []
    proxy = provider.proxy()
    section = proxy.access()
    section.end()
    provider.revoke()
    gc.collect()
    assert alive[0]() is None  # though the provider, a proxy and an ended section are all there


def test_a_provider_dropped_while_live_warns_denies_and_releases(resource):
    provider = Provider(resource, release=Resource.release, interrupt=Resource.interrupt, name="line")
    proxy = provider.proxy()
    with pytest.warns(ResourceWarning, match="'line'.* was dropped while live: call revoke"):
        del provider
        gc.collect()
    with pytest.raises(Revoked):
        proxy.access()
    until(lambda: "released" in resource.log)
    assert resource.log == ["interrupted", "released"]


def test_it_is_not_released_under_a_reader_and_the_finaliser_does_not_wait(resource):
    provider = Provider(resource, release=Resource.release)
    holder = Holder(provider.proxy())
    with pytest.warns(ResourceWarning):
        del provider  # comes back, though somebody is inside
        gc.collect()
    assert resource.log == []
    holder.leave()
    until(lambda: resource.log == ["released"])


def test_hooks_that_block_do_not_block_the_finaliser(resource):
    go_on = threading.Event()

    def hook(_):
        assert go_on.wait(20)
        done.append(threading.get_ident())

    done: list[int] = []
    provider = Provider(resource, release=hook, interrupt=hook)
    with pytest.warns(ResourceWarning):
        del provider
        gc.collect()
    go_on.set()
    until(lambda: len(done) == 2)
    assert threading.get_ident() not in done


def test_a_section_dropped_by_the_collector_does_not_run_the_release(resource):
    ran_in: list[int] = []
    provider = Provider(resource, release=lambda _: ran_in.append(threading.get_ident()))
    box: list[object] = [provider.proxy().access()]
    box.append(box)
    removal = provider.revoke_soon()
    with pytest.warns(ResourceWarning, match="dropped while open"):
        del box
        gc.collect()
    until(lambda: removal.done)
    assert ran_in != [threading.get_ident()]


def test_a_dropped_removal_that_had_timed_out_still_comes_to_its_release(resource):
    provider = Provider(resource, release=Resource.release)
    holder = Holder(provider.proxy())
    with pytest.raises(RevokeTimeout):
        provider.revoke(timeout=0)
    del provider  # no warning: it was not live any more
    gc.collect()
    holder.leave()
    until(lambda: resource.log == ["released"])


def test_a_provider_in_a_cycle_with_its_resource_is_collected():
    class Device:
        pass

    device = Device()
    device.provider = Provider(device, release=lambda _: released.append(1))
    device.proxy = device.provider.proxy()
    released: list[int] = []
    alive = weakref.ref(device)
    with pytest.warns(ResourceWarning):
        del device
        gc.collect()
    until(lambda: released)
    until(lambda: gc.collect() >= 0 and alive() is None)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cycle_through_a_resource_its_provider_and_an_open_section_is_collected_and_released():
    class Device:
        pass

    def once():
        device = Device()
        device.provider = Provider(device, release=lambda _: released.append(1))
        device.proxy = device.provider.proxy()
        device.section = device.proxy.access()
        released: list[int] = []
        alive = weakref.ref(device)
        del device
        gc.collect()
        until(lambda: released)
        until(lambda: gc.collect() >= 0 and alive() is None)
        assert released == [1]

    for _ in range(20):  # the collector takes them in whatever order they happen to come
        once()


def test_no_warning_for_one_that_was_revoked(recwarn):
    provider = Provider(Resource())
    provider.revoke()
    del provider
    gc.collect()
    assert not recwarn.list


EXITS = {
    "live": "",
    "live with a daemon thread inside": """
def inside():
    with proxy.access():
        entered.set()
        threading.Event().wait()
threading.Thread(target=inside, daemon=True).start()
entered.wait()
""",
    "live with a daemon thread that goes in and out": """
def inside():
    while True:
        with proxy.try_access():
            entered.set()
threading.Thread(target=inside, daemon=True).start()
entered.wait()
""",
    "a daemon thread waits in revoke": """
section = proxy.access()
threading.Thread(target=provider.revoke, daemon=True).start()
while provider.state == "live":
    pass
""",
    "a section is open in the main thread": "section = proxy.access()",
    "a removal is under way": "section = proxy.access(); section.detach(); provider.revoke_soon()",
    "dropped at exit by atexit": "import atexit; atexit.register(globals().pop, 'provider'); del proxy",
}


@pytest.mark.parametrize("how", EXITS)
@pytest.mark.parametrize("release", ["None", "list.clear"])
def test_the_interpreter_exits_cleanly(how, release):
    program = f"""
import threading
from ref_proxy import Provider
provider = Provider([1], release={release}, name="line")
proxy = provider.proxy()
entered = threading.Event()
{EXITS[how]}
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True,
        text=True,
        timeout=40 * SLOWNESS,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "end\n"
    assert "Traceback" not in done.stderr


def test_a_release_that_is_due_is_not_cut_off_by_the_exit():
    program = """
import threading
from ref_proxy import Provider
def release(_):
    started.set()
    for _ in range(3):
        threading.Event().wait(0.05)  # takes a while
    print("released", flush=True)
started = threading.Event()
provider = Provider([1], release=release)
provider.revoke_soon()
started.wait()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40 * SLOWNESS, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "released\n"), done.stderr


def test_dropped_in_a_storm_each_is_released_once():
    resources = [Resource(str(i)) for i in range(200)]

    def use(proxy):
        with proxy.try_access() as inside:
            if inside is not None:
                inside.use()

    with pytest.warns(ResourceWarning):
        for resource in resources:
            provider = Provider(resource, release=Resource.release)
            call = Call(use, provider.proxy())
            del provider
            call.result()
        gc.collect()
    until(lambda: all(resource.log.count("released") == 1 for resource in resources))
