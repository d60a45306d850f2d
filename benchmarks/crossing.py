"""Removals that cross to worker processes, timed in a process of its own: `python -m benchmarks.crossing WHAT ADDRESS ...`.

It prints JSON. This process is the owner; a nursery, which was forked before this process had any thread, forks the workers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import sys
import threading
from pathlib import Path
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run by its path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.access import WITH_ACCESS
from benchmarks.measure import in_turns, loop, no_garbage
from ref_proxy import Provider, remote

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ref_proxy.remote import Outcome, Shared

__all__ = ["Nursery"]

CROWD = 8


class Nursery:
    """Forks workers, each of which attaches when it is told so, and does nothing until what it has is removed."""

    def __init__(self, address: str) -> None:
        go, self._go = os.pipe()
        self._told, told = os.pipe()
        wishes, self._wishes = os.pipe()
        self._born, born = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            for fd in (self._go, self._told, self._wishes, self._born):
                os.close(fd)
            try:
                serve(wishes, born, lambda inside: work(address, go, told, inside))
            finally:
                os._exit(0)
        for fd in (go, told, wishes, born):
            os.close(fd)

    def fork(self, number: int, *, inside: bool = False) -> list[int]:
        """Make so many more, and return their process numbers. `inside`: they stay in a section for good."""
        os.write(self._wishes, (b"i" if inside else b"w") * number)
        return [struct.unpack("q", exactly(self._born, 8))[0] for _ in range(number)]

    def attach(self, number: int) -> list[float]:
        """Have all of them attach, which are so many, and return how many milliseconds each took."""
        os.write(self._go, b"g" * number)
        return [struct.unpack("d", exactly(self._told, 8))[0] for _ in range(number)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._go, self._told, self._wishes, self._born):
            os.close(fd)
        os.waitpid(self._pid, 0)


def serve(wishes: int, born: int, work: Callable[[bool], object]) -> None:
    """Fork workers for as long as they are wished for; then end them all."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pids = []
    while wish := os.read(wishes, 1):
        pid = os.fork()
        if pid == 0:
            os.close(wishes)
            os.close(born)
            try:
                work(wish == b"i")
            finally:
                os._exit(0)
        pids.append(pid)
        os.write(born, struct.pack("q", pid))
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def work(address: str, go: int, told: int, inside: bool) -> None:
    while os.read(go, 1):
        released = threading.Semaphore(0)
        begun = perf_counter_ns()
        handle = remote.attach(address, open=lambda _, mine=released: mine, release=threading.Semaphore.release, patience=5)  # type: ignore[misc]
        took = (perf_counter_ns() - begun) / 1e6
        section = handle.proxy().access()
        if inside:
            section.detach()
        else:
            section.end()
        os.write(told, struct.pack("d", took))
        while handle.state == "live":  # what was replaced is released too
            released.acquire()


def kill(pid: int) -> None:
    """Kill it, and return when it has ended: until then it might take what is meant for another one."""
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)


def exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise EOFError("a worker of the benchmark has failed: the standard error says why")
        data += more
    return data


def timed(job: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = perf_counter_ns()
    job()
    return (perf_counter_ns() - begun) / 1e6


def drained(shared: Shared[Any]) -> float:
    """Milliseconds of its removal, from everybody."""
    outcomes: list[Outcome] = []
    with no_garbage():
        took = timed(lambda: outcomes.append(shared.revoke(60)))
    assert outcomes[0].state == "drained", outcomes
    return took


def removals(address: str, workers: int, rounds: int) -> dict[str, list[float]]:
    """Of what so many processes hold, none of which is inside."""
    took: dict[str, list[float]] = {"removal": [], "attach": []}
    with Nursery(address) as nursery:
        nursery.fork(workers)
        for turn in range(rounds + 1):
            shared = remote.announce(address, "resource")
            attached = nursery.attach(workers)
            removed = drained(shared)
            if turn:  # the first one loads what a removal needs
                took["attach"] += attached
                took["removal"].append(removed)
    return took


def killed(address: str, rounds: int) -> dict[str, list[float]]:
    """The same with one that is killed: at the moment of the removal, and while this waits for its section."""
    took: dict[str, list[float]] = {"all alive": [], "one killed": [], "killed inside": []}
    with Nursery(address) as nursery:
        pids = nursery.fork(CROWD)
        for _ in range(rounds):
            for name in ("all alive", "one killed"):
                shared = remote.announce(address, "resource")
                nursery.attach(CROWD)
                if name == "one killed":
                    os.kill(pids.pop(), signal.SIGKILL)
                took[name].append(drained(shared))
            pids += nursery.fork(1)
        kill(pids.pop())
        for _ in range(rounds):
            [victim] = nursery.fork(1, inside=True)
            shared = remote.announce(address, "resource")
            nursery.attach(CROWD)
            ended: list[int] = []

            def remove(shared: Shared[Any] = shared, ended: list[int] = ended) -> None:
                shared.revoke(60)
                ended.append(perf_counter_ns())

            remover = threading.Thread(target=remove)
            remover.start()
            while len(shared.holders(0)) > 1:
                sleep(0.002)
            sleep(0.005)  # it waits for that one, and nobody else does anything
            begun = perf_counter_ns()
            os.kill(victim, signal.SIGKILL)
            remover.join()
            took["killed inside"].append((ended[0] - begun) / 1e6)
    return took


def replacements(address: str, rounds: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"replace": []}
    with Nursery(address) as nursery:
        nursery.fork(CROWD)
        with remote.announce(address, "resource") as shared:
            nursery.attach(CROWD)
            for turn in range(rounds + 1):
                with no_garbage():
                    removed = timed(lambda: shared.replace("another", timeout=60))
                if turn:
                    took["replace"].append(removed)
    return took


def sections(address: str, rounds: int, count: int) -> dict[str, list[float]]:
    """Nanoseconds of a section, in a process that is attached, of what it is attached to, and of what is its own alone."""
    ready, tell = os.pipe()
    over, end = os.pipe()
    owner = os.fork()
    if owner == 0:
        os.close(end)
        with remote.announce(address, "resource"):
            os.write(tell, b"!")
            os.read(over, 1)
        os._exit(0)
    os.read(ready, 1)
    resource = object()
    provider = Provider(resource, name="resource")
    with remote.attach(address, open=lambda _: resource) as handle:
        loops = {"local": loop(WITH_ACCESS, x=provider.proxy()), "attached": loop(WITH_ACCESS, x=handle.proxy())}
        times = in_turns(loops, rounds, count)
    provider.revoke()
    os.close(end)
    os.waitpid(owner, 0)
    return times


JOBS: dict[str, Callable[..., dict[str, list[float]]]] = {
    "removals": removals, "killed": killed, "replacements": replacements, "sections": sections,
}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](sys.argv[2], *map(int, sys.argv[3:]))))
