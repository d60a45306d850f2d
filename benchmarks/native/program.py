"""Builds and loads the program: the C twin of this process, and the module that times it from within."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.compiled import build, compiler, load

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["FLAVOURS", "install", "module"]

HERE = Path(__file__).resolve().parent
FLAVOURS = ("memb", "mb", "bp", "qsbr")
PACKAGE = "liburcu-dev"


def install() -> None:
    """Debian's package of liburcu's headers, where it is missing and this process may install it."""
    source = "#include <urcu.h>\n#include <urcu-qsbr.h>\n"
    found = subprocess.run([compiler(), "-E", "-"], input=source, capture_output=True, text=True, check=False)
    if found.returncode == 0 or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"installing {PACKAGE}")
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", PACKAGE]):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


class Finder(MetaPathFinder):
    """Has `import` find the C twin in this shared object."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return spec_from_file_location(fullname, self._target) if fullname == "ref_proxy._core" else None


@cache
def module() -> tuple[ModuleType, str]:
    """The program as the module `_native`, and why it is without liburcu, or "". OSError where it cannot be built.

    It is the C twin of this process, too: nothing may have imported `ref_proxy` before.
    """
    if "ref_proxy" in sys.modules:
        raise RuntimeError("ref_proxy is imported already, with another C twin than that of this program")
    os.environ["REF_PROXY_BACKEND"] = "c"
    why = ""
    with tempfile.TemporaryDirectory(prefix="ref_proxy-native-", ignore_cleanup_errors=True) as where:
        folder = Path(where)
        objects = [folder / f"{flavour}.o" for flavour in FLAVOURS]
        options, libraries = ["-DWITH_LIBURCU"], [f"-lurcu-{flavour}" for flavour in FLAVOURS]
        try:
            for flavour, compiled in zip(FLAVOURS, objects, strict=True):
                build(compiled, [HERE / "flavour.c"], [f"-DFLAVOUR={flavour}", "-c"])
        except OSError as error:
            why = f"left out: {PACKAGE} is not installed" if "urcu" in str(error) and "No such file" in str(error) else str(error)
            objects, options, libraries = [], [], []
        target = folder / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
        build(target, [HERE / "native.c", *objects], [*options, "-pthread"], libraries)
        # Twice the same file, and so the same code in memory: what `_native` times is the twin that runs.
        finder = Finder(target)
        sys.meta_path.insert(0, finder)
        try:
            import ref_proxy
        finally:
            sys.meta_path.remove(finder)
        native = load("_native", target)
    assert ref_proxy.BACKEND == "c"
    assert sys.modules["ref_proxy._core"].__file__ == str(target)
    return native, why
