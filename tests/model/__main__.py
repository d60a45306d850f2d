"""Explores what is named, or everything: see the top of the package."""

from __future__ import annotations

import re
import sys
import time
from itertools import groupby

from .configurations import CELLS, REGIMES, SCENES, configuration, names
from .explore import Failure, Outcome, explore
from .faults import FAULTS, Fault

NOTABLE = ("releases", "sleeps", "returns the resource", "frees")  # shown in a summary although they have no tag


def check(name: str) -> bool:
    """Whether a configuration holds in every schedule."""
    began = time.monotonic()
    outcome = explore(configuration(name))
    took = f"{outcome.states:>8} states {time.monotonic() - began:6.1f} s"
    print(f"{'FAILED' if outcome.failure else 'holds':<7} {took}  {name}: {SCENES[name.partition('/')[0]].about}", flush=True)
    if outcome.failure:
        print(schedule(outcome.failure))
    return outcome.failure is None


def find(fault: Fault) -> Outcome:
    return explore(configuration(fault.where, fault.name))


def check_fault(fault: Fault, *, in_full: bool) -> bool:
    """Whether a seeded fault is found, by the property that is to find it."""
    failure = find(fault).failure
    found = failure is not None and failure.property.startswith(fault.breaks)
    steps = "no schedule" if failure is None else f"{len(failure.schedule)} steps"
    print(f"{'found' if found else 'MISSED':<7} {steps:>15}           {fault.where}: {fault.name}", flush=True)
    if failure is not None and (in_full or not found):
        print(schedule(failure))
    return found


def schedule(failure: Failure) -> str:
    """Step by step."""
    lines = [f"    {thread:>6}  {what}" for thread, what in failure.schedule if what]
    return "\n".join([*lines, f"    {failure.property}"])


def summary(failure: Failure) -> str:
    """The tags of a schedule, by thread; a store that was late is marked where it reaches memory."""
    steps = [(thread, shown) for thread, what in failure.schedule if (shown := _shown(what))]
    parts = []
    for thread, group in groupby(steps, key=lambda step: step[0]):
        shown = [what for what, _ in groupby(what for _, what in group)]
        parts.append(f"{thread}: {', '.join(shown)}")
    return "; ".join(parts)


def _shown(what: str) -> str:
    tag = re.search(r"\[([A-Z]+)\]", what)
    if tag is not None:
        return f"{tag[1]} is seen" if what.startswith("(") else tag[1]
    return next((word for word in NOTABLE if what.startswith(word)), "")


def table_of_faults() -> str:
    rows = ["| fault | ordering | found in | steps | shortest failing schedule | what fails |", "|---|---|---|---|---|---|"]
    for fault in FAULTS:
        failure = find(fault).failure
        assert failure is not None, fault.name
        tags = " ".join(f"[{tag}]" for tag in fault.tags.split())
        rows.append(
            f"| {fault.name} | {tags} | `{fault.where}` | {len(failure.schedule)} | {summary(failure)} | {failure.property} |"
        )
    return "\n".join(rows)


def table_of_configurations() -> str:
    """The states of each: with the GIL / without; a dash where it is left out."""
    states = {}
    for name in names():
        outcome = explore(configuration(name))
        assert outcome.failure is None, name
        states[name] = outcome.states
    rows = [f"| scene | threads | {' | '.join(CELLS)} |", "|---" * (2 + len(CELLS)) + "|"]
    for scene, (about, *_) in SCENES.items():
        counts = [" / ".join(str(states.get(f"{scene}/{cell}/{regime}", "-")) for regime in REGIMES) for cell in CELLS]
        rows.append(f"| `{scene}` | {about} | {' | '.join(counts).replace('- / -', '')} |")
    return "\n".join(rows)


def states_told(page: str) -> dict[str, int]:
    """The same table, read back: the states of each configuration."""
    told = {}
    for scene, counts in re.findall(rf"^\| `([\w-]+)` \| [^|]+ ((?:\|[^|\n]*){{{len(CELLS)}}})\|$", page, re.MULTILINE):
        for cell, pair in zip(CELLS, counts.split("|")[1:], strict=True):
            for regime, count in zip(REGIMES, pair.split("/"), strict=False):
                if count.strip().isdigit():
                    told[f"{scene}/{cell}/{regime}"] = int(count)
    return told


def main(asked: list[str]) -> int:
    if asked == ["--table"]:
        print(table_of_configurations(), table_of_faults(), sep="\n\n")
        return 0
    faults = {fault.name: fault for fault in FAULTS}
    if unknown := set(asked) - set(names()) - faults.keys():
        print(f"neither a configuration nor a fault: {', '.join(sorted(unknown))}; there are:", *names(), *faults, sep="\n    ")
        return 2
    began = time.monotonic()
    wrong = [name for name in asked or names() if name not in faults and not check(name)]
    wrong += [name for name in asked or faults if name in faults and not check_fault(faults[name], in_full=bool(asked))]
    print(f"{len(wrong)} wrong, after {time.monotonic() - began:.0f} s", *wrong, sep="\n    ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
