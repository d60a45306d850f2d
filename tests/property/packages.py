"""The package once more under another name, with the twin that is asked for: so both can be used in one process."""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import ref_proxy


def load(name: str, backend: str, folder: Path = Path(ref_proxy.__file__).parent) -> ModuleType:
    """Import `ref_proxy`, or a copy of it, as `name`, with this backend. Raises `ImportError` where that twin was not built."""
    spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    for earlier in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[earlier]
    package = sys.modules[name] = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REF_PROXY_BACKEND", backend)
        # The C twin asks for `Revoked` by the package's own name.
        patch.setitem(sys.modules, "ref_proxy.errors", importlib.import_module(f"{name}.errors"))
        spec.loader.exec_module(package)
    assert backend == package.BACKEND
    return package
