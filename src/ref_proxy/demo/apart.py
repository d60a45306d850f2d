"""The unprotected storm in a process of its own: there it can read from nobody's descriptors but its own, and hang nobody."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from .child import Child, Silence
from .source import NoDevice
from .storm import Config, run
from .tally import Tally

if TYPE_CHECKING:
    from .storm import Watch

__all__ = ["main", "run_apart"]

SILENCE = 20.0  # seconds without a word after which it is given up; it speaks ten times a second, once it has begun


def run_apart(config: Config, watch: Watch) -> Tally:
    """Run a storm in a child process. Never raises for what happens in there, and always comes back."""
    child = Child("ref_proxy.demo.apart", json.dumps(asdict(config)))
    tally = Tally()
    try:
        while True:
            said = json.loads(child.receive(SILENCE))
            tally = Tally.from_dict(said["tally"])
            if said["last"]:
                return tally
            watch(tally)
    except Silence as error:
        tally.cut_short = f"it ended early: {error}"
        return tally
    finally:
        child.end()


def main() -> None:
    def say(tally: Tally, *, last: bool = False) -> None:
        print(json.dumps({"last": last, "tally": tally.to_dict()}), flush=True)

    status = 0
    try:
        say(run(Config(**json.loads(sys.argv[1])), say)[0], last=True)
    except NoDevice as error:
        say(Tally(note=str(error)), last=True)
    except (KeyboardInterrupt, BrokenPipeError):
        status = 130
    os._exit(status)  # whoever still sleeps in a read is not waited for


if __name__ == "__main__":
    main()
