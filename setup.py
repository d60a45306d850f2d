"""The one thing that pyproject.toml cannot say: the C twin is built where it can be, and is not missed where it cannot.

`REF_PROXY_STRICT=1` is for those who develop it: every warning is an error, and a C twin that does not build is one too.
"""

import os
import sys

from setuptools import Extension, setup

strict = os.environ.get("REF_PROXY_STRICT") == "1"
core = Extension(
    "ref_proxy._core",
    ["src/ref_proxy/_core.c"],
    depends=["src/ref_proxy/include/ref_proxy.h"],
    optional=not strict,
    extra_compile_args=["-std=c11", "-Wall", "-Wextra", "-Werror"] if strict else [],
)
setup(ext_modules=[core] if sys.implementation.name == "cpython" else [])
