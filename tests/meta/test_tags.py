"""The tags of orderings: the code, its model and the page that argues about both have the same ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.model.faults import FAULTS

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PAGE = "docs/algorithm.md"
# What the model of each part stands for.
PAIRS = [
    (["src/ref_proxy/_core.c"], ["tests/model/c_twin.py", "tests/model/lease.py"]),
    (["src/ref_proxy/_core_py.py"], ["tests/model/python_twin.py", "tests/model/lease.py"]),
    (["src/ref_proxy/waiting.py", "src/ref_proxy/provider.py"], ["tests/model/bell.py", "tests/model/policy.py"]),
]
TAG = re.compile(r"\[([A-Z]{3,})\]")


def read(paths: list[str]) -> str:
    return "\n".join((ROOT / path).read_text(encoding="utf-8") for path in paths)


def tags(text: str) -> set[str]:
    return set(TAG.findall(text))


def rows(page: str) -> set[str]:
    """The tags that have a row of their own in the tables of orderings."""
    return set(re.findall(r"^\| \[([A-Z]{3,})\] \|", page, re.MULTILINE))


def differences(what: str, here: set[str], there: set[str], other: str) -> list[str]:
    return [f"[{tag}] is in {what}, and not in {other}" for tag in sorted(here - there)] + [
        f"[{tag}] is in {other}, and not in {what}" for tag in sorted(there - here)
    ]


@pytest.mark.parametrize(("code", "model"), PAIRS, ids=lambda paths: paths[0])
def test_the_code_and_its_model_have_the_same_tags(code: list[str], model: list[str]) -> None:
    assert tags(read(code))
    assert differences(" and ".join(code), tags(read(code)), tags(read(model)), " and ".join(model)) == []


def test_the_page_has_a_row_for_each_tag() -> None:
    code = {tag for sources, _ in PAIRS for tag in tags(read(sources))}
    assert differences("the code", code, rows(read([PAGE])), f"the tables of {PAGE}") == []


def test_each_tag_has_a_fault_that_shows_what_it_is_for() -> None:
    assert differences("the faults", {tag for fault in FAULTS for tag in fault.tags.split()}, rows(read([PAGE])), PAGE) == []


@pytest.mark.parametrize("old", [f"[{tag}]" for tag in ("UNBIAS", "COMPLETE", "ASK")])
def test_a_tag_that_one_side_lacks_is_noticed(old: str) -> None:
    code, model = PAIRS[0]
    assert old in read(code)
    lacking = tags(read(code).replace(old, ""))
    assert differences("code", lacking, tags(read(model)), "model") == [f"{old} is in model, and not in code"]
    assert differences("model", tags(read(model)), lacking, "code") == [f"{old} is in model, and not in code"]


def test_a_row_that_is_missing_is_noticed() -> None:
    page = read([PAGE])
    assert rows(page) - rows(page.replace("| [SCAN] |", "| SCAN |")) == {"SCAN"}
