"""The benchmarks run, measure every promise, and the document shows what they wrote. No figure is judged here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ref_proxy
from benchmarks import capi
from tests import building

ROOT = Path(__file__).resolve().parents[2]
GIL = not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled()
LIMIT = "a do-nothing context manager"
MEASURES = {
    f"`with proxy.access()` : {LIMIT}",
    "`with proxy.access()` : `with threading.Lock()`",
    *([] if GIL else ["a proxy each: our scaling : the limit's", "one shared proxy: our scaling : the limit's"]),
    "an idle provider",
    "one with 1,000 idle proxies",
    "linear: for each of 1,000 sections : for each of 10",
    "from the last `end()` to the return of a waiting `revoke()`",
    "a proxy, by `sys.getsizeof`",
    "a proxy, made and kept",
    "a provider with its cell, by `tracemalloc`",
    "`import ref_proxy`, over bare Python",
    "modules outside the standard library",
    "`with proxy.access()` : `readerwriterlock`'s reader section",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    target = tmp_path_factory.mktemp("benchmarks") / "figures.json"
    environ = {**os.environ, "REF_PROXY_BACKEND": ref_proxy.BACKEND}
    environ["PYTHONPATH"] = os.pathsep.join([str(Path(ref_proxy.__file__).parents[1]), str(ROOT)])
    command = [sys.executable, "-m", "benchmarks.core", "--quick", "--json", str(target)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["machine"]["backend"] == ref_proxy.BACKEND
    found: list[dict[str, object]] = document["rows"]
    return found


def test_every_measure_has_a_row(rows: list[dict[str, object]]) -> None:
    assert {row["what"] for row in rows} >= MEASURES


def test_every_row_has_a_finite_figure_or_says_why_not(rows: list[dict[str, object]]) -> None:
    excused = {"is not installed", "could not be built", "No such file"}  # readerwriterlock; a C compiler
    for row in rows:
        if row["median"] is None:
            assert any(reason in str(row["note"]) for reason in excused), row
        else:
            assert all(isinstance(row[name], (int, float)) for name in ("median", "low", "high")), row
            assert all(math.isfinite(row[name]) for name in ("median", "low", "high")), row  # type: ignore[arg-type]


def test_a_missed_measure_is_called_missed() -> None:
    from benchmarks.core import show
    from benchmarks.measure import row

    assert show(row("group", "slow", "us", [7.0, 8.0, 9.0], 6.0)).endswith("MISSED")
    assert show(row("group", "fast", "us", [3.0, 4.0, 5.0], 6.0)).endswith("within")
    assert show(row("group", "scaling", "ratio", [0.5], 0.9, at_least=True)).endswith("MISSED")


@pytest.mark.once
def test_the_document_shows_what_was_measured() -> None:
    from benchmarks.report import rewritten

    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    sources = sorted((ROOT / "docs/performance").glob("*.json"))
    assert rewritten(text, [json.loads(source.read_text(encoding="utf-8")) for source in sources]) == text


def test_the_limit_does_nothing_but_hand_out_the_resource() -> None:
    from benchmarks import limit

    try:
        module = limit.load()
    except OSError as error:
        pytest.skip(str(error))
    resource = object()
    before = sys.getrefcount(resource)
    for kind in (module.Limit, module.Tracked, module.Static):
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
