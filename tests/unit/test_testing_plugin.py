"""`ref_proxy.testing`: what it finds, by tests that are run in a pytest of their own, and that it is off until it is used."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester, monkeypatch):
    """Run tests, written to a file, in this process; warnings are errors."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("CI", raising=False)  # there pytest's summary has the whole messages once more

    def run(source, *arguments):
        pytester.makepyfile("import pytest\nfrom ref_proxy import Device, Provider\n" + source)
        return pytester.runpytest_inprocess("-p", "ref_proxy_pytest", "-W", "error", *arguments)

    return run


def said(result, *texts):
    """Assert that these texts are in what a run printed, in this order."""
    rest = result.stdout.str()
    for text in texts:
        assert text in rest, f"{text!r} is not in, or not after what came before:\n{result.stdout.str()}"
        rest = rest[rest.index(text) + len(text) :]


LEAKY = """
kept = []
def teardown_module():
    kept[0].revoke()
def test_a():
    kept.append(Provider('r', name='line'))
"""


# Off


def test_pytest_finds_the_plugin_by_its_entry_point():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"ref_proxy": "ref_proxy_pytest"}


LOADED = """
import sys
def test_a():
    assert not [name for name in sys.modules if name.partition(".")[0] == "ref_proxy"]
def test_b(pytestconfig):
    ours = [name for name, plugin in pytestconfig.pluginmanager.list_name_plugin() if "ref_proxy" in name]
    assert ours == ["ref_proxy_pytest"]
"""


def test_a_run_that_does_not_ask_for_it_loads_nothing_of_the_package(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    pytester.makepyfile(LOADED)
    result = pytester.runpytest_subprocess("-p", "ref_proxy_pytest", "--strict-markers", "-W", "error")
    result.assert_outcomes(passed=2)
    result = pytester.runpytest_subprocess("-p", "ref_proxy_pytest", "--ref-proxy-leaks")  # and so it would be seen
    result.assert_outcomes(failed=2)


def test_a_run_that_does_not_ask_for_it_lets_leaks_pass(run):
    run(LEAKY).assert_outcomes(passed=1)


def test_what_can_be_switched_on_is_shown_by_help(run):
    said(run("", "--help"), "--ref-proxy-leaks", "--unplug-limit=N", "ref_proxy_leaks (bool)", "unplug_timeout")
    said(run("", "--markers"), "@pytest.mark.ref_proxy_leaks(on=True)", "@pytest.mark.unplug(allow=(), timeout=None)")


# Leaks


def test_leaks_are_looked_for_where_the_command_line_the_configuration_or_a_marker_says_so(run, pytester):
    run(LEAKY, "--ref-proxy-leaks").assert_outcomes(passed=1, errors=1)
    run(LEAKY, "-o", "ref_proxy_leaks=true").assert_outcomes(passed=1, errors=1)
    run(LEAKY.replace("def test", "@pytest.mark.ref_proxy_leaks\ndef test")).assert_outcomes(passed=1, errors=1)
    run(LEAKY.replace("def test", "@pytest.mark.ref_proxy_leaks(False)\ndef test"), "--ref-proxy-leaks").assert_outcomes(passed=1)
    run(LEAKY.replace("def test", "@pytest.mark.ref_proxy_leaks(on=False)\ndef test"), "--ref-proxy-leaks").assert_outcomes(
        passed=1
    )
    run(LEAKY + "@pytest.mark.ref_proxy_leaks\ndef test_b(): pass").assert_outcomes(passed=2)  # the other one is not marked


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("kept.append(provider)", ["provider 'line', live; made at {file}:6 in test_a"]),
        ("kept.append(Device('hub')); kept[0].add_action(id, 1)", ["device 'hub', live; made at {file}:7 in test_a"]),
        (
            "kept.append(proxy.access()); provider.revoke_soon()",
            ["section of proxy 'reader' of 'line', open; begun at {file}:7 in test_a"],
        ),
    ],
    ids=["a provider", "a device", "a section"],
)
def test_what_a_test_leaves_behind_is_named_with_the_place_where_it_began(run, body, told):
    result = run(
        f"kept = []\nfrom contextlib import suppress\ndef test_a():\n"
        f"    provider = Provider('r', name='line'); proxy = provider.proxy('reader')\n    {body}\n"
        f"    if not kept or kept[0] is not provider: provider.revoke_soon()\n",
        "--ref-proxy-leaks",
    )
    result.assert_outcomes(passed=1, errors=1)
    [path] = Path.cwd().glob("test_*.py")
    said(
        result,
        "ERROR at teardown of test_a",
        "leaves behind",
        *(each.format(file=path.name) for each in told),
        "remove() devices",
    )
    assert result.stdout.str().count("; made at") + result.stdout.str().count("; begun at") == 1


def test_a_device_stands_for_all_that_goes_with_it(run):
    source = """
kept = []
def test_a():
    hub = Device("hub")
    hub.provide("r")
    hub.attach(Device("port")).provide("r")
    kept.append(hub)
"""
    result = run(source, "--ref-proxy-leaks")
    said(result, "leaves behind", "device 'hub', live")
    assert "'hub: str', live" not in result.stdout.str()
    assert "device 'port'" not in result.stdout.str()


def test_what_was_dropped_is_left_behind_too(run):
    source = """
def test_a():
    provider = Provider("r", name="line")
    section = provider.proxy("reader").access()
def test_b():
    device = Device("hub")
    device.add_action(id, 1)
"""
    result = run(source, "--ref-proxy-leaks", "-W", "ignore::ResourceWarning")
    result.assert_outcomes(passed=2, errors=2)
    said(result, "'line', dropped; ", "'line', dropped; ", "device 'hub', dropped; made at")


def test_what_is_undone_by_the_test_and_its_fixtures_is_not_left_behind(run):
    source = """
@pytest.fixture
def proxy():
    with Provider("r") as provider:
        yield provider.proxy()
def test_a(proxy):
    with proxy.access(): pass
def test_b():
    with Device("hub") as device:
        device.provide("r")
def test_c():
    Device("nothing was given to it")
"""
    run(source, "--ref-proxy-leaks").assert_outcomes(passed=3)


def test_what_is_a_wider_fixtures_is_not_the_tests_own(run):
    source = """
from ref_proxy.srcu import Domain
at_import = Provider("r")
@pytest.fixture(scope="module")
def wide():
    with Provider("r") as provider, provider.proxy().access():
        yield provider
        test_last.left = provider.blockers()
@pytest.fixture(scope="class", autouse=True)
def wider():
    with Provider("r") as provider:
        yield
class TestA:
    def test_a(self, request): request.getfixturevalue("wide")
    def test_b(self, wide): pass
def test_last(): at_import.revoke()
def setup_module():
    global by_setup
    by_setup = Provider("r")
def teardown_module(): by_setup.revoke()
"""
    with_section_of_its_own_thread = run(source.replace(", provider.proxy().access()", ""), "--ref-proxy-leaks")
    with_section_of_its_own_thread.assert_outcomes(passed=3)


def test_a_section_of_a_wider_fixtures_provider_is_the_tests_own_and_does_not_hold_up_its_end(run):
    source = """
@pytest.fixture(scope="module")
def wide():
    with Provider("r", name="wide") as provider:
        yield provider
kept = []
def test_a(wide): kept.append(wide.proxy().access())
def test_b(wide): assert wide.state == "live" and not wide.blockers()
"""
    result = run(source, "--ref-proxy-leaks")
    result.assert_outcomes(passed=2, errors=1)
    said(result, "section of a proxy of 'wide', open")


def test_a_teardown_that_fails_over_a_leak_says_what_it_was(run):
    source = """
@pytest.fixture
def proxy():
    with Provider("r", name="line") as provider:
        yield provider.proxy("reader")
kept = []
def test_a(proxy): kept.append(proxy.access())
"""
    result = run(source, "--ref-proxy-leaks", "--tb=short")
    result.assert_outcomes(passed=1, errors=1)
    said(
        result,
        "RevokeDeadlock: 'line' cannot be removed in here",
        "leaves behind",
        "section of proxy 'reader' of 'line', open; begun at",
    )


def test_the_next_test_is_not_blamed_and_does_not_meet_it(run):
    source = """
kept = []
def test_a():
    kept.append(Provider("r", name="line")); kept.append(kept[0].proxy().access())
    kept.append(Device("hub")); kept[2].provide("r")
def test_b():
    assert kept[0].state == "revoked" and kept[2].state != "live"
"""
    run(source, "--ref-proxy-leaks").assert_outcomes(passed=2, errors=1)


def test_a_section_of_a_thread_that_runs_is_told_but_not_ended(run):
    source = """
import threading
inside, leave = threading.Event(), threading.Event()
def hold(proxy):
    with proxy.access():
        inside.set()
        leave.wait()
def test_a():
    global provider, thread
    provider = Provider("r")
    thread = threading.Thread(target=hold, args=(provider.proxy("holder"),))
    thread.start()
    inside.wait()
def test_b():
    [blocker] = provider.blockers()
    leave.set()
    thread.join()
    provider.revoke()
"""
    result = run(source, "--ref-proxy-leaks")
    result.assert_outcomes(passed=2, errors=1)
    said(result, "section of proxy 'holder'", "in hold")


@pytest.mark.parametrize("failing", ["assert not kept", "pytest.skip()", "pytest.xfail()"])
def test_a_test_that_fails_anyway_is_not_blamed_for_what_it_did_not_come_to_undo(run, failing):
    result = run(LEAKY + f"    {failing}\ndef test_b():\n    assert kept[0].state == 'revoked'", "--ref-proxy-leaks")
    outcomes = result.parseoutcomes()
    assert outcomes.pop("passed") == 1
    assert list(outcomes.values()) == [1] and "errors" not in outcomes


def test_a_provider_of_an_adapter_is_told_with_the_users_own_place(run):
    source = "from ref_proxy.adapters import files\nkept = []\ndef test_a():\n    kept.append(files.provide('/dev/null'))"
    said(run(source, "--ref-proxy-leaks"), "provider '/dev/null', live; made at", ".py:6 in test_a")


# Unplugging

FIXTURE = """
def log(text):
    with open("log", "a") as file:
        file.write(text)
@pytest.fixture
def provider():
    with Provider(["ping"], name="line") as provider:
        yield provider
@pytest.fixture
def proxy(provider):
    return provider.proxy("reader")
"""


def unplug(body, **marker):
    """A test of this body, with two fixtures, marked to be unplugged."""
    terms = ", ".join(f"{name}={value}" for name, value in marker.items())
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{FIXTURE}\n@pytest.mark.unplug({terms})\ndef test_a(proxy, provider):\n{lines}"


def test_a_test_that_is_right_at_every_access_passes_as_one_test(run):
    result = run(unplug("for _ in range(4):\n    with proxy.access() as r:\n        assert r == ['ping']"), "-v")
    result.assert_outcomes(passed=1)
    assert result.stdout.str().count("PASSED") == 1
    said(result, "= unplugged =", "::test_a: 4 of 4 accesses\n")
    assert "unplugged" not in run(unplug("proxy.access().end()")).stdout.str()


def test_each_run_is_unplugged_just_before_its_access_and_the_first_is_not(run, pytester):
    body = """
with open("log", "a") as log:
    for _ in range(3):
        with proxy.try_access() as r:
            print(r and r[0], end=" ", file=log)
    print(provider.state, file=log)
"""
    run(unplug(body)).assert_outcomes(passed=1)
    assert (pytester.path / "log").read_text().splitlines() == [
        "ping ping ping live",
        "None None None revoked",
        "ping None None revoked",
        "ping ping None revoked",
    ]


# What the test does; where it is told to have been unplugged; and what is told of it.
SLIPS = {
    "what is left undone": (
        """
value = "none"
with proxy.try_access() as r:
    value = r[0]
""",
        ["unplugged at 1 of 1 accesses, the test fails at 1:", "access 1: ", ":18 in test_a, by proxy 'reader' of 'line'"],
        [".py:19 in test_a: value = r[0]", "TypeError: 'NoneType' object is not subscriptable"],
    ),
    "an assertion": (
        """
with proxy.try_access() as r:
    found = len(r or ())
assert found == 1
""",
        ["access 1: "],
        [".py:19 in test_a: assert found == 1", "AssertionError: assert 0 == 1"],
    ),
    "another exception in the place of Revoked": (
        """
try:
    proxy.access().end()
except OSError:
    raise LookupError("no line")
""",
        ["access 1: "],
        [":20 in test_a: raise LookupError(", "LookupError: no line", "while handling ref_proxy.Revoked: [Errno 19]"],
    ),
    "a thread": (
        """
import threading
def work():
    with proxy.try_access() as r:
        r.append(1)
thread = threading.Thread(target=work, name="worker")
thread.start()
thread.join()
""",
        ["access 1: ", ":19 in work, by proxy"],
        ["thread 'worker' ends with", "in work: r.append(1)", "AttributeError: 'NoneType'"],
    ),
    "one of a group": (
        """
from ref_proxy import Revoked
with proxy.try_access() as r:
    if r is None:
        raise ExceptionGroup("two", [Revoked(19, "gone"), KeyError("other")])
""",
        ["access 1: "],
        ["KeyError: 'other'"],
    ),
    "a section": (
        """
first = proxy.access()
test_a.kept = first
proxy.access().end()
first.end()
""",
        ["the test fails at 1:", "access 2: ", ":19 in test_a, by proxy"],
        ["leaves behind: section of proxy 'reader' of 'line', open; begun at", ":17 in test_a"],
    ),
    "a section that is dropped": (
        """
def pair():
    first = proxy.access()
    second = proxy.access()
    first.end(), second.end()
try:
    pair()
except OSError:
    pass
""",
        ["the test fails at 1:", "access 2: ", ":19 in pair, by proxy"],
        ["leaves behind: section of proxy 'reader' of 'line', dropped; begun at", ":18 in pair"],
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_what_goes_wrong_is_told_with_the_access_and_the_users_own_places(run, slip):
    body, where, what = SLIPS[slip]
    result = run(unplug(body))
    result.assert_outcomes(failed=1)
    said(result, "_ test_a _", *where)
    said(result, *where[-1:], *what, "Only Revoked may escape")
    text = result.stdout.str()
    assert "_pytest" not in text and "src/ref_proxy" not in text


def test_a_hang_is_broken_off_and_told_with_who_stands_where(run):
    body = """
import threading
answered = threading.Event()
def answer():
    with proxy.access():
        answered.set()
thread = threading.Thread(target=answer, name="answerer")
thread.start()
answered.wait()
thread.join()
"""
    result = run(unplug(body, timeout=0.3), "-W", "default")
    result.assert_outcomes(failed=1)
    said(
        result, "access 1: ", "in answer, by proxy 'reader'", "hangs: broken off after 0.3 s; then", "thread 'MainThread' was at"
    )
    said(result, "in test_a: answered.wait()", "thread 'answerer' had ended with Revoked")


def test_a_hang_says_who_is_waited_for(run):
    body = """
import threading
inside, leave = threading.Event(), threading.Event()
def hold():
    with proxy.access():
        inside.set()
        leave.wait()
thread = threading.Thread(target=hold, name="holder")
thread.start()
inside.wait()
try:
    with provider.proxy("other").access():
        leave.set()
    thread.join()
except OSError:
    try:
        provider.revoke()
    finally:
        leave.set()
        thread.join()
"""
    result = run(unplug(body.replace("    with proxy", "    with provider.proxy('holder')"), timeout=0.3))
    said(result, "access 2: ", "hangs: broken off after 0.3 s", "thread 'holder' was at", "in hold: leave.wait()")
    said(result, "provider 'line' was draining, and inside was proxy 'holder' of 'line' in thread 'holder', waited for since")


def test_a_hang_in_a_loop_that_never_gives_up_is_broken_off_too(run):
    body = "from ref_proxy import Revoked\nwhile True:\n    try: proxy.access().end()\n    except Revoked: continue\n    break"
    said(run(unplug(body), "-o", "unplug_timeout=0.3"), "access 1: ", "hangs: broken off after 0.3 s")


def test_a_run_of_hangs_is_given_up(run):
    body = (
        "import threading\nfor _ in range(9):\n    with proxy.try_access() as r:\n        if r is None: threading.Event().wait()"
    )
    said(run(unplug(body, timeout=0.1)), "unplugged at 3 of 9 accesses (given up after 3 that hang), the test fails at 3:")


def test_interrupting_from_outside_is_not_taken_for_a_hang(run):
    body = "import signal\nwith proxy.try_access() as r:\n    if r is None: signal.raise_signal(signal.SIGINT)"
    with pytest.raises(KeyboardInterrupt):
        run(unplug(body))


def test_points_that_fail_alike_are_told_together(run):
    result = run(unplug("for _ in range(3):\n    with proxy.try_access() as r:\n        len(r)\nproxy.access().end()"))
    said(
        result,
        "at 4 of 4 accesses, the test fails at 3:",
        "accesses 1, 2 and 3: ",
        "TypeError: object of type 'NoneType' has no len()",
    )
    assert result.stdout.str().count("TypeError") == 1


def test_the_marker_names_what_else_may_escape(run):
    body = "try:\n    proxy.access().end()\nexcept OSError:\n    raise LookupError from None"
    run(unplug(body, allow="LookupError")).assert_outcomes(passed=1)
    run(unplug(body, allow="(LookupError, TypeError)")).assert_outcomes(passed=1)
    run(unplug(body, allow="TypeError")).assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"alow": "KeyError"}, "it got an unexpected keyword argument 'alow'"),
        ({"allow": "(KeyError, 1)"}, "allow must be a type, a tuple of types, or a union"),
        ({"timeout": "0"}, "timeout must be more than 0 seconds, not 0"),
    ],
)
def test_a_marker_with_wrong_terms_is_refused(run, terms, reason):
    result = run(unplug("proxy.access().end()", **terms))
    result.assert_outcomes(failed=1)
    said(result, "@pytest.mark.unplug(allow=(), timeout=None): ", reason)


def test_a_limit_spreads_the_points_evenly_and_says_what_was_left_out(run, pytester):
    body = "for i in range(10):\n    with proxy.try_access() as r:\n        if r is None: log(f'{i} '); return"
    result = run(unplug(body), "--unplug-limit=4")
    result.assert_outcomes(passed=1)
    said(result, "= unplugged =", "::test_a: 4 of 10 accesses (--unplug-limit 4)")
    assert (pytester.path / "log").read_text() == "0 3 6 9 "
    assert run(unplug(body), "--unplug-limit=0").ret == pytest.ExitCode.USAGE_ERROR


def test_the_points_that_a_limit_leaves_are_the_first_the_last_and_some_between():
    from ref_proxy.testing.unplug import spread

    for total in range(1, 30):
        assert spread(total, None) == spread(total, total) == list(range(1, total + 1))
        for limit in range(1, total):
            numbers = spread(total, limit)
            assert len(set(numbers)) == limit and numbers[0] == 1 and (limit == 1 or numbers[-1] == total)
            steps = {b - a for a, b in pairwise(numbers)}
            assert not steps or max(steps) - min(steps) <= 1


# Which accesses count


def test_every_kind_of_access_counts(run):
    body = """
from ref_proxy import guarded, srcu
with proxy.access(), proxy.access():
    with provider.proxy().try_access():
        pass
guarded(proxy).append("pong")
with srcu.Domain().read():
    pass
"""
    result = run(unplug(body, allow="AttributeError"), "-v")
    result.assert_outcomes(passed=1)
    said(result, "5 of 5 accesses")  # guarded() asks for the type of the resource


def test_accesses_in_fixtures_count_from_their_setup_to_their_teardown(run):
    source = (
        FIXTURE
        + """
@pytest.fixture
def driver(proxy):
    proxy.access().end()
    yield
    with proxy.try_access() as r:
        r.append("bye")
@pytest.mark.unplug
def test_a(driver, proxy):
    with proxy.access(): pass
"""
    )
    result = run(source)
    result.assert_outcomes(failed=1)
    said(result, "unplugged at 3 of 3 accesses, the test fails at 2:", "access 2: ", "access 3: ", "in driver: r.append")


def test_an_access_that_is_refused_anyway_does_not_count(run):
    body = "proxy.access().end()\nprovider.revoke()\nproxy.try_access()\nwith pytest.raises(OSError): proxy.access()"
    said(run(unplug(body), "-v"), "1 of 1 accesses")


def test_the_resource_that_goes_is_the_one_that_is_accessed(run, pytester):
    body = """
with Provider("b") as other:
    for each in (proxy, other.proxy()):
        with each.try_access() as r:
            if r is None: log(f"{provider.state} {other.state}\\n")
"""
    run(unplug(body)).assert_outcomes(passed=1)
    assert (pytester.path / "log").read_text().splitlines() == ["revoked live", "live revoked"]


def test_a_test_without_an_access_is_an_error(run):
    result = run(unplug("pass"))
    result.assert_outcomes(failed=1)
    said(result, "nothing to unplug: the test made no access to a provider of its own\n")


def test_an_access_to_a_wider_fixtures_provider_is_not_unplugged_and_that_is_said(run):
    source = unplug("proxy.access().end()").replace("@pytest.fixture\n", "@pytest.fixture(scope='module')\n")
    result = run(source + "def test_b(provider): assert provider.state == 'live'")
    result.assert_outcomes(failed=1, passed=1)
    said(result, "own; 1 went to providers that were there before: make them in a fixture of scope 'function'")


def test_a_run_that_does_not_come_so_far_is_said(run):
    body = "import os\nfor _ in range(1 if os.path.exists('ran') else 3): proxy.access().end()\nopen('ran', 'w').close()"
    result = run(unplug(body))
    result.assert_outcomes(passed=1)
    said(result, "::test_a: 1 of 3 accesses (2 runs did not come so far)")


# Every run is a whole run, and all are one test


def test_fixtures_and_instances_are_made_anew_for_each_run_and_wider_ones_are_not(run, pytester):
    source = (
        FIXTURE
        + """
made = []
@pytest.fixture(scope="module")
def wide():
    made.append("wide")
    yield
    made.append("/wide")
class TestA:
    attribute = None
    def setup_method(self): made.append("setup")
    def teardown_method(self): made.append("/setup")
    @pytest.fixture
    def own(self):
        made.append("own")
        yield
        made.append("/own")
    @pytest.mark.unplug
    def test_a(self, proxy, wide, own, tmp_path):
        assert self.attribute is None and not list(tmp_path.iterdir())
        self.attribute = "set"
        (tmp_path / "file").touch()
        with proxy.try_access(): made.append("test")
def test_last():
    assert made == ["wide", *["setup", "own", "test", "/own", "/setup"] * 2]
"""
    )
    run(source).assert_outcomes(passed=2)


def test_each_parameter_set_is_a_test(run):
    source = (
        FIXTURE
        + """
@pytest.mark.unplug
@pytest.mark.parametrize("n", [1, 2])
def test_a(proxy, n):
    for _ in range(n): proxy.access().end()
"""
    )
    said(run(source, "-v"), "= unplugged =", "::test_a[1]: 1 of 1 accesses", "::test_a[2]: 2 of 2 accesses")


@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        ("assert not proxy", "failed"),
        ("pytest.skip()", "skipped"),
        ("pytest.xfail()", "xfailed"),
        ("request.getfixturevalue('nothing')", "failed"),
    ],
)
def test_a_test_that_does_not_pass_by_itself_is_reported_as_ever_and_not_unplugged(run, first, outcome):
    result = run(unplug(f"log('run ')\nproxy.access().end()\n{first}").replace("(proxy, ", "(request, proxy, "))
    result.assert_outcomes(**{outcome: 1})
    assert Path("log").read_text() == "run "


@pytest.mark.parametrize("strict", [False, True])
def test_a_test_that_is_expected_to_fail_may_fail_unplugged(run, strict):
    marked = unplug("with proxy.try_access() as r:\n    len(r)").replace(
        "@pytest.mark.unplug", f"@pytest.mark.xfail(strict={strict})\n@pytest.mark.unplug"
    )
    run(marked).assert_outcomes(xfailed=1)
    right = marked.replace("len(r)", "pass")
    run(right).assert_outcomes(**{"failed" if strict else "xpassed": 1})


def test_a_skip_at_a_point_is_no_failure(run):
    run(unplug("with proxy.try_access() as r:\n    if r is None: pytest.skip('it is gone')")).assert_outcomes(passed=1)


def test_it_stops_at_the_first_failing_test_and_runs_the_last_failed_as_ever(run, pytester):
    source = unplug("with proxy.try_access() as r:\n    len(r)") + "def test_b(): pass"
    result = run(source, "-x")
    result.assert_outcomes(failed=1)
    run(source, "--lf").assert_outcomes(failed=1)


def test_the_teardown_of_what_is_wider_runs_once_and_its_failure_is_reported(run):
    source = unplug("proxy.access().end()") + "def teardown_module(): raise LookupError('at the end')"
    result = run(source)
    result.assert_outcomes(passed=1, errors=1)
    said(result, "ERROR at teardown of test_a", "LookupError: at the end")


def test_what_unplugged_runs_print_and_record_is_not_reported(run):
    body = "record_property('run', 1)\nprint('printed')\nwith proxy.try_access() as r:\n    assert r"
    source = unplug(body).replace("(proxy, ", "(record_property, proxy, ")
    assert "printed" not in run(source).stdout.str()
    right = source.replace("    assert r\n", "    pass\n")
    run(right, "--junitxml=report.xml", "-o", "junit_logging=all", "-o", "junit_family=xunit1").assert_outcomes(passed=1)
    report = Path("report.xml").read_text()
    assert report.count("printed") == report.count('name="run"') == 1 and 'name="unplug" value="1 of 1 accesses"' in report


def test_a_hook_that_makes_reports_finds_the_fixtures(run, pytester):
    pytester.makeconftest("""
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        report.sections.append(("seen", item.funcargs["proxy"].name))
    return report
""")
    said(run(unplug("with proxy.try_access() as r:\n    len(r)")), "Only Revoked may escape", "- seen -", "reader")


def test_a_unittest_is_unplugged(run):
    source = """
import unittest
class TestA(unittest.TestCase):
    def setUp(self):
        self.provider = Provider(["ping"])
        self.addCleanup(self.provider.revoke)
    @pytest.mark.unplug
    def test_right(self):
        with self.provider.proxy().access(): pass
    @pytest.mark.unplug
    def test_wrong(self):
        with self.provider.proxy().try_access() as r:
            self.assertEqual(r, ["ping"])
"""
    result = run(source)
    result.assert_outcomes(passed=1, failed=1)
    said(result, "access 1: ", "AssertionError: None != ['ping']")


def test_coroutines_are_unplugged(run):
    source = (
        FIXTURE
        + """
from ref_proxy import aio
@pytest.fixture
def anyio_backend(): return "asyncio"
@pytest.fixture
async def opened(proxy):
    with proxy.access():
        yield
@pytest.mark.unplug
@pytest.mark.anyio
async def test_right(opened, proxy):
    async with aio.cancelling(proxy) as r: r.append(1)
@pytest.mark.unplug(timeout=0.3)
@pytest.mark.anyio
async def test_wrong(proxy):
    import asyncio
    with proxy.try_access() as r:
        if r is None: await asyncio.Event().wait()
"""
    )
    result = run(source, "-p", "anyio.pytest_plugin", "-v")
    result.assert_outcomes(passed=1, failed=1)
    said(result, "hangs: broken off after 0.3 s", "task '", "in test_wrong: if r is None: await asyncio.Event().wait()")


def test_leaks_are_looked_for_in_the_first_run_of_an_unplugged_test(run):
    source = "kept = []\n" + unplug("proxy.access().end()\nkept.append(Provider('r', name='left'))")
    result = run(source, "--ref-proxy-leaks")
    result.assert_outcomes(passed=1, errors=1)
    said(result, "provider 'left', live")


# The document


def blocks(language):
    text = (ROOT / "docs" / "testing.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_document_shows_a_driver_with_two_bugs_what_finds_them_and_the_mended_one(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    faulty, test, mended = blocks("python")
    for source in (faulty, test):
        (pytester.path / source.splitlines()[0].removeprefix("# ")).write_text(source)
    monkeypatch.syspath_prepend(pytester.path)
    result = pytester.runpytest_inprocess("-p", "ref_proxy_pytest", "-W", "error")
    result.assert_outcomes(failed=1)
    printed = result.stdout.str()
    verdict, _ = printed[printed.index("unplugged at") :].split("====", 1)
    assert verdict == blocks("text")[0]
    (pytester.path / "thermometer.py").write_text(mended)
    result = pytester.runpytest_inprocess("-p", "ref_proxy_pytest", "-W", "error", "-v")
    result.assert_outcomes(passed=1)
    said(result, "2 of 2 accesses")
