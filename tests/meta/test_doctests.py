"""Every example in the documentation runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import ref_proxy

ROOT = Path(__file__).parents[2]
MODULES = ["ref_proxy"] + [
    found.name for found in pkgutil.walk_packages(ref_proxy.__path__, "ref_proxy.") if not found.name.endswith("__main__")
]
PAGES = [page for page in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md") if (ROOT / page).exists()]
PAGES += [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(autouse=True)
def names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they announce is announced in another place: another run may be at it."""
    monkeypatch.setenv("REF_PROXY_DIR", str(tmp_path))


def run(tests: list[doctest.DocTest]) -> int:
    """Run the examples, and return how many there were. None of them need be as long as to revoke what it made."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test, clear_globs=False)
        for value in test.globs.values():
            if isinstance(value, ref_proxy.Provider):
                value.revoke_soon()
        test.globs.clear()
    assert runner.failures == 0
    return runner.tries


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as missing:
        if "libpq" not in str(missing):
            raise
        pytest.skip(str(missing))
    run(doctest.DocTestFinder().find(module))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").replace("\n```\n", "\n\n```\n")  # a fence is not what an example prints
    run([doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, page, page, 0)])


def test_the_face_has_the_examples_of_all_its_classes() -> None:
    assert run(doctest.DocTestFinder().find(ref_proxy)) > 20
