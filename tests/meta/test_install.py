"""The package installs with a C compiler and without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ref_proxy

pytestmark = [pytest.mark.once, pytest.mark.timeout(200)]

ROOT = Path(__file__).parents[2]


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("REF_PROXY", "CC", "CFLAGS", "PYTHON"))
    }
    return subprocess.run(
        [*map(str, command)], env={**inherited, **environment}, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user would build from: a source distribution, unpacked."""
    tree = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__"))
    made = run(
        sys.executable,
        "-c",
        f"import os; os.chdir({str(tree)!r})\nfrom setuptools import build_meta as b\nprint(b.build_sdist('dist'))",
    )
    assert made.returncode == 0, made.stderr
    archive = tree / "dist" / made.stdout.splitlines()[-1]
    assert archive.name == f"ref_proxy-{ref_proxy.__version__}.tar.gz"
    shutil.unpack_archive(archive, tree / "unpacked", filter="data")
    return tree / "unpacked" / archive.name.removesuffix(".tar.gz")


def built(source: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build a wheel into `folder`, without a network."""
    copy = folder / "copy"
    shutil.copytree(source, copy)
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
    return run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, copy, **environment)


def installed(folder: Path) -> Path:
    """Install the wheel in `folder` into an environment of its own, and return that one's interpreter."""
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    [wheel] = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").stdout.strip()
    with zipfile.ZipFile(wheel) as files:
        files.extractall(where)
    return python


def backend(python: Path, asked: str) -> str:
    """The twin that was loaded, or what went wrong."""
    said = run(python, "-c", "import ref_proxy; print(ref_proxy.BACKEND)", REF_PROXY_BACKEND=asked)
    return (said.stdout or said.stderr.splitlines()[-1]).strip()


def test_without_a_compiler_the_python_twin_is_installed(source: Path, tmp_path: Path) -> None:
    made = built(source, tmp_path, CC="/bin/false")
    assert made.returncode == 0, made.stderr
    python = installed(tmp_path)
    assert backend(python, "auto") == backend(python, "py") == "py"
    assert backend(python, "c").startswith("ImportError: REF_PROXY_BACKEND=c, but the C twin of ref_proxy cannot be loaded")


def test_with_a_compiler_the_c_twin_is_installed(source: Path, tmp_path: Path) -> None:
    if ref_proxy.BACKEND != "c":
        pytest.skip("the C twin is not under test")
    made = built(source, tmp_path)
    assert made.returncode == 0, made.stderr
    python = installed(tmp_path)
    assert (backend(python, "auto"), backend(python, "c"), backend(python, "py")) == ("c", "c", "py")
    [where] = {path.parent for path in (tmp_path / "venv").rglob("ref_proxy/__init__.py")}
    assert {"py.typed", "_core.pyi"} <= {path.name for path in where.iterdir()}
    include = run(python, "-c", "import ref_proxy; print(ref_proxy.get_include())").stdout.strip()
    assert Path(include) == where / "include"
    assert Path(include, "ref_proxy.h").read_bytes() == (source / "src" / "ref_proxy" / "include" / "ref_proxy.h").read_bytes()


def test_in_development_a_c_twin_that_does_not_build_is_an_error(source: Path, tmp_path: Path) -> None:
    assert built(source, tmp_path, CC="/bin/false", REF_PROXY_STRICT="1").returncode != 0


def test_in_development_a_warning_is_an_error(source: Path, tmp_path: Path) -> None:
    if ref_proxy.BACKEND != "c":
        pytest.skip("the C twin is not under test")
    shutil.copytree(source, tmp_path / "source")
    with (tmp_path / "source" / "src" / "ref_proxy" / "_core.c").open("a") as core:
        core.write("static void nobody_calls_this(void) {}\n")
    made = built(tmp_path / "source", tmp_path, REF_PROXY_STRICT="1")
    assert made.returncode != 0
    assert "nobody_calls_this" in made.stdout + made.stderr
