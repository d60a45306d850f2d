"""What the mechanism costs in C alone, beside liburcu, in one program: `native.c` says what is in it.

    python -m benchmarks.native [--quick] [--json FILE]

For Linux, with a C compiler and liburcu's headers (Debian: liburcu-dev). It installs those where it may; where it may not,
liburcu's rows say so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rows import Row, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["native"]


def native(quick: bool) -> Iterator[Row]:
    """All rows, measured in a process of its own: it brings its own C twin."""
    with tempfile.TemporaryDirectory(prefix="ref_proxy-native-", ignore_cleanup_errors=True) as folder:
        target = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.native", "--json", str(target), *(["--quick"] if quick else [])]
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(command, cwd=root, capture_output=True, check=False, text=True)
        if done.returncode:
            yield unmeasured("access and end in C", "access and end", "ns", done.stderr.strip())
            return
        for entry in json.loads(target.read_text(encoding="utf-8"))["rows"]:
            yield Row(**{name: entry[name] for name in Row._fields})
