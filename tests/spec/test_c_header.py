"""The C interface: what an extension is compiled against, and what is said where that and what runs do not go together."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from ref_proxy import BACKEND, Provider, get_include
from tests import building

pytestmark = pytest.mark.skipif(not building.compiler(), reason="there is no C compiler")
SOURCE = Path(__file__).with_name("_c_sections.c")
HEADER = Path(get_include(), "ref_proxy.h")


@pytest.mark.skipif(BACKEND == "c", reason="the C twin has it")
def test_with_the_python_twin_the_import_says_what_to_do(tmp_path):
    with pytest.raises(ImportError, match=r"needs the C interface of ref_proxy, .* what runs is 'py': install ref_proxy where"):
        building.load(building.build(SOURCE, tmp_path, "-pthread"))


@pytest.mark.skipif(BACKEND != "c", reason="the Python twin has no C interface")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#define REF_PROXY_ABI 1\n", "#define REF_PROXY_ABI 2\n"),
        ("    int (*detach)", "    int (*added)(void);\n    int (*detach)"),
    ],
)
def test_another_version_of_the_interface_is_refused(tmp_path, old, new):
    header = HEADER.read_text()
    assert header.count(old) == 1
    (tmp_path / "ref_proxy.h").write_text(header.replace(old, new))
    with pytest.raises(ImportError, match=r"compiled against another ref_proxy .*: build it again, or install a newer"):
        building.load(building.build(SOURCE, tmp_path, "-pthread", include=str(tmp_path)))


@pytest.mark.skipif(BACKEND != "c", reason="the Python twin has no C interface")
def test_an_older_extension_goes_on_working(tmp_path):
    header = HEADER.read_text()
    for words in ("    int (*detach)(ref_proxy_section *section);\n", "{ return api->detach(section); }"):
        assert header.count(words) == 1
    older = header.replace("    int (*detach)(ref_proxy_section *section);\n", "").replace(
        "return api->detach(section);", "return -1;"
    )
    (tmp_path / "ref_proxy.h").write_text(older)
    c = building.load(building.build(SOURCE, tmp_path, "-pthread", "-Wno-unused-parameter", include=str(tmp_path)))
    with Provider("r") as provider:
        assert c.access(provider.proxy(), str) == "r"


@pytest.mark.once
@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("flags", [[], ["-DPy_LIMITED_API=0x030b0000"]], ids=["", "limited"])
def test_the_header_is_c_and_cplusplus_and_of_the_limited_api(tmp_path, language, flags):
    if not building.compiler(language):
        pytest.skip("there is no compiler for that")
    if flags and sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("free-threaded, there is no limited API")
    use = """
    #include <ref_proxy.h>
    PyObject *use(const ref_proxy_api *api, PyObject *proxy);
    PyObject *use(const ref_proxy_api *api, PyObject *proxy) {
        ref_proxy_section section = REF_PROXY_SECTION_INIT;
        PyObject *resource = ref_proxy_access(api, proxy, &section);
        ref_proxy_end(api, &section);
        return resource == NULL ? NULL : PyBool_FromLong(ref_proxy_import() == api);
    }
    """
    assert building.compiles(use, tmp_path, language, "-Wpedantic", *flags) == ""
    assert "unused" in building.compiles(use + "static void nobody(void) {}", tmp_path, language)
