"""The command line, `ref-proxy`: each sub-command adds its own parser, and loads what it needs only when it is run."""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["main"]

UNUSABLE = 2  # as argparse has it
INTERRUPTED = 130  # as shells have it
DEMO_EXTRAS = {"serial": "pyserial", "rich": "rich", "matplotlib": "matplotlib"}


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a time in seconds above 0")
    return value


def _add_demo(parsers: Parsers) -> None:
    parser = parsers.add_parser(
        "demo",
        help="unplug a serial line hundreds of times while nine consumers use it, with ref_proxy and without",
        description="Unplug a serial line hundreds of times while nine consumers use it, with ref_proxy and without, and "
        "count all that happens; with --processes, replace a segment of memory that processes share. "
        "Exit status: 0 when every promise was kept, 1 when one was broken, 2 when it could not be run.",
    )
    parser.add_argument(
        "--processes",
        type=_number,
        metavar="N",
        help="instead, replace a shared-memory segment while N processes read it, of which some are killed, stopped, forked",
    )
    parser.add_argument("--seconds", type=_seconds, default=6.0, metavar="S", help="how long each of the two storms lasts (6)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="for the random choices; another one each time, and shown, if left out"
    )
    parser.add_argument("--no-contrast", dest="contrast", action="store_false", help="leave out the storm without ref_proxy")
    parser.add_argument("--verbose", action="store_true", help="show how long the steps of every single unplug took")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the timeline of one unplug")
    parser.add_argument(
        "--device", metavar="PATH", help="a serial port to read from instead of the instrument; nothing is written"
    )
    parser.add_argument("--baud", type=int, default=115200, metavar="N", help="its speed (115200)")
    parser.set_defaults(run=partial(_demo, parser))


def _demo(parser: argparse.ArgumentParser, options: dict[str, Any]) -> int:
    if options["processes"] is not None:
        for name in ("verbose", "plot", "device", "baud"):
            if options.pop(name) != parser.get_default(name):
                parser.error(f"argument --{name}: not allowed with argument --processes: it is about the serial line")
    try:
        if options["processes"] is not None:
            from .demo.processes.command import run as run_processes

            return run_processes(**options)
        from .demo.command import run

        del options["processes"]
        return run(**options)
    except ImportError as error:
        return _missing("demo", error, DEMO_EXTRAS)


def _number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _add_torture(parsers: Parsers) -> None:
    parser = parsers.add_parser(
        "torture",
        help="try to break the library, with readers and removals of every kind at once",
        description="Try to break the library, with readers and removals of every kind at once, and judge whether it held. Exit "
        "status: 0 for success, 1 for failure, 2 when it could not be run.",
    )
    parser.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="how long (20)")
    parser.add_argument("--seed", type=int, metavar="N", help="for all random choices; another one each time, and shown")
    parser.add_argument("--readers", type=_number, default=4, metavar="N", help="threads that only read, beside all others (4)")
    parser.add_argument(
        "--patience", type=_seconds, default=20.0, metavar="S", help="how long any step may take before it counts as a hang (20)"
    )
    parser.add_argument(
        "--busted",
        metavar="NAME",
        help="break this piece of the library first, for some seconds: it must fail; `list` lists them",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures there, with machine and versions")
    parser.add_argument("--quiet", action="store_true", help="say nothing but the outcome")
    parser.set_defaults(run=_torture)


def _torture(options: dict[str, Any]) -> int:
    from .torture.command import run

    return run(**options)


def _add_remote(parsers: Parsers) -> None:
    parser = parsers.add_parser(
        "remote",
        help="what is shared between processes and hosts: who owns it, who holds it, and its removal",
        description="What is shared between processes and hosts. An ADDRESS is one of ref_proxy.remote: unix:NAME, a NAME for "
        "the same, unix:/PATH, postgresql://USER@HOST/DATABASE#NAME.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = commands.add_parser(
        "list",
        help="show owners and holders, with their open sections",
        description="Show who owns what, who holds it, and which sections are open: what a removal would wait for.",
    )
    listing.add_argument("addresses", nargs="*", metavar="ADDRESS", help="all names of this user on this host if left out")
    listing.set_defaults(run=_remote_list)
    revoking = commands.add_parser(
        "revoke",
        help="have the owner remove it",
        description="Have the owner remove it; say how that ended, or who holds it up. Exit status: 0 when nobody uses it any "
        "more, 1 when somebody was cut off or the time ran out, 2 when it could not be run.",
    )
    revoking.add_argument("address", metavar="ADDRESS")
    revoking.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="how long to wait for its holders (10)")
    revoking.add_argument(
        "--fence-after", type=_seconds, metavar="S", help="cut off whoever has not let go after so long; nobody if left out"
    )
    revoking.set_defaults(run=_remote_revoke)


def _remote_list(options: dict[str, Any]) -> int:
    from .remote.command import run_list

    return run_list(**options)


def _remote_revoke(options: dict[str, Any]) -> int:
    from .remote.command import run_revoke

    return run_revoke(**options)


def _missing(command: str, error: ImportError, extras: dict[str, str]) -> int:
    """One line for what is not installed; whatever else cannot be imported is no matter of extras."""
    module = (error.name or "").partition(".")[0]
    if module in {"pty", "termios", "tty", "fcntl"}:
        print(f"ref-proxy {command} needs pseudo-terminals, which this system does not have", file=sys.stderr)
    elif module in extras:
        print(f"ref-proxy {command} needs {extras[module]}: pip install ref-proxy[{command}]", file=sys.stderr)
    else:
        raise error
    return UNUSABLE


COMMANDS = (_add_demo, _add_torture, _add_remote)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="ref-proxy", description="Resources that can go away while others use them.")
    parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(parsers)
    options = vars(parser.parse_args(argv))
    run = options.pop("run")
    try:
        status: int = run(options)
    except KeyboardInterrupt:
        status = INTERRUPTED
    return status


if __name__ == "__main__":
    raise SystemExit(main())
