"""S15: correct with the GIL, without it, and in subinterpreters with a GIL of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap

import pytest

from ref_proxy import BACKEND
from tests import SLOWNESS
from tests.support import Call, until

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
USE = """
    import threading
    from ref_proxy import BACKEND, Provider, Revoked, guarded
    assert BACKEND == {backend!r}, BACKEND
    log = []
    provider = Provider(["a resource"], release=lambda _: log.append("released"), name="line")
    proxy = provider.proxy("reader")
    assert guarded(proxy).copy() == ["a resource"]
    inside = threading.Event()
    leave = threading.Event()
    def read():
        with proxy.access():
            inside.set()
            leave.wait()
            log.append("left")
    reader = threading.Thread(target=read)
    reader.start()
    inside.wait()
    soon = provider.revoke_soon()
    assert proxy.try_access().resource is None
    leave.set()
    assert soon.wait(10)
    reader.join()
    try:
        proxy.access()
    except Revoked:
        log.append("refused")
    assert log == ["left", "released", "refused"], log
    import sys
    if sys.version_info >= (3, 12):  # 3.11 refuses to end an interpreter that has a thread, and leaves it no time to end that
        late = Provider(["another"], name="late")
        held = late.proxy().access()
        late.revoke_soon()  # the interpreter ends in the midst of this removal
"""


@pytest.mark.skipif(not FREE_THREADED, reason="a build with the GIL")
def test_no_gil_is_switched_back_on_at_import():
    env = {k: v for k, v in os.environ.items() if k != "PYTHON_GIL"}
    program = "import sys, ref_proxy; print(sys._is_gil_enabled(), ref_proxy.BACKEND)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=env)
    assert done.stdout.split() == ["False", BACKEND], done.stderr


def _interpreters():
    try:
        import _interpreters  # 3.13

        return _interpreters, _interpreters.create("isolated")
    except ImportError:
        import _xxsubinterpreters

        # Isolated ones have no threads in 3.11, and a GIL of their own in 3.12.
        return _xxsubinterpreters, _xxsubinterpreters.create(isolated=sys.version_info >= (3, 12))


def _run(module, interpreter, program):
    program = f"import sys; sys.path[:] = {sys.path!r}\n" + textwrap.dedent(program)
    failed = module.run_string(interpreter, program) if hasattr(module, "run_string") else module.exec(interpreter, program)
    assert failed is None, failed


def destroy(module, interpreter):
    def gone():
        try:
            module.destroy(interpreter)
        except RuntimeError:  # the thread that ran the release is on its last step
            return False
        return True

    until(gone)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a GIL of their own: from 3.12")
def test_in_subinterpreters_with_their_own_gil():
    # In a child process: that interpreters can be made and unmade is CPython's affair, and not to be this process's.
    program = f"""
    import sys
    sys.path[:] = {sys.path!r}
    from tests.spec.test_s15_interpreters import USE, _interpreters, _run, destroy
    import threading
    def use():
        for _ in range(3):
            module, interpreter = _interpreters()
            _run(module, interpreter, USE.format(backend={BACKEND!r}))
            destroy(module, interpreter)
    threads = [threading.Thread(target=use) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60 * SLOWNESS, env=os.environ
    )
    assert done.stdout == "fine\n", done.stderr
    assert done.stderr == ""


def test_the_module_is_not_shared_with_a_subinterpreter():
    program = f"""
    import sys
    sys.path[:] = {sys.path!r}
    import ref_proxy
    from ref_proxy import Provider
    from tests.spec.test_s15_interpreters import USE, _interpreters, _run, destroy
    provider = Provider([1], name="outer")
    section = provider.proxy().access()
    section.detach()
    module, interpreter = _interpreters()
    _run(module, interpreter, USE.format(backend={BACKEND!r}))
    destroy(module, interpreter)
    assert section.resource == [1]
    section.end()
    assert provider.revoke()
    print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60 * SLOWNESS, env=os.environ
    )
    assert done.stdout == "fine\n", done.stderr


def test_threads_in_true_parallel_or_taking_turns(provider, proxy):
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:

        def read(own):
            granted = 0
            while True:
                with own.try_access() as inside:
                    if inside is None:
                        return granted
                    inside.use()
                    granted += 1

        readers = [Call(read, own) for own in (proxy, proxy, provider.proxy(), provider.proxy())]
        sections = [proxy.access() for _ in range(1000)]
        enders = [Call(lambda part: [s.end() for s in part], sections[i::2]) for i in range(2)]  # both ends of a list at once
        for ender in enders:
            ender.result()
        provider.revoke(timeout=20)
        assert sum(reader.result() for reader in readers) > 0
    finally:
        sys.setswitchinterval(old)


def test_two_threads_end_one_section_and_it_ends_once(provider, proxy):
    for _ in range(300):
        section, other = proxy.access(), proxy.access()
        calls = [Call(section.end) for _ in range(2)]
        for call in calls:
            call.result()
        assert len(provider.blockers()) == 1
        other.end()
