"""Builds and loads what is measured in C, for the interpreter that runs: the limit, `_limit.c`, and the loops of `_capi.c`."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["load"]


@cache
def load(name: str = "_limit", *include: str) -> ModuleType:
    """The module of that name, from its source beside this file. OSError where there is no C compiler, or it fails.

    Built with the flags that extensions of this interpreter are built with, as the C twin is: they are compared.
    """
    source = Path(__file__).with_name(f"{name}.c")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    flags = shlex.split(sysconfig.get_config_var("CFLAGS") or "-O3 -DNDEBUG")
    with tempfile.TemporaryDirectory(prefix="ref_proxy-limit-", ignore_cleanup_errors=True) as folder:
        target = Path(folder) / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
        includes = [f"-I{path}" for path in (sysconfig.get_path("include"), *include)]
        built = subprocess.run(
            [*compiler[:1], *flags, "-std=gnu11", "-fPIC", "-shared", *includes, "-o", str(target), str(source)],
            capture_output=True,
            check=False,
            text=True,
        )
        if built.returncode:
            raise OSError(f"{source.name} could not be built: {built.stderr}")
        spec = importlib.util.spec_from_file_location(name, target)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
