"""What pytest loads of ref_proxy in every run: options, markers, and nothing else until one of them is used.

It is a package of its own because importing anything inside `ref_proxy` imports that whole package, also for those whose tests
have nothing to do with it. `docs/testing.md` says what the options and markers do; `ref_proxy.testing` does it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

LEAKS = "ref_proxy_leaks(on=True): fail this test if it leaves a section open, or a provider or device of its own live."
UNPLUG = (
    "unplug(allow=(), timeout=None): run this test again for each of its accesses, with the resource revoked just before it. "
    "Nothing but Revoked and what `allow` names may escape then; no run may take more than `timeout` seconds, or leave a section."
)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ref_proxy")
    group.addoption(
        "--ref-proxy-leaks",
        action="store_true",
        help="fail tests that leave a section open, or a provider or device of their own live",
    )
    group.addoption(
        "--unplug-limit",
        type=_positive,
        metavar="N",
        help="run a test that is marked `unplug` at most N times more, at accesses that are evenly spread",
    )
    parser.addini("ref_proxy_leaks", "as --ref-proxy-leaks", type="bool", default=False)
    parser.addini("unplug_timeout", "seconds until an unplugged run of a test counts as hanging", default="10")


def pytest_configure(config: pytest.Config) -> None:
    for marker in (LEAKS, UNPLUG):
        config.addinivalue_line("markers", marker)
    if config.getoption("--ref-proxy-leaks") or config.getini("ref_proxy_leaks"):
        from ref_proxy.testing import switch_on

        switch_on(config, everywhere=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(item.get_closest_marker("unplug") or item.get_closest_marker("ref_proxy_leaks") for item in session.items):
        from ref_proxy.testing import switch_on

        switch_on(session.config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Here, for with pytest-xdist the tests run in other processes than the terminal.
    told = [
        (report.nodeid, text)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, text in report.user_properties
        if name == "unplug"
    ]
    if told:
        from ref_proxy.testing.unplug import summarise

        summarise(terminalreporter, told)
