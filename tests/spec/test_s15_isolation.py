"""S15, at length: interpreters that come and go in parallel, and a whole process in which nothing is so much as warned of."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from ref_proxy import BACKEND
from tests import SLOWNESS

STORM = f"""
    import sys
    sys.path[:] = {sys.path!r}
    import threading
    from tests.spec.test_s15_interpreters import USE, _interpreters, _run, destroy
    from tests.support import until
    from pathlib import Path
    def number_of_threads():
        tasks = Path("/proc/self/task")
        return len(list(tasks.iterdir())) if tasks.exists() else threading.active_count()
    def use():
        for _ in range(10):
            module, interpreter = _interpreters()
            _run(module, interpreter, USE.format(backend={BACKEND!r}))
            destroy(module, interpreter)
            done.append(interpreter)
    done, before = [], number_of_threads()
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sys.version_info < (3, 14):  # from there on CPython parks, for good, a thread whose interpreter ends on its last step
        until(lambda: number_of_threads() == before)
    print(len(done))
"""
SCENE = f"""
    import asyncio, threading
    from ref_proxy import BACKEND, Device, Provider, Revoked, aio, guarded
    assert BACKEND == {BACKEND!r}, BACKEND

    def read(proxy, inside, leave):
        with proxy.access():
            inside.set()
            leave.wait()

    with Provider(["a resource"], release=list.clear, name="line") as provider:
        proxy = provider.proxy("reader")
        inside, leave = threading.Event(), threading.Event()
        reader = threading.Thread(target=read, args=(proxy, inside, leave))
        reader.start()
        inside.wait()
        removal = provider.revoke_soon()
        assert [blocker.proxy for blocker in provider.blockers()] == ["reader"]
        leave.set()
        assert removal.wait(10)
        reader.join()

    with Provider(["old"], name="words") as provider:
        words = guarded(provider.proxy())
        assert words.copy() == ["old"]
        provider.replace(["new"])
        assert words.copy() == ["new"]

    log = []
    with Device("hub") as hub:
        port = hub.attach(Device("port"))
        port.provide(["a line"], release=lambda _: log.append("released"))
        port.add_action(log.append, "port off")
        hub.add_action(log.append, "hub off")
    assert log == ["released", "port off", "hub off"], log

    async def main():
        provider = Provider(["a resource"], release=list.clear, name="line")
        proxy = provider.proxy("task")
        waiter = asyncio.create_task(aio.wait_revoked(proxy))
        async def use():
            async with aio.cancelling(proxy):
                ready.set()
                await asyncio.Event().wait()
        ready = asyncio.Event()
        user = asyncio.create_task(use())
        await ready.wait()
        assert await provider.arevoke(timeout=10)
        await waiter
        try:
            await user
        except Revoked:
            return "refused"

    print(asyncio.run(main()))
"""


def child(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60 * SLOWNESS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a GIL of their own: from 3.12")
@pytest.mark.timeout(90 * SLOWNESS)
def test_interpreters_come_and_go_in_four_threads():
    done = child(STORM)
    assert (done.returncode, done.stdout, done.stderr) == (0, "40\n", "")


def test_in_development_mode_with_warnings_as_errors_nothing_is_said():
    done = child(SCENE, "-X", "dev", "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")


def test_what_is_dropped_while_live_is_said_there():
    done = child("from ref_proxy import Provider\nProvider([1], name='dropped')", "-X", "dev", "-W", "error")
    assert "ResourceWarning" in done.stderr
    assert "'dropped'" in done.stderr
