"""The end of a process, or a stop, at a certain line of `ref_proxy.remote`, in whichever thread comes there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ref_proxy import remote

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .board import Events

__all__ = ["Doom", "Fate"]

PACKAGE = str(Path(remote.__file__).parent)


class Fate(NamedTuple):
    """After so many lines: "kill" or "stop"."""

    lines: int
    how: str


class Doom:
    """Counts the lines that this process takes, and strikes when the number is up. To be made before it starts any thread."""

    def __init__(self, fate: Fate, events: Events) -> None:
        self._left, self._how = fate
        self._events = events
        self._pid = os.getpid()
        self.counting = True
        for name, module in list(sys.modules.items()):
            if name.startswith("ref_proxy.remote.") and hasattr(module, "start"):
                module.start = self._starter(module.start)  # type: ignore[attr-defined]
        sys.settrace(self._trace)

    def _starter(self, start: Callable[..., None]) -> Callable[..., None]:
        def traced(job: Callable[[], object], **more: Any) -> None:
            def run() -> None:
                sys.settrace(self._trace)
                job()

            start(run, **more)

        return traced

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self.counting:
            self._left -= 1
            if self._left == 0 and os.getpid() == self._pid:
                where = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}:{frame.f_lineno}"
                self._events.tell("struck", how=self._how, where=where)
                os.kill(self._pid, signal.SIGKILL if self._how == "kill" else signal.SIGSTOP)
        return self._line
