"""Two extensions: the wrapper as it was, and as it is now, each with the library compiled in."""

from setuptools import Extension, setup

import ref_proxy


def extension(name: str, *include_dirs: str) -> Extension:
    return Extension(
        f"meter.{name}",
        [f"src/meter/{name}.c", "library/meter.c"],
        depends=["library/meter.h"],
        include_dirs=["library", *include_dirs],
        extra_compile_args=["-std=c11", "-pthread", "-Wall", "-Wextra", "-Werror"],
        extra_link_args=["-pthread"],
    )


setup(ext_modules=[extension("_before"), extension("_meter", ref_proxy.get_include())])
