"""Builds C sources into an extension module for the interpreter that runs, with the flags that its extensions are built with."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["build", "compiler", "compiler_version", "load"]


def compiler() -> str:
    """The command."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]


def compiler_version() -> str:
    """Its name and version, such as "gcc 12.2.0". OSError where there is none, or it is none that can be asked."""
    source = "__clang__ __clang_major__ __clang_minor__ __clang_patchlevel__ __GNUC__ __GNUC_MINOR__ __GNUC_PATCHLEVEL__"
    done = subprocess.run([compiler(), "-E", "-P", "-"], input=source, capture_output=True, check=False, text=True)
    words = done.stdout.split()
    if done.returncode or len(words) != 7:
        raise OSError(f"{compiler()} does not say which compiler it is: {done.stderr}")
    clang = words[0] != "__clang__"
    return f"clang {'.'.join(words[1:4])}" if clang else f"gcc {'.'.join(words[4:7])}"


def build(target: Path, sources: Sequence[Path], options: Sequence[str] = (), libraries: Sequence[str] = ()) -> None:
    """One shared object. OSError, with what the compiler says, where there is no C compiler, or it fails."""
    flags = shlex.split(sysconfig.get_config_var("CFLAGS") or "-O3 -DNDEBUG")
    include = sysconfig.get_path("include")
    command = [compiler(), *flags, "-std=c11", "-fPIC", "-shared", "-I", include, *options]
    command += ["-o", str(target), *map(str, sources), *libraries]
    built = subprocess.run(command, capture_output=True, check=False, text=True)
    if built.returncode:
        raise OSError(f"{target.name} could not be built: {built.stderr}")


def load(name: str, path: Path) -> ModuleType:
    """The extension module `name` in the shared object. It does not get into `sys.modules`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
