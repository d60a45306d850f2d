"""Keepers of devices: several providers that go together, and a device that hangs on the first."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from ..device import Device
from ..errors import RevokeTimeout
from .actor import Actor
from .keepers import Lives

if TYPE_CHECKING:
    from .life import Life
    from .stage import Stage

__all__ = ["PARTS", "DeviceKeeper"]

PARTS = 3
DROPPED = "devices dropped"


class DeviceKeeper(Actor):
    """A thread that plugs devices in, and removes them."""

    group = "removals"
    kinds = ("device.remove()", "device.remove(timeout), resumed", "device dropped")

    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name, stage)
        self.parts = [Lives(self, stage.lane(f"{name}, part {part}")) for part in range(PARTS)]

    def act(self, kind: str) -> int:
        device = Device(self.name)
        child = device.attach(Device(f"{self.name}, port"))
        lives: list[Life] = []
        undone: list[int] = []
        for number, part in enumerate(self.parts):
            life, _ = part.begin(make=(device if number else child).provide)
            life.nameless = True
            lives.append(life)
            device.add_action(undone.append, number)
        device.add_action(self._undo, lives)
        sleep(self.random.random() * 0.003)
        if kind == "device dropped":
            self.count(DROPPED)
            del device, child
            for life in lives:
                life.released.wait()
        else:
            self._remove(device, kind)
            if undone != sorted(undone, reverse=True) or len(undone) != PARTS:
                self.stage.fault(f"the actions of a device ran in the order {undone}")
            if device.state != "removed" or child.state != "removed":
                self.stage.fault(f"a device is {device.state}, and what hung on it {child.state}, when remove() has returned")
        for part, life in zip(self.parts, lives, strict=True):
            part.end(life)
        return 1

    def _undo(self, lives: list[Life]) -> None:
        if not all(life.releases for life in lives):
            self.stage.fault("an action of a device ran before all its resources were released")

    def _remove(self, device: Device, kind: str) -> None:
        if "timeout" not in kind:
            device.remove()
            return
        while True:
            try:
                device.remove(timeout=0.0005)
                self.count("resumed")
                return
            except RevokeTimeout:
                self.count("timeouts")

    def clear_up(self) -> None:
        for part in self.parts:
            part.close()
