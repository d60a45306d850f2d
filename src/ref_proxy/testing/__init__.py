"""The pytest plugin: tests that leave something behind fail, and tests are unplugged at every access.

pytest loads `ref_proxy_pytest`, which calls `switch_on()` when an option or a marker asks for it. In the order to read:

    span      what came into being while a test ran, and what is left of it
    leaks     fails the test that leaves something behind
    point     one more run of a test, with the resource revoked just before one access
    unplug    runs a test at all its points, and tells what came of it
    hang      breaks off what does not come back
    places    how places in the user's code are shown
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from .leaks import Leaks
from .unplug import Unplug
from .watch import watching

if TYPE_CHECKING:
    import pytest

__all__ = ["switch_on"]


def switch_on(config: pytest.Config, everywhere: bool = False) -> None:
    """Have this test run watched. May be called again.

    Args:
        config: the run's.
        everywhere: whether all tests are checked for leaks, or those that are marked.
    """
    if config.pluginmanager.has_plugin("ref_proxy leaks"):
        return
    watch = ExitStack()
    watch.enter_context(watching())
    config.add_cleanup(watch.close)
    config.pluginmanager.register(Leaks(everywhere), "ref_proxy leaks")
    config.pluginmanager.register(Unplug(config), "ref_proxy unplug")
