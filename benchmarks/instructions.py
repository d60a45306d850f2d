"""Counts the instructions of the operations that matter, by callgrind, and compares them with those that are kept here.

    python -m benchmarks.instructions            compare with `instructions.json`: a rise of more than 3 % fails
    python -m benchmarks.instructions --accept   put what is counted in the place of what is kept there

Times differ from run to run and from machine to machine; the instructions of one compiled program do not. Of each operation
two numbers are kept: what runs in the C twin itself, and what runs in the whole process, the interpreter and the C library with
it. The first depends on the source, the interpreter's headers, the compiler and the kind of machine, which are what a baseline
is kept for. The second depends on how the interpreter was built, too: it is compared only where that is the very same build.
Where there is no baseline for what runs here, that is said, and is not a success: the exit status is 3.

Before anything is compared, a fault is seeded into a copy of the source: a loop that does nothing. It must be noticed.

Exit status: 0 as before; 1 a rise, or the seeded fault went unnoticed; 2 it cannot count here; 3 no baseline for this
interpreter and compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.compiled import build, compiler_version

__all__ = ["Count", "accepted", "compared", "count", "key", "main", "parsed", "seeded", "verdict"]

HERE = Path(__file__).resolve().parent
BASELINES = HERE / "instructions.json"
SOURCE = HERE.parent / "src" / "ref_proxy"
LIMIT = 0.03
TURNS = 500
PROBE = "with proxy.access(): pass"  # on which the seeded fault is to be noticed

SEED_AT = "    stripe->open++;\n"
SEEDED = f"    for (volatile int needless = 0; needless < 2; needless++)\n        ;\n{SEED_AT}"


class Count(NamedTuple):
    """Instructions of one operation."""

    ours: float  # in the C twin itself
    total: float

    def __str__(self) -> str:
        return f"{self.ours:8.1f} of {self.total:9.1f}"


def key() -> str:
    """What the numbers depend on."""
    threading = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    implementation = f"{sys.implementation.name} {platform.python_version()}{threading}"
    return f"{implementation}, {compiler_version()}, {platform.machine()}"


def prepared(folder: Path, source: str) -> None:
    """The package with the C twin built from this source, and the module that callgrind is told by."""
    package = folder / "ref_proxy"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__", "_core*.so", "_core*.pyd", "_core.c"))
    (package / "_core.c").write_text(source, encoding="utf-8")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    build(package / f"_core{suffix}", [package / "_core.c"])
    build(folder / f"_callgrind{suffix}", [HERE / "_callgrind.c"])
    shutil.copy(HERE / "counted.py", folder)


def parsed(text: str) -> tuple[str, float, float]:
    """Of one file that callgrind wrote: the title of the dump, and the instructions in the C twin and in all."""
    title, ours, total = "", 0, 0
    names: dict[str, str] = {}
    inside, called = False, False
    for line in text.splitlines():
        if line.startswith("desc: Trigger: Client Request: "):
            title = line.partition("Request: ")[2]
        elif line.startswith("ob="):
            number, _, name = line[3:].partition(" ")
            name = names.setdefault(number, name)
            inside = "/_core." in name
        elif line.startswith("cob="):  # of what is called; but it may give an object its number
            number, _, name = line[4:].partition(" ")
            names.setdefault(number, name)
        elif line.startswith("calls="):
            called = True  # the next line has the cost of that call, which is counted where it is spent
        elif re.match(r"[\d+*-]", line):
            if not called:
                cost = int(line.split()[1])
                total += cost
                ours += cost if inside else 0
            called = False
    return title, ours, total


def count(source: str, *operations: str, turns: int = TURNS) -> dict[str, Count]:
    """Instructions of each operation (of all where none is named) with a C twin from this source. OSError: not here."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise OSError("valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="ref_proxy-instructions-", ignore_cleanup_errors=True) as where:
        folder = Path(where).resolve()
        prepared(folder, source)
        # Nothing of the surroundings: the size of the environment shifts the stack, hashes differ, and modules add finders.
        environ = {"PATH": os.defpath, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        environ["REF_PROXY_BACKEND"] = "c"
        command = [valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / 'counts'}"]
        command += [sys.executable, "-s", "-S", "-B", str(folder / "counted.py"), str(turns), *operations]
        done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, check=False, text=True)
        if done.returncode:
            raise OSError(f"callgrind failed: {done.stderr}")
        found: dict[str, dict[int, tuple[float, float]]] = {}
        for path in sorted(folder.glob("counts.*"), key=lambda path: int(path.suffix[1:])):
            title, ours, total = parsed(path.read_text(encoding="utf-8"))
            length, _, name = title.partition(" ")
            if name:
                found.setdefault(name, {})[int(length)] = (ours, total)
    counts: dict[str, Count] = {}
    for name, lengths in found.items():
        short, long = lengths[turns], lengths[2 * turns]  # what is done once falls out of the difference
        counts[name] = Count(*(round((b - a) / turns, 2) for a, b in zip(short, long, strict=True)))
        if counts[name].ours <= 0:
            raise OSError(f"callgrind has not seen the C twin in {name!r}")
    return counts


def compared(baseline: dict[str, Any], now: dict[str, Count]) -> tuple[list[str], bool]:
    """A line for each operation, and whether none has risen."""
    lines: list[str] = []
    sound = True
    same_build = baseline["build"] == sys.version
    kept = {name: Count(**entry) for name, entry in baseline["counts"].items()}
    for name, old in kept.items():
        if name not in now:
            lines.append(f"{name:<40} {old}   is not counted any more: --accept")
            sound = False
    for name, new in now.items():
        if name not in kept:
            lines.append(f"{name:<40} {new}   has no baseline: --accept")
            sound = False
            continue
        changes = {"in the C twin": new.ours / kept[name].ours - 1}
        if same_build:
            changes["in all"] = new.total / kept[name].total - 1
        text = f"{name:<40} {new}   " + ", ".join(f"{change:+.1%} {where}" for where, change in changes.items())
        if max(changes.values()) > LIMIT:
            text += "   RISEN"
            sound = False
        elif min(changes.values()) < -LIMIT:
            text += "   fallen: --accept, so that it stays there"
        lines.append(text)
    if not same_build:
        lines.append("the interpreter is another build than the baseline's: what runs outside of the C twin is not compared")
    return lines, sound


def verdict(baselines: dict[str, Any], here: str, now: dict[str, Count]) -> tuple[list[str], int]:
    """What is to be said, and the exit status."""
    title = f"{here}: instructions in the C twin, of all"
    if here not in baselines:
        return [
            title,
            *(f"{name:<40} {each}" for name, each in now.items()),
            f"no baseline for {here}: make one with --accept",
        ], 3
    lines, sound = compared(baselines[here], now)
    return [title, *lines], 0 if sound else 1


def accepted(counts: dict[str, Count]) -> dict[str, Any]:
    """The baseline that these are."""
    return {"build": sys.version, "counts": {name: each._asdict() for name, each in counts.items()}}


def seeded(source: str) -> str:
    """The source with a needless loop in each access. ValueError where it finds no place."""
    if source.count(SEED_AT) != 1:
        raise ValueError(f"the fault to be seeded finds no place in the source any more: {SEED_AT.strip()!r}")
    return source.replace(SEED_AT, SEEDED)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare instruction counts with those that are kept.")
    parser.add_argument("--accept", action="store_true", help="keep what is counted now")
    parser.add_argument("--baselines", metavar="FILE", type=Path, default=BASELINES, help="where they are kept")
    options = parser.parse_args()
    source = (SOURCE / "_core.c").read_text(encoding="utf-8")
    try:
        here = key()
        faulty = count(seeded(source), PROBE)
        now = count(source)
    except OSError as error:
        print(f"no instructions are counted here: {error}")
        return 2
    _, unnoticed = compared(accepted({PROBE: now[PROBE]}), faulty)
    if unnoticed:
        print(f"the seeded fault went unnoticed: {now[PROBE]} became {faulty[PROBE]}")
        return 1
    print(f"noticed the seeded fault: in {PROBE!r} {now[PROBE].ours:g} in the C twin became {faulty[PROBE].ours:g}")
    baselines: dict[str, Any] = {}
    if options.baselines.exists():
        baselines = json.loads(options.baselines.read_text(encoding="utf-8"))
    if options.accept:
        baselines[here] = accepted(now)
        options.baselines.write_text(json.dumps(baselines, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    lines, status = verdict(baselines, here, now)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
