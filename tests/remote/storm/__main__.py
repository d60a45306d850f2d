"""`python -m tests.remote.storm`: one storm, and its verdict. The exit status is 1 where it has failed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from random import SystemRandom

from ref_proxy import BACKEND

from .conductor import Config, storm
from .faults import FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.remote.storm", description="A storm between processes.")
    parser.add_argument("address", nargs="?", default="unix", help="unix, postgresql (a server of its own), or postgresql://...")
    parser.add_argument("--removals", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument("--workers", type=int, default=Config.workers, metavar="N")
    parser.add_argument("--patience", type=float, default=Config.patience, metavar="S", help="seconds that any step may take")
    parser.add_argument("--broken", choices=FAULTS, default=None, help="put a fault in, which has to be noticed")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    seed = SystemRandom().getrandbits(32) if options.seed is None else options.seed
    print(f"storm on {options.address}: {options.removals} removals, seed {seed}, twin {BACKEND}", flush=True)
    verdict = storm(Config(options.removals, seed, options.workers, options.patience, options.broken, options.address))
    print("\n".join(verdict.lines()), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(verdict.to_dict(), indent=1) + "\n", encoding="utf-8")
    return 1 if verdict.failures else 0


if __name__ == "__main__":
    sys.exit(main())
