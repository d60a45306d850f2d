"""Builds extensions for tests: from a source in C, against `ref_proxy.h`, for the interpreter that runs."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

from ref_proxy import get_include

# As strict as the C twin's own: what users compile must not warn either.
STRICT = ["-Wall", "-Wextra", "-Werror"]


def compiler(language: str = "c") -> list[str]:
    """The command; an empty list where there is none."""
    variable, usual = ("CC", "cc") if language == "c" else ("CXX", "c++")
    command = shlex.split(os.environ.get(variable) or sysconfig.get_config_var(variable) or usual)[:1]
    return command if command and shutil.which(command[0]) else []


def compiles(source: str, folder: Path, language: str = "c", *flags: str) -> str:
    """What the compiler says against a source; nothing where it is content."""
    path = folder / f"source.{'c' if language == 'c' else 'cpp'}"
    path.write_text(source, encoding="utf-8")
    includes = ["-I", get_include(), "-I", sysconfig.get_path("include")]
    standard = "-std=c11" if language == "c" else "-std=c++11"
    command = [*compiler(language), standard, *STRICT, *flags, *includes, "-c", str(path), "-o", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def build(source: Path, folder: Path, *flags: str, include: str | None = None) -> Path:
    """Compile `source` into an extension of the same name in `folder`."""
    target = folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    language, standard = ("c", "-std=c11") if source.suffix == ".c" else ("c++", "-std=c++11")
    includes = ["-I", include or get_include(), "-I", sysconfig.get_path("include")]
    command = [
        *compiler(language),
        standard,
        "-O2",
        *STRICT,
        "-fPIC",
        "-shared",
        *flags,
        *includes,
        str(source),
        "-o",
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def load(path: Path) -> ModuleType:
    """Import the extension at `path`."""
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
