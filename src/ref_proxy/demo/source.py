"""Where lines come from: the instrument, which can be unplugged at will, or real hardware."""

from __future__ import annotations

import termios
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from .child import Child
from .plug import LINES, Plug
from .record import RawDecoder, RecordDecoder

if TYPE_CHECKING:
    from random import Random

    from .hub import Hub

__all__ = ["ADMINISTRATOR", "GONE", "HUNG_UP_IDLE", "HUNG_UP_MIDWAY", "Hardware", "Instrument", "NoDevice", "Source"]

HUNG_UP_IDLE = "hung up in a pause, readers blocked"
HUNG_UP_MIDWAY = "hung up in the middle of a record"
ADMINISTRATOR = "removed by an administrator while it works"
GONE = "reads failed: the device is gone"

ANSWER = 15.0  # seconds that the instrument may take for an answer
RETURN = 10.0  # seconds that a device may stay away
LOOK = 0.1  # seconds between two looks for it: a device node has no way to say that it is back


class NoDevice(Exception):
    """The device cannot be opened, or did not come back."""


class Source(Protocol):
    def open(self) -> Plug | None:
        """Open the lines, after plugging them in where need be. None: the storm was over first."""

    def dwell(self) -> float:
        """How long to leave them in peace, in seconds."""
        ...

    def unplug(self, plug: Plug, *, failed: bool) -> str:
        """What happens to them now: pull the plug, or do nothing, since an administrator wants it. Returns its name."""
        ...

    def end(self) -> None: ...


class Instrument:
    def __init__(self, seed: int, random: Random) -> None:
        self._child = Child("ref_proxy.demo.instrument", str(seed))
        self._random = random
        self._paths: list[str] = []
        self._plugs: list[int] = []

    def open(self) -> Plug | None:
        fresh = not self._paths
        if fresh:
            self._child.send(f"plug {len(LINES)}")
            _, *answer = self._child.receive(ANSWER).split()
            self._paths, self._plugs = answer[::2], [int(plug) for plug in answer[1::2]]
        plug = Plug(self._paths, 115200, map(RecordDecoder, self._plugs))
        if fresh:
            self._child.send("stream")
        return plug

    def dwell(self) -> float:
        return self._random.uniform(0.002, 0.02)

    def unplug(self, plug: Plug, *, failed: bool) -> str:
        kind = self._random.choice([HUNG_UP_IDLE, HUNG_UP_MIDWAY, ADMINISTRATOR])
        if kind != ADMINISTRATOR:
            plug.hang_up()
            self._child.send("unplug record" if kind == HUNG_UP_MIDWAY else "unplug pause")
            self._child.receive(ANSWER)
            self._paths = []
        return kind

    def end(self) -> None:
        self._child.end()


class Hardware:
    """One real line: nothing is written to it, nothing is known of what it says, and it may go at any time."""

    def __init__(self, path: str, baud: int, random: Random, hub: Hub) -> None:
        self._path = path
        self._baud = baud
        self._random = random
        self._hub = hub
        self._seen = False

    def open(self) -> Plug | None:
        deadline = monotonic() + RETURN
        while not self._hub.stopped:
            try:
                plug = Plug([self._path], self._baud, [RawDecoder()])
            except (OSError, termios.error) as error:  # the latter, where it vanishes while it is opened
                if not self._seen:
                    raise NoDevice(f"{self._path} cannot be opened: {error}") from error
                if monotonic() > deadline:
                    raise NoDevice(f"{self._path} did not come back within {RETURN:.0f} s: {error}") from error
                self._hub.wait_stopped(LOOK)
                continue
            self._seen = True
            plug.hang_up()  # as far as anybody knows
            return plug
        return None

    def dwell(self) -> float:
        return self._random.uniform(0.02, 0.2)

    def unplug(self, plug: Plug, *, failed: bool) -> str:
        return GONE if failed else ADMINISTRATOR

    def end(self) -> None:
        pass
