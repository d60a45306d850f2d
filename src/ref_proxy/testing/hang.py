"""Breaks off what does not come back, as Ctrl-C would, and says where everybody stood."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from typing import TYPE_CHECKING

from .. import stacks, tasks
from . import places

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["Watchdog", "where_all_stand"]


def where_all_stand() -> list[str]:
    """Each thread and task that is in the user's code, with its places there, in lines."""
    frames = stacks.of_threads({each.ident or 0 for each in threading.enumerate()})
    stood = [(f"thread {each.name!r}", stacks.extract(frames.get(each.ident or 0, []))) for each in threading.enumerate()]
    stood += [(f"task {tasks.name(each)!r}", tasks.stack(each)) for each in tasks.everywhere()]
    lines: list[str] = []
    for who, stack in stood:
        if inside := places.lines_of(stack):
            lines += [f"{who} was at", *(f"    {line}" for line in inside)]
    return lines


class Watchdog:
    """Interrupts its body, which runs in the main thread, when that takes too long: again and again, until it comes back.

    The body comes out by KeyboardInterrupt, which event loops know how to treat. It goes no further than here.

    Args:
        seconds: how long it may take.
        look: called in another thread, the first time, before the body is interrupted.
    """

    def __init__(self, seconds: float, look: Callable[[], object]) -> None:
        self._seconds = seconds
        self._look = look
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.barked = False

    def __enter__(self) -> Self:
        self._old = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread = threading.Thread(target=self._watch, name="unplug watchdog", daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(self._seconds):
            if not self.barked:
                self._look()
            with self._lock:
                if not self._over.is_set():
                    self.barked = True
                    _interrupt_main_thread()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        while True:
            try:
                with self._lock:
                    self._over.set()
                if self.barked:
                    time.sleep(0)  # a system call: a signal that was sent before has come when it returns
                self._thread.join()
                break
            except KeyboardInterrupt:
                if not self.barked:
                    raise
        signal.signal(signal.SIGINT, self._old)
        return self.barked and kind is not None and issubclass(kind, KeyboardInterrupt)


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows: a wait for a lock goes on there
        _thread.interrupt_main()
