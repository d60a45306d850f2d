"""The one who is told of plugs and unplugs: opens the lines, hands them out, removes them, and begins anew."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hub import Hub
    from .remover import Remover
    from .source import Source

__all__ = ["Manager"]


class Manager(Thread):
    def __init__(self, hub: Hub, source: Source, remover: Remover) -> None:
        super().__init__(name="manager", daemon=True)
        self.error: Exception | None = None
        self._hub = hub
        self._source = source
        self._remover = remover

    def run(self) -> None:
        try:
            while not self._hub.stopped and (plug := self._source.open()) is not None:
                number = self._hub.publish(self._remover.offer(plug))
                failed = self._hub.failed(number, self._source.dwell())
                self._remover.remove(self._source.unplug(plug, failed=failed))
        except Exception as error:  # told to the one who joins this thread
            self.error = error
        finally:
            self._hub.stop()
