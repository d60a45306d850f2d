"""The museum is whole: each exhibit shows both sides, cites its report, and is listed in the README."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from ref_proxy import Provider
from tests.bugs import museum, test_cpython_148650
from tests.bugs.museum import Ending

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
EXHIBITS = sorted((ROOT / "tests" / "bugs").glob("test_*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \[(\S+ \d+)\]\((\S+)\): .+ \| .*\(tests/bugs/(test_\w+\.py)\).* \| .+ \|$", re.MULTILINE)
WITHOUT = r"""
@pytest\.mark\.once
(@.+
)*def test_without_it_\w+\(\):
    ending = run\(scene, Bare\)
    assert ending\.how == .+, ending\.changed
"""
WITH = r"""
def test_with_it_\w+\(\):
    run\(scene, Provider\)\.assert_good\(\)
"""


def faults(name: str, source: str, readme: str) -> list[str]:
    """Say what an exhibit lacks."""
    title, _, link, *_ = source.splitlines()
    report = re.match(r'"""(\S+) (\d+): ', title)
    project, number = report.groups() if report else ("", "")
    wanted = {
        "a title that begins with project and number, as the file's name ends": f"{project}_{number}.py".replace(
            "-", "_"
        ).endswith(name.removeprefix("test_")),
        "the report's address in the third line": re.fullmatch(rf"https://github\.com/[\w-]+/{project}/issues/{number}", link),
        "a test without ref_proxy, marked `once`": re.search(WITHOUT, source),
        "a test with it": re.search(WITH, source),
        "a row in the README": (f"{project} {number}", link, name) in ROW.findall(readme),
    }
    return [what for what, there in wanted.items() if not there]


@pytest.mark.parametrize("path", EXHIBITS, ids=lambda path: path.stem)
def test_an_exhibit_shows_both_sides_and_cites_its_report(path: Path) -> None:
    assert faults(path.name, path.read_text(encoding="utf-8"), README) == []


def test_each_row_of_the_readme_has_an_exhibit() -> None:
    assert sorted(exhibit for _, _, exhibit in ROW.findall(README)) == [path.name for path in EXHIBITS]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("cpython 148650:", "cpython 148651:"),
        ("issues/148650\n", "pull/148650\n"),
        ("@pytest.mark.once\n", ""),
        ("run(scene, Bare)", "run(scene, Provider)"),
        (", ending.changed\n", "\n"),
        (".assert_good()", ""),
    ],
)
def test_an_exhibit_that_lacks_something_is_found(old: str, new: str) -> None:
    source = (ROOT / "tests/bugs/test_cpython_148650.py").read_text(encoding="utf-8")
    assert old in source
    assert faults("test_cpython_148650.py", source.replace(old, new, 1), README)


def test_an_exhibit_that_is_not_in_the_readme_is_found() -> None:
    source = (ROOT / "tests/bugs/test_cpython_148650.py").read_text(encoding="utf-8")
    assert faults("test_cpython_148650.py", source, README.replace("tests/bugs/test_cpython_148650.py", "tests/bugs")) != []


# How the museum looks at its children.


@pytest.mark.parametrize("name", ["cpython_121544", "cpython_145040", "cpython_148650", "numpy_23305", "streamdeck_66"])
def test_a_scene_notices_a_provider_that_does_not_wait(name: str) -> None:
    exhibit = importlib.import_module(f"tests.bugs.test_{name}")
    with pytest.raises(AssertionError):
        museum.run(exhibit.scene, museum.Hasty).assert_good()


GOOD = {"done": 3, "refused": 1}


@pytest.mark.parametrize(
    ("how", "told", "stderr"),
    [
        ("exit 1", GOOD, ""),
        ("SIGSEGV", GOOD, ""),
        ("hang", GOOD, ""),
        ("exit 0", {"done": 3}, ""),
        ("exit 0", {"refused": 1}, ""),
        ("exit 0", GOOD | {"wrong": 1}, ""),
        ("exit 0", GOOD, "Exception ignored in ..."),
    ],
)
def test_only_work_done_and_accesses_refused_are_good(how: str, told: dict[str, int], stderr: str) -> None:
    Ending("exit 0", Counter(GOOD), "").assert_good()
    with pytest.raises(AssertionError, match=how):
        Ending(how, Counter(told), stderr).assert_good()


def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(museum, "DEADLINE", 0)
    assert museum.run(test_cpython_148650.scene, Provider).how == "hang"


def test_a_bug_that_does_not_show_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = museum.run(test_cpython_148650.scene, Provider)
    monkeypatch.setattr(test_cpython_148650, "run", lambda scene, owner: mended)
    with pytest.raises(AssertionError, match="the world has changed: without ref_proxy it ended with 'exit 0'"):
        test_cpython_148650.test_without_it_the_process_is_killed()
