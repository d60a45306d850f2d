"""The layers: a module imports only from lower floors, also inside its functions. What only a type checker sees is free."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ref_proxy"

# A package stands on one floor, and its modules may import each other.
FLOORS = {
    "_typing": 0,
    "clock": 0,
    "errors": 0,
    "stacks": 0,
    "_core": 1,
    "_core_py": 1,
    "waiting": 1,
    "tasks": 1,
    "_backend": 2,
    "report": 2,
    "capi": 3,
    "alarm": 3,
    "loops": 3,
    "srcu": 3,
    "provider": 4,
    "device": 5,
    "dump": 5,
    "aio": 5,
    "guarded": 5,
    "adapters": 6,
    "remote": 7,
    "torture": 7,
    "testing": 7,
    "demo": 7.5,  # it shows `remote` too
    "cli": 8,
    "__init__": 9,
    "__main__": 10,
}


class Imports(ast.NodeVisitor):
    """Collects what a module imports, as (line, dotted name) with names that are made absolute."""

    def __init__(self, package: list[str]) -> None:
        self.package = package
        self.found: list[tuple[int, str]] = []

    def visit_If(self, node: ast.If) -> None:
        body = [] if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"} else node.body
        for child in [*body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [(node.lineno, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self.package[: len(self.package) - node.level + 1] if node.level else []
        base = [*base, *([node.module] if node.module else [])]
        self.found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(
                func=ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                self.found.append((node.lineno, ".".join(self.package) + name if name.startswith(".") else name))
        self.generic_visit(node)


def upward(module: str, source: str) -> list[str]:
    """The imports of `module`, a path below the package without its suffix, that do not point downwards."""
    *folders, _ = parts = module.split("/")
    imports = Imports(["ref_proxy", *folders])
    imports.visit(ast.parse(source))
    here = parts[0]
    wrong = []
    for line, name in imports.found:
        top, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        if there not in FLOORS:
            there = "__init__"  # the package itself, or a name in it
        if top == "ref_proxy" and not FLOORS[there] < FLOORS[here] and not (there == here and folders):
            wrong.append(f"{module}:{line} imports {name}: from floor {FLOORS[here]} to {FLOORS[there]}")
    return wrong


def test_every_module_has_a_floor() -> None:
    modules = {path.relative_to(PACKAGE).parts[0].partition(".")[0] for path in PACKAGE.rglob("*.py")}
    assert modules <= FLOORS.keys()


def test_imports_point_to_lower_floors() -> None:
    found = [
        wrong
        for path in sorted(PACKAGE.rglob("*.py"))
        for wrong in upward(path.relative_to(PACKAGE).with_suffix("").as_posix(), path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "from .provider import Provider"),
        ("errors", "from . import report"),
        ("errors", "import ref_proxy"),
        ("errors", "from ref_proxy.srcu import Domain"),
        ("srcu", "def later():\n    import ref_proxy.provider"),
        ("srcu", "class Late:\n    def later(self):\n        from . import Provider"),
        ("srcu", "def later():\n    from importlib import import_module\n    import_module('.provider')"),
        ("srcu", "import importlib\nimportlib.import_module('ref_proxy.provider')"),
        ("_core_py", "from ._core import Cell"),
        ("_backend", "if TYPE_CHECKING or choice == 'c':\n    from .srcu import Domain"),
        ("_backend", "if TYPE_CHECKING:\n    pass\nelse:\n    from .srcu import Domain"),
        ("adapters/files", "from ..torture import run"),
        ("adapters/files", "from .. import Provider"),
    ],
)
def test_an_upward_import_is_caught(module: str, source: str) -> None:
    assert len(upward(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("errors", "if TYPE_CHECKING:\n    from .provider import Provider"),
        ("provider", "from . import report\nfrom .errors import Revoked"),
        ("adapters/files", "from ..provider import Provider\nfrom ._shared import x\nfrom . import _shared"),
        ("cli", "def demo():\n    from .demo import main\nimport os.path"),
    ],
)
def test_a_downward_import_is_let_through(module: str, source: str) -> None:
    assert upward(module, source) == []


def test_the_architecture_names_the_same_floors() -> None:
    page = ROOT / "ARCHITECTURE.md"
    rows = re.findall(r"^\| ([\d.]+) \| ([^|]+) \|", page.read_text() if page.exists() else "", re.MULTILINE)
    told = {(name, float(floor)) for floor, names in rows for name in re.findall(r"`(\w+)(?:\.\w+|/)`", names)}
    assert told <= FLOORS.items()
    assert {"errors", "_core", "demo", "cli", "__init__"} <= {name for name, _ in told}
