"""The benchmarks run, measure every promise, and the document shows what they wrote. No figure is judged here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ref_proxy
from benchmarks import capi
from tests import building

if TYPE_CHECKING:
    from benchmarks.rows import Row

pytestmark = pytest.mark.timeout(200)  # they measure everything, though in a small way

ROOT = Path(__file__).resolve().parents[2]
GIL = not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled()
MEASURES = {
    "`with proxy.access()` : a do-nothing context manager",
    "`with proxy.access()` : `with threading.Lock()`",
    "`readerwriterlock`, `gen_rlock()` of a `RWLockRead` : `with proxy.access()`",
    "`fasteners`, `read_lock()` of a `ReaderWriterLock` : `with proxy.access()`",
    "`ft_utils`, `RWReadContext` of a `RWLock` : `with proxy.access()`",
    "`psycopg_pool`, `connection()` of a `ConnectionPool` : `with proxy.access()`",
    "`with proxy.access()` : `async with asyncio.Lock()`",
    "`with proxy.access()` : `aiorwlock`'s `async with lock.reader`",
    "`bytearray.isascii`, guarded : in `with proxy.access()`",
    "`bytearray.isascii`, guarded, over the bare call",
    "a proxy each: our scaling : the limit's",
    "one shared proxy: our scaling : the limit's",
    f"2 threads: scaling of the guarded call ({1 if GIL else 2} is perfect)",
    "an idle provider",
    "one with 1,000 idle proxies : one with none",
    "linear: for each of 1,000 sections : for each of 100",
    "from the last `end()` to the return of a waiting `revoke()`",
    "from the last end of an old section to the return : from a reader's release of a lock to its acquisition",
    "linear, idle: for each of 100 providers : for each of 10",
    "the same, left of it when the device is removed and dropped",
    "replacements a second",
    "`with proxy.access()` in a process that is attached : of a provider of its own",
    "a removal with 8 idle workers",
    "what one of them adds that is killed at that moment",
    "memory left afterwards, for each consumer",
    "a proxy, by `sys.getsizeof`",
    "10,000 proxies, each, by `tracemalloc`",
    "10,000 proxies, each, all told, by the resident memory",
    "10,000 sections, gone: left of each, by `tracemalloc`",
    "a proxy, made and kept",
    "a provider with its cell, by `tracemalloc`",
    "`import ref_proxy`, over bare Python",
    "modules outside the standard library",
    "`with proxy.access()` : `readerwriterlock`'s reader section",
}
HOST = {"cpu": "a processor", "cores": 2, "kernel": "an operating system", "commit": "c" * 40}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    target = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    environ = {**os.environ, "REF_PROXY_BACKEND": ref_proxy.BACKEND}
    environ["PYTHONPATH"] = os.pathsep.join([str(Path(ref_proxy.__file__).parents[1]), str(ROOT)])
    command = [sys.executable, "-m", "benchmarks.core", "--quick", "--json", str(target)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["machine"]["backend"] == ref_proxy.BACKEND
    found: list[dict[str, object]] = document["rows"]
    return found


def test_every_measure_has_a_row(rows: list[dict[str, object]]) -> None:
    assert {row["what"] for row in rows} >= MEASURES


def test_every_row_has_a_finite_figure_or_says_why_not(rows: list[dict[str, object]]) -> None:
    excused = {"left out", "could not be built", "No such file", "does not say"}  # a peer; a C compiler; resident memory
    for row in rows:
        if row["median"] is None:
            assert any(reason in str(row["note"]) for reason in excused), row
        else:
            assert all(isinstance(row[name], (int, float)) for name in ("median", "low", "high")), row
            assert all(math.isfinite(row[name]) for name in ("median", "low", "high")), row  # type: ignore[arg-type]


def test_what_was_given_back_is_found_by_nobody(rows: list[dict[str, object]]) -> None:
    found = [row["median"] for row in rows if row["what"] == "accesses to a resource that had been given back"]
    assert found == [0, 0]


def test_scaling_is_that_of_several_processes_with_the_rounds_of_each() -> None:
    from benchmarks import threads

    found = threads.pooled("calls", 2, 3, 100)
    assert set(found) == {"guarded", "bare"}
    for raced in found.values():
        assert len(raced.alone) == 6
        assert {n: len(times) for n, times in raced.together.items()} == dict.fromkeys(threads.sizes(), 6)


def test_a_missed_measure_is_called_missed() -> None:
    from benchmarks.rows import row, show

    assert show(row("group", "slow", "us", [7.0, 8.0, 9.0], 6.0)).endswith("MISSED")
    assert show(row("group", "fast", "us", [3.0, 4.0, 5.0], 6.0)).endswith("within")
    assert show(row("group", "scaling", "ratio", [0.5], 0.9, at_least=True)).endswith("MISSED")


def document(python: str, *rows: Row, **more: object) -> dict[str, object]:
    return {"machine": {"python": python, **HOST}, "rows": [row._asdict() for row in rows], **more}


def figures(*documents: dict[str, object], reasons: list[dict[str, str]] | None = None) -> str:
    from benchmarks.report import END, START, rewritten

    return rewritten(f"before {START} old figures {END} after", documents, reasons or [])


def test_files_of_one_interpreter_share_a_column_and_one_with_a_title_has_tables_of_its_own() -> None:
    from benchmarks.rows import row, unmeasured

    text = figures(
        document("3.13.0", row("access", "ours", "ns", [100.0])),
        document("3.14.0 free-threaded", row("access", "ours", "ns", [70.0]), unmeasured("access", "theirs", "ns", "left out")),
        document("3.13.0", row("instructions", "ours", "count", [1234])),
        document("", row("access and end", "ours", "ns", [5.0]), title="C alone"),
    )
    assert "|  | 3.13.0 | 3.14.0 free-threaded |" in text
    assert "| ours, ns | 100 | 70 |" in text
    assert "| theirs, ns |  | left out |" in text
    assert "| ours, count | 1,234 |  |" in text
    assert "### C alone" in text and "| ours, ns | 5 |" in text
    assert text.startswith("before ") and text.endswith(" after") and "old figures" not in text


def test_columns_of_several_machines_say_which_one_they_are_of() -> None:
    from benchmarks.rows import row

    other = document("3.13.0", row("access", "ours", "ns", [90.0]))
    other["machine"] = {"python": "3.13.0", **HOST, "cores": 16}
    text = figures(document("3.13.0", row("access", "ours", "ns", [100.0])), other)
    assert "|  | 3.13.0, a processor, 2 cores | 3.13.0, a processor, 16 cores |" in text


def test_a_missed_measure_stands_in_the_document_with_its_reason() -> None:
    from benchmarks.rows import row

    slow = document("3.13.0", row("access", "ours", "ns", [7.0], 6.0))
    assert "| access: ours, ns | 3.13.0 | at most 6 | 7 | **not explained yet** |" in figures(slow)
    general = {"what": "ours", "why": "It is slow."}
    exact = {**general, "python": "3.13", "why": "It is slow there."}
    assert "| at most 6 | 7 | It is slow. |" in figures(slow, reasons=[general])
    assert "| at most 6 | 7 | It is slow there. |" in figures(slow, reasons=[general, exact])
    assert "not explained yet" in figures(slow, reasons=[{**general, "group": "another"}])
    assert "No measure is missed." in figures(document("3.13.0", row("access", "ours", "ns", [5.0], 6.0)))


@pytest.mark.once
def test_the_document_shows_what_was_measured_and_explains_what_was_missed() -> None:
    from benchmarks.report import reasons, rewritten
    from benchmarks.runs import read

    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    folder = ROOT / "docs/performance"
    assert rewritten(text, read(sorted(folder.glob("*.json"))), reasons(folder)) == text
    assert "not explained yet" not in text


@pytest.mark.once
def test_the_same_figures_make_the_same_plots(rows: list[dict[str, object]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks import plots
    from benchmarks.runs import gathered

    runs = gathered([{"machine": {"python": "3.13.0", **HOST}, "rows": rows}])
    drawn = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        plots.draw(runs, folder)
        drawn.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {"access.svg", "threads.svg", "growth.svg"}
    assert b"<dc:date>" not in drawn[0]["access.svg"]


def test_the_limit_does_nothing_but_hand_out_the_resource() -> None:
    from benchmarks import limit

    try:
        module = limit.load()
    except OSError as error:
        pytest.skip(str(error))
    resource = object()
    before = sys.getrefcount(resource)
    for kind in (module.Limit, module.Tracked, module.Static, module.Unbound):
        with kind(resource).access() as got:
            assert got is resource
        del got
    assert sys.getrefcount(resource) == before


@pytest.mark.skipif(ref_proxy.BACKEND != "c", reason="the Python twin has no C interface")
@pytest.mark.skipif(not building.compiler(), reason="there is no C compiler")
def test_the_c_interface_is_measured() -> None:
    with ref_proxy.Provider("r") as provider:
        assert 0 < capi.pair(provider.proxy(), 1000) < 1e6
        assert 0 < capi.pair(provider.proxy(), 1000, "try_access") < 1e6
        assert provider.blockers() == []
    with pytest.raises(ref_proxy.Revoked):
        capi.pair(provider.proxy(), 1000)
