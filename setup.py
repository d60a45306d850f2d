"""The one thing that pyproject.toml cannot say: the C twin is built where it can be, and is not missed where it cannot."""

import sys

from setuptools import Extension, setup

cpython = sys.implementation.name == "cpython"
setup(ext_modules=[Extension("ref_proxy._core", ["src/ref_proxy/_core.c"], optional=True)] if cpython else [])
