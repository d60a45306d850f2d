"""What `docs/c-interface.md` shows in Cython, C++ and with cffi is built from there, and works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ref_proxy
from ref_proxy import Provider, Revoked
from tests import building
from tests.support import Call, sleeps_in_call_on, until

pytestmark = [
    pytest.mark.once,
    pytest.mark.timeout(200),
    pytest.mark.skipif(ref_proxy.BACKEND != "c", reason="the Python twin has no C interface"),
    pytest.mark.skipif(not building.compiler(), reason="there is no C compiler"),
]

PAGE = Path(__file__).parents[2] / "docs" / "c-interface.md"
# Blocks that are a file begin with its name.
FILES = {
    name: text
    for text, name in re.findall(r"^```\w+\n((?:#|//) ([\w.]+)\n.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
}


def built(name: str, folder: Path, *command: str) -> ModuleType:
    """Write the file into `folder`, run what makes C of it, and load that, compiled."""
    (folder / name).write_text(FILES[name], encoding="utf-8")
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [source] = folder.glob("*.c")
    # What they generate does not come without warnings under every interpreter.
    return building.load(building.build(source, folder, "-Wno-error", "-w"))


class Pipe:
    """A pipe, and a provider of what reads from it, made by `resource`. Its interrupt writes a byte."""

    def __init__(self, resource=int) -> None:
        self.read, self.write = os.pipe()
        self.provider = Provider(resource(self.read), interrupt=lambda _: self.feed(0), name="pipe")
        self.proxy = self.provider.proxy()

    def feed(self, *values: int) -> None:
        os.write(self.write, bytes(values))

    def close(self) -> None:
        self.provider.revoke()
        os.close(self.read)
        os.close(self.write)


def test_the_page_has_them() -> None:
    assert sorted(FILES) == ["build_summing.py", "line.pyx", "section.hpp"]


def test_cython(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    line = built("line.pyx", tmp_path, "-m", "cython", "line.pyx")
    pipe = Pipe(line.Line)
    reader = line.Reader(pipe.proxy)
    pipe.feed(42)
    assert reader.read() == 42
    asleep = Call(reader.read)
    until(lambda: sleeps_in_call_on(asleep, pipe.read))
    [blocker] = pipe.provider.blockers()
    assert blocker.ident == asleep.ident
    assert pipe.provider.revoke(timeout=20) is True
    assert asleep.result() == 0
    with pytest.raises(Revoked):
        reader.read()
    with pytest.raises(TypeError, match="needs a Proxy of a Line"):
        line.Reader(pipe)
    with Provider("no line") as other, pytest.raises(TypeError):
        line.Reader(other.proxy()).read()  # and the section has ended: leaving the `with` does not wait
    pipe.close()


def test_cffi(tmp_path: Path) -> None:
    pytest.importorskip("cffi")
    made = "import build_summing; build_summing.builder.emit_c_code('_summing.c')"
    module = built("build_summing.py", tmp_path, "-c", made)
    pipe = Pipe()

    def sum_up(count: int) -> int:
        return module.lib.sum_up(module.ffi.cast("void *", id(pipe.proxy)), count)

    pipe.feed(1, 2, 3)
    assert sum_up(3) == 6
    asleep = Call(sum_up, 5)
    until(lambda: sleeps_in_call_on(asleep, pipe.read))
    assert pipe.provider.revoke(timeout=20) is True  # it waits for one read, not for five
    assert asleep.result() == -1
    pipe.close()


def test_cplusplus(tmp_path: Path) -> None:
    if not building.compiler("c++"):
        pytest.skip("there is no C++ compiler")
    (tmp_path / "section.hpp").write_text(FILES["section.hpp"], encoding="utf-8")
    (tmp_path / "scoped.cpp").write_text(
        """
        #include "section.hpp"
        #include <stdexcept>

        static PyObject *call(PyObject *, PyObject *args) {
            PyObject *proxy, *fn;
            const ref_proxy_api *api = ref_proxy_import();
            if (api == nullptr || !PyArg_ParseTuple(args, "OO", &proxy, &fn))
                return nullptr;
            try {
                Section section(api, proxy);
                if (section.resource == nullptr)
                    return nullptr;
                PyObject *value = PyObject_CallFunctionObjArgs(fn, section.resource, nullptr);
                if (value == nullptr)
                    throw std::runtime_error("thrown through the section");
                return value;
            } catch (const std::runtime_error &) {
                return nullptr;
            }
        }

        static PyMethodDef methods[] = {{"call", call, METH_VARARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
        static PyModuleDef_Slot slots[] = {{0, nullptr}};
        static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "scoped", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};
        PyMODINIT_FUNC PyInit_scoped(void) { return PyModuleDef_Init(&definition); }
        """,
        encoding="utf-8",
    )
    scoped = building.load(building.build(tmp_path / "scoped.cpp", tmp_path))
    provider = Provider(["r"])
    inside: list[int] = []
    assert scoped.call(provider.proxy(), lambda lent: inside.append(len(provider.blockers())) or lent) == ["r"]
    with pytest.raises(ZeroDivisionError):
        scoped.call(provider.proxy(), lambda _: 1 / 0)
    assert inside == [1]
    assert provider.revoke() is True
    with pytest.raises(Revoked):
        scoped.call(provider.proxy(), print)
