"""A child that a worker forks in the middle of its work: it inherits everything, is refused, and attaches for itself."""

from __future__ import annotations

import os
import traceback
import warnings
from typing import TYPE_CHECKING

from ...errors import Revoked
from .board import LET_IN, REFUSED

if TYPE_CHECKING:
    from .board import Row
    from .worker import Worker

__all__ = ["ENOUGH", "fork", "reap"]

ENOUGH = 50  # accesses of its own; then it ends


def fork(worker: Worker, row: Row) -> int:
    """Fork, have the child work in the row, and return its process number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there are other threads: since 3.12 Python warns of that
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _live(worker, row)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def reap(child: int) -> None:
    _, status = os.waitpid(child, 0)
    if status:
        raise ChildProcessError(f"the forked child {child} ended with status {os.waitstatus_to_exitcode(status)}")


def _live(worker: Worker, row: Row) -> None:
    try:
        with worker.way.access():
            row[LET_IN] += 1
    except Revoked:
        row[REFUSED] += 1
    worker.row, worker.children = row, []
    worker.work(ENOUGH)
