"""How long tests wait for what ought to happen. It stands here, for processes that start fast have this module anyway."""

from __future__ import annotations

import os

SLOWNESS = float(os.environ.get("REF_PROXY_SLOWNESS", "1"))  # of the interpreter, in times; one with a sanitizer is slow
# Seconds until a test gives up on what ought to happen at once, on a machine that is busy; nothing waits this long to be right.
PATIENCE = 40.0 * SLOWNESS
