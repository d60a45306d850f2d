"""Builds and loads what is measured in C, for the interpreter that runs: the limit, `_limit.c`, and the loops of `_capi.c`."""

from __future__ import annotations

import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import compiled

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["load"]


@cache
def load(name: str = "_limit", *include: str) -> ModuleType:
    """The module of that name, from its source beside this file. OSError where there is no C compiler, or it fails.

    Built with the flags that extensions of this interpreter are built with, as the C twin is: they are compared.
    """
    with tempfile.TemporaryDirectory(prefix="ref_proxy-limit-", ignore_cleanup_errors=True) as folder:
        target = Path(folder) / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
        compiled.build(target, [Path(__file__).with_name(f"{name}.c")], ["-std=gnu11", *(f"-I{path}" for path in include)])
        return compiled.load(name, target)
