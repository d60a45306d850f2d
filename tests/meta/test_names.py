"""The names: what is promised is there, each has one home, and each says what it does."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import pytest

import ref_proxy
from ref_proxy import remote, srcu

PROMISED = {
    "BACKEND": [],
    "Blocker": [],
    "Device": ["provide", "add_action", "add_action_or_reset", "attach", "remove", "aremove", "__enter__", "__exit__"],
    "dump": [],
    "get_include": [],
    "Provider": [
        "proxy",
        "state",
        "revoke",
        "replace",
        "revoke_soon",
        "blockers",
        "arevoke",
        "areplace",
        "__enter__",
        "__exit__",
    ],
    "Revocation": ["wait", "done"],
    "Proxy": ["access", "try_access", "revoked", "close"],
    "Section": ["resource", "end", "detach", "__enter__", "__exit__"],
    "Revoked": ["errno"],
    "RevokeTimeout": [],
    "RevokeDeadlock": [],
    "guarded": [],
}
DOMAIN = ["read", "synchronize", "call", "barrier", "start_poll", "poll"]
# What each adapter has under the same name.
SHAPE = {"open", "provide"}

FACE = [cls for name in PROMISED if isinstance(cls := getattr(ref_proxy, name), type)]
CLASSES = [*FACE, srcu.Domain, remote.Shared, remote.Handle, remote.Recall]


def modules() -> list[ModuleType]:
    found = [ref_proxy]
    for each in pkgutil.walk_packages(ref_proxy.__path__, "ref_proxy."):
        if not each.name.endswith(("__main__", "._core")):
            try:
                found.append(importlib.import_module(each.name))
            except ImportError as missing:  # of an extra that is not there
                if "libpq" not in str(missing):
                    raise
    return found


def is_attribute(cls: type, name: str) -> bool:
    """Whether it is a slot or a field, which the docstring of its class describes."""
    return inspect.ismemberdescriptor(vars(cls)[name]) or name in getattr(cls, "_fields", ())


def members() -> list[Any]:
    """Each public method and property, with its class."""
    return [
        pytest.param(cls, name, id=f"{cls.__name__}.{name}")
        for cls in CLASSES
        for name, value in vars(cls).items()
        if not name.startswith("_") and (callable(value) or inspect.isdatadescriptor(value)) and not is_attribute(cls, name)
    ]


def test_what_is_promised_is_there_and_nothing_else() -> None:
    assert sorted(ref_proxy.__all__) == sorted(PROMISED)
    here = {name: dir(getattr(ref_proxy, name)) for name in PROMISED}
    assert [f"{name}.{each}" for name, names in PROMISED.items() for each in names if each not in here[name]] == []
    assert [each for each in DOMAIN if each not in dir(srcu.Domain)] == []


def test_the_modules_for_users_come_with_the_face() -> None:
    program = "import ref_proxy; ref_proxy.srcu.Domain, ref_proxy.aio.cancelling, ref_proxy.aio.wait_revoked"
    assert subprocess.run([sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"]).returncode == 0


def test_each_name_has_one_home() -> None:
    # Private modules are the twins, and what picks one of them; programs export nothing to others; `remote` is a face.
    public = [module for module in modules()[1:] if not re.search(r"\._|\.(cli|demo|torture)\b|\.remote$", module.__name__)]
    homes = Counter(
        name
        for module in public
        for name in getattr(module, "__all__", [])
        if not (name in SHAPE and module.__name__.startswith("ref_proxy.adapters."))
    )
    assert [name for name, count in homes.items() if count > 1] == []
    for cls in CLASSES:
        assert getattr(importlib.import_module(cls.__module__), cls.__name__) is cls
        assert cls.__module__ == ("ref_proxy" if cls in FACE else "ref_proxy.srcu" if cls is srcu.Domain else "ref_proxy.remote")


def test_each_module_says_what_it_exports() -> None:
    for module in modules():
        assert module.__doc__, module.__name__
        assert all(hasattr(module, name) for name in getattr(module, "__all__", [])), module.__name__


def check_docstring(doc: str | None) -> None:
    assert doc, "has no docstring"
    first, *rest = inspect.cleandoc(doc).splitlines()
    assert re.match(r"[A-Z`].*[.:]$", first), f"begins with a line that is no sentence: {first!r}"
    assert not rest or not rest[0], f"the first line goes on: {first!r}"
    for guarantees in re.findall(r"Guarantees:([^.]*)", doc):
        numbers = [int(number) for number in re.findall(r"S(\d+)", guarantees)]
        assert numbers and all(1 <= number <= 20 for number in numbers), f"cites promises that there are not: {guarantees}"


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_is_documented_and_shown(cls: type) -> None:
    check_docstring(cls.__doc__)
    assert ">>>" in (cls.__doc__ or ""), "has no example"
    for name in vars(cls):
        if not name.startswith("_") and is_attribute(cls, name):
            assert re.search(rf"\b{name}\b", cls.__doc__ or ""), f"its docstring has nothing on {name}"


@pytest.mark.parametrize(("cls", "name"), members())
def test_each_member_is_documented(cls: type, name: str) -> None:
    value = getattr(cls, name)
    doc = value.__doc__
    check_docstring(doc)
    if not callable(value):
        return
    words = inspect.cleandoc(doc)
    assert not re.match(r"(Return|Wait|Get|Make|Begin|End|Call|Run|Remove|Publish)(s|es|ing)\b", words), "is not imperative"
    parameters = [name for name in inspect.signature(value).parameters if name != "self"]
    assert [name for name in parameters if not re.search(rf"\b{name}\b", words)] == [], "is silent on parameters"
    if "timeout" in parameters:
        assert "Blocks:" in words and "Raises:" in words, "may wait, and says not on whom, or what it raises"


@pytest.mark.parametrize("cls", [ref_proxy.Device, ref_proxy.Provider, ref_proxy.Proxy, ref_proxy.Section, srcu.Domain])
def test_each_part_cites_its_promises_and_its_source(cls: type) -> None:
    docs = [cls.__doc__ or "", *(getattr(cls, name).__doc__ or "" for name in vars(cls) if not name.startswith("_"))]
    assert any("Guarantees:" in doc for doc in docs)
    assert any("Source:" in doc for doc in docs)


@pytest.mark.parametrize("cls", [ref_proxy.Device, ref_proxy.Provider, srcu.Domain])
def test_each_argument_of_a_constructor_is_documented(cls: type) -> None:
    arguments = re.search(r"^Args:\n((?:    .*\n|\n)*)", inspect.cleandoc(cls.__doc__ or ""), re.MULTILINE)
    assert arguments is not None
    assert re.findall(r"^    (\w+):", arguments[1], re.MULTILINE) == list(inspect.signature(cls).parameters)


def test_an_example_shows_refusal() -> None:
    assert re.search(r"\.access\(\)\n\s*Traceback[^>]*ref_proxy\.Revoked", ref_proxy.Provider.__doc__ or "")


@pytest.mark.parametrize("doc", [None, "", "no sentence", "Goes on\nhere.", "Cite what is not.\n\nGuarantees: S21."])
def test_a_poor_docstring_is_caught(doc: str | None) -> None:
    with pytest.raises(AssertionError):
        check_docstring(doc)
