"""A gate: one byte, that another process may set, refuses every further access at once; the removal proper follows as ever."""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import signal
import subprocess
import sys
import weakref
from array import array
from ctypes import c_ubyte
from pathlib import Path
from typing import Any

import pytest

from ref_proxy import BACKEND, Provider, Revoked, _backend, aio, guarded, report
from ref_proxy._backend import trace
from tests import PATIENCE, building
from tests.spec.barred import changed, named, stopped_and_continued, ways_through
from tests.support import Call, Holder, Resource, in_child

REFUSED = "was refused: the resource is revoked; drop this proxy and get one from the next provider"


@pytest.fixture
def gate(provider):
    """An open one, which the provider's cell watches."""
    gate = bytearray(1)
    provider._cell.watch(gate)
    return gate


# Open, it changes nothing; closed, nothing comes through


def test_an_open_gate_lets_everything_through(gate, provider, proxy, resource):
    with proxy.access() as lent:
        assert lent is resource
        assert len(provider.blockers()) == 1
    assert guarded(proxy).use() == "resource"
    assert (provider.state, proxy.revoked) == ("live", False)
    assert provider.replace(Resource("new")) is resource
    with proxy.try_access() as lent:
        assert lent.use() == "new"


@pytest.mark.parametrize("value", [1, 2, 255])
def test_every_access_is_refused_at_once(gate, provider, proxy, resource, value):
    on_it = guarded(proxy)
    gate[0] = value
    with pytest.raises(Revoked, match=f"^.Errno 19. proxy 'reader' of 'line' {REFUSED}$"):
        proxy.access()
    refused = proxy.try_access()
    with refused as lent:
        assert lent is None
    assert repr(refused) == "<ref_proxy.Section of proxy 'reader' of 'line', refused>"
    refused.end()
    refused.detach()
    with pytest.raises(Revoked, match=REFUSED):
        on_it.use()
    with pytest.raises(Revoked, match=REFUSED):
        provider.proxy().access()  # a late proxy, too
    assert provider.blockers() == []
    assert resource.log == []


def test_who_asks_is_told_that_it_is_gone(gate, provider, proxy):
    on_it = guarded(proxy)
    gate[0] = 1
    assert proxy.revoked
    assert not provider._cell.live
    assert provider.state == "draining"
    assert repr(proxy) == "<ref_proxy.Proxy 'reader' of 'line', revoked>"
    assert repr(on_it).endswith("of 'line', revoked>")
    assert repr(provider._cell) == "<ref_proxy._core.Cell 'line', denied>"


def test_nothing_is_published_behind_it(gate, provider, resource):
    gate[0] = 1
    new = Resource("new")
    with pytest.raises(Revoked, match="'line' is revoked: nothing can be published any more"):
        provider.replace(new)
    assert provider.revoke() is True
    assert (resource.log, new.log) == (["interrupted", "released"], [])


def test_a_closed_proxy_says_that_first(gate, proxy):
    gate[0] = 1
    proxy.close()
    with pytest.raises(ValueError, match="is closed"):
        proxy.access()


def test_only_the_first_byte_counts_and_only_of_the_cell_that_watches_it(provider, proxy):
    page = bytearray(b"\0\1\1")
    provider._cell.watch(page)
    proxy.access().end()
    page[0] = 1
    assert proxy.revoked
    other = Provider("resource")
    other.proxy().access().end()
    other.revoke()


# It is early, and no more than that: the removal proper denies, drains and releases


def test_open_sections_go_on_and_are_drained(gate, provider, proxy, resource):
    holder, mine = Holder(proxy), proxy.access()
    gate[0] = 1
    assert mine.resource.use() == "resource"
    with mine as lent:
        assert lent is resource
    assert not provider._cell.drained(0, 9)
    removal = Call(provider.revoke).assert_waits()
    assert resource.log == ["used", "interrupted"]
    holder.leave()
    assert removal.result() is True
    assert resource.log == ["used", "interrupted", "released"]


def test_without_a_removal_nothing_is_released(gate, provider, proxy, resource):
    gate[0] = 1
    proxy.try_access().end()
    assert not provider._removal.done
    assert resource.log == []


def test_after_it_the_removal_is_one_caller_s_and_releases_once(gate, provider, proxy, resource):
    gate[0] = 1
    assert [provider.revoke(), provider.revoke()] == [True, False]
    assert (provider.state, provider.revoke_soon().done) == ("revoked", True)
    assert resource.log == ["interrupted", "released"]
    with pytest.raises(Revoked, match=REFUSED):
        proxy.access()


def test_one_that_opens_again_does_not_undo_a_denial(gate, provider, proxy):
    gate[0] = 1
    provider.revoke()
    gate[0] = 0
    assert proxy.revoked
    assert proxy.try_access().resource is None


def test_a_provider_that_is_dropped_behind_it_does_not_warn_and_releases():
    resource, gate = Resource(), bytearray(1)
    provider = Provider(resource, release=Resource.release)
    provider._cell.watch(gate)
    removal = provider._removal
    gate[0] = 1
    del provider
    gc.collect()
    assert removal.wait(PATIENCE)
    assert resource.log == ["released"]


def test_a_task_inside_is_cancelled_by_the_denial_and_a_later_one_is_refused(gate, provider, proxy):
    async def main() -> None:
        with pytest.raises(Revoked, match="was cancelled"):
            async with aio.cancelling(proxy):
                gate[0] = 1
                provider.revoke_soon()  # as whoever listens for the news does
                await asyncio.sleep(3600)
        with pytest.raises(Revoked, match=REFUSED):
            async with aio.cancelling(proxy):
                pass
        await aio.wait_revoked(proxy)

    asyncio.run(main())


# Those who debug


@pytest.fixture
def heard():
    """What a tracer of all cells made meanwhile hears."""
    heard: list[int] = []
    trace(lambda _, token: heard.append(token))
    yield heard
    trace(report.note_access if report.noting else None)


def test_a_tracer_hears_of_an_access_before_the_gate_is_looked_at(heard):
    gate = bytearray(1)
    provider = Provider("resource", name="line")
    provider._cell.watch(gate)
    proxy = provider.proxy()
    section = proxy.access()
    assert heard == [0, id(section)]
    section.end()
    trace(lambda *_: gate.__setitem__(0, 1))  # as `--unplug` does: it goes in the midst of an access
    with pytest.raises(Revoked):
        proxy.access()
    assert gate[0] == 1
    provider.revoke()


def test_a_refused_access_is_traced_as_asked_for_and_not_as_begun(heard):
    gate = bytearray(1)
    provider = Provider("resource", name="line")
    provider._cell.watch(gate)
    proxy = provider.proxy()
    upper = guarded(proxy).upper  # which is an access, too
    heard.clear()
    gate[0] = 1
    for access in (proxy.access, proxy.try_access, upper):
        try:
            access()
        except Revoked:
            pass
    assert heard == [0, 0, 0]
    provider.revoke()


def test_a_gate_makes_no_cell_a_traced_one(provider, proxy, gate, heard):
    proxy.access().end()
    assert heard == []


@pytest.mark.parametrize("debug", ["", "1"])
def test_with_debugging_and_without(debug):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{DEBUGGED}"],
        env={**os.environ, "REF_PROXY_DEBUG": debug},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == f"{bool(debug)} resource None True\n", done.stderr


DEBUGGED = """
from ref_proxy import Provider
gate = bytearray(1)
provider = Provider("resource")
provider._cell.watch(gate)
proxy = provider.proxy()
with proxy.access() as before:
    noted = bool(provider.blockers()[0].began)
gate[0] = 1
print(noted, before, proxy.try_access().resource, provider.revoke())
"""


# What it is made of


class Memory(bytearray):
    """One that can be referred to weakly."""


def test_the_buffer_is_kept_as_long_as_the_cell_and_no_longer():
    gate = Memory(1)
    provider = Provider("resource")
    provider._cell.watch(gate)
    proxy = provider.proxy()
    kept = weakref.ref(gate)
    with pytest.raises(BufferError):
        gate.append(1)  # else the byte could move
    del gate
    provider.revoke()
    gc.collect()
    assert kept() is not None
    del provider, proxy
    gc.collect()
    assert kept() is None


def test_memory_that_was_mapped_can_be_given_back_after_the_cell():
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        provider = Provider("resource")
        provider._cell.watch(page)
        page[0] = 1
        assert provider.proxy().revoked
        provider.revoke()
        with pytest.raises(BufferError):
            page.close()
        del provider
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_cycle_through_a_gate_is_collected():
    gate = Memory(1)
    provider = Provider("resource")
    provider._cell.watch(gate)
    gate.provider = provider  # type: ignore[attr-defined]
    kept = weakref.ref(gate)
    del gate, provider
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    "make", [bytes, bytearray, memoryview, lambda b: array("B", b), lambda b: memoryview(b).cast("?"), lambda b: c_ubyte(b[0])]
)
def test_any_bytes_will_do(make):
    for byte in (0, 1):
        provider = Provider("resource")
        provider._cell.watch(make(bytes([byte] * 4)))
        assert provider.proxy().revoked is bool(byte)
        provider.revoke()


@pytest.mark.parametrize(
    ("gate", "error", "message"),
    [
        (None, TypeError, "the gate of 'line' must be a buffer of contiguous bytes, not NoneType"),
        (1, TypeError, "the gate of 'line' must be a buffer of contiguous bytes, not int"),
        ("1", TypeError, "the gate of 'line' must be a buffer of contiguous bytes, not str"),
        (memoryview(b"0000")[::2], TypeError, "the gate of 'line' must be a buffer of contiguous bytes, not memoryview"),
        (b"", ValueError, "the gate of 'line' has no byte to look at: it needs one at least"),
        (memoryview(b"0000")[:0], ValueError, "the gate of 'line' has no byte to look at: it needs one at least"),
    ],
)
def test_what_is_no_gate_is_refused_and_leaves_it_without_one(provider, proxy, gate, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        provider._cell.watch(gate)
    proxy.access().end()
    provider._cell.watch(bytearray(1))  # the first one
    proxy.access().end()


def test_an_object_that_gives_no_buffer_says_why(provider, proxy):
    gone = memoryview(b"0")
    gone.release()
    with pytest.raises(ValueError, match="released memoryview"):
        provider._cell.watch(gone)
    proxy.access().end()


def test_a_second_gate_is_refused_and_not_kept(gate, provider, proxy):
    second = bytearray(b"\1")
    for another in (second, gate):
        with pytest.raises(
            ValueError, match=r"^'line' watches a gate already: it is given one once, before its first proxy is made$"
        ):
            provider._cell.watch(another)
    second.append(1)  # nobody exports its buffer
    assert not proxy.revoked


@pytest.mark.parametrize("arguments", [(), (b"0", b"0")])
def test_wrong_calls_are_refused(provider, arguments):
    with pytest.raises(TypeError):
        provider._cell.watch(*arguments)


# That the tests above would notice


def watching(cell: Any) -> Any:
    gate = bytearray(1)
    cell.watch(gate)
    return lambda: gate.__setitem__(0, 1)


# What is left out, and what comes through then.
FAULTS = {
    "c": [
        ("return gate_is_closed(cell) || ", "return ", "everything"),
        ("cell->traced || cell_is_barred(cell)", "cell->traced", ["access", "guarded call", "try_access"]),
        ("section_open(self, cell, false, cell_is_barred(cell))", "section_open(self, cell, false, false)", "all accesses"),
        ("            self->slow = true;\n", "", ["access", "guarded call", "try_access"]),
        (" && !cell_is_barred(cell)", "", ["live", "revoked", "traced live", "traced revoked"]),
        ("    if (cell_is_barred(self))\n        Py_RETURN_NONE;\n", "", ["publish", "traced publish"]),
    ],
    "py": [
        ("(self._gate is not None and self._gate[0] != 0) or ", "", "everything"),
        ("            if cell._barred:\n                return section\n", "", "all accesses"),
        ('cast("B")\n            self._slow = True\n', 'cast("B")\n', ["access", "guarded call", "try_access"]),
        ("not self._barred and ", "", ["live", "revoked", "traced live", "traced revoked"]),
        ("        if self._barred:\n            return None\n", "", ["publish", "traced publish"]),
    ],
}


@pytest.mark.skipif(BACKEND == "c" and not building.compiler(), reason="there is no C compiler")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("old", "new", "through"), FAULTS[BACKEND])
def test_each_look_that_is_left_out_is_noticed(old, new, through, tmp_path):
    assert ways_through(changed(old, new, tmp_path), watching) == named(through)


def test_no_way_leads_through_a_closed_gate():
    assert ways_through(_backend, watching) == []


# Another process closes it

WORKER = """
import mmap, os, threading
from ref_proxy import Provider, Revoked

page, leave, said, watches = map(int, sys.argv[1:])
provider = Provider("resource", name="line")
if watches:
    provider._cell.watch(mmap.mmap(page, mmap.PAGESIZE, access=mmap.ACCESS_READ))
proxy = provider.proxy("worker")
with proxy.access() as resource:
    os.write(said, b"inside\\n")
    os.read(leave, 1)  # stopped in here, and continued
    os.write(said, resource.encode() + b"\\n")
try:
    proxy.access().end()
    os.write(said, b"granted\\n")
except Revoked:
    os.write(said, b"refused\\n")
os.write(said, f"{threading.active_count()} {provider.blockers()} {provider.revoke()}\\n".encode())
"""


def stopped_closed_and_continued(folder: Path, watches: bool) -> list[str]:
    """What a worker says that is stopped inside a section, and finds the gate closed when it is continued.

    It has no other thread that could have listened, and is let out of its section before it runs again.
    """
    shared = folder / "page"
    shared.write_bytes(bytes(mmap.PAGESIZE))
    with shared.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        return stopped_and_continued(WORKER, lambda: page.__setitem__(0, 1), (file.fileno(),), int(watches))


needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")


@needs_signals
def test_a_process_that_was_stopped_meanwhile_is_refused_without_a_thread_that_listens(tmp_path):
    assert stopped_closed_and_continued(tmp_path, watches=True) == ["resource", "refused", "1 [] True"]


@needs_signals
def test_one_that_watches_no_gate_is_found_out(tmp_path):
    assert stopped_closed_and_continued(tmp_path, watches=False) == ["resource", "granted", "1 [] True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_watches_the_same_gate(provider, proxy):
    page = mmap.mmap(-1, mmap.PAGESIZE)
    provider._cell.watch(page)

    def check():
        proxy.access().end()
        page[0] = 1
        assert proxy.try_access().resource is None

    in_child(check)
    assert proxy.try_access().resource is None
