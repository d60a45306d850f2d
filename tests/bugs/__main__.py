"""The child process of an exhibit: `python -m tests.bugs MODULE OWNER`."""

from __future__ import annotations

import sys

from .museum import play

play(*sys.argv[1:])
