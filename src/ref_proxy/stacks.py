"""Where threads stand: their frames, and what `traceback` makes of them, without a mishap while they run."""

from __future__ import annotations

import _thread
import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from traceback import StackSummary
    from types import FrameType, TracebackType

__all__ = ["callers", "extract", "of_threads", "still"]


class _Still:
    """Keeps the garbage collector from running, where CPython 3.11 cannot do with it.

    There an allocation may collect, and so run Python code and let other threads run. `f_back` allocates, while it looks at a
    frame that the other thread may have left by the time it has the memory: what it returns then is no frame. Later versions
    collect between two instructions only.
    """

    def __init__(self) -> None:
        self._inside: list[None] = []
        self._resume: list[None] = []  # one item: whoever is out last has to switch it on again

    def __enter__(self) -> None:
        if sys.version_info < (3, 12):
            self._inside.append(None)
            if gc.isenabled():
                gc.disable()
                self._resume.append(None)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if sys.version_info < (3, 12):
            self._inside.pop()
            if self._resume and not self._inside:
                self._resume.clear()
                gc.enable()


still = _Still()


def of_threads(idents: Container[int]) -> dict[int, list[FrameType]]:
    """The frames of these threads, by their numbers: innermost first. For this one, from where it came into the package."""
    with still:
        found = {ident: _outwards(frame) for ident, frame in sys._current_frames().items() if ident in idents}
    if _thread.get_ident() in found:
        found[_thread.get_ident()] = callers()
    return found


def callers() -> list[FrameType]:
    """The frames of this thread, from where it came into the package outwards."""
    here: FrameType | None = sys._getframe()
    while here is not None and here.f_globals.get("__package__") == __package__:
        here = here.f_back
    return _outwards(here)


def _outwards(frame: FrameType | None) -> list[FrameType]:
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def extract(frames: Sequence[FrameType]) -> StackSummary:
    """What `traceback` makes of some frames, innermost first: a stack, innermost last."""
    import traceback

    return traceback.StackSummary.extract([(frame, frame.f_lineno) for frame in reversed(frames)], lookup_lines=False)
