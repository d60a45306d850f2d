"""Tasks of one event loop: readers that await in their sections, and a keeper that never blocks the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import aio
from ..device import Device
from ..errors import Revoked, RevokeDeadlock, RevokeTimeout
from .actor import Actor
from .keepers import Lives

if TYPE_CHECKING:
    from ..provider import Provider
    from .kits import Kit
    from .life import Life
    from .specimen import Specimen
    from .stage import Stage

__all__ = ["EventLoop", "TaskKeeper", "TaskReader"]

READERS = 3


class TaskActor(Actor):
    """One task. `act()` is a coroutine here."""

    def __init__(self, name: str, stage: Stage, kit: Kit) -> None:
        super().__init__(name, stage)
        self.kit = kit

    async def do(self, kind: str) -> int:
        raise NotImplementedError

    async def go(self) -> None:
        """What `run()` is for threads."""
        try:
            while not self.stage.over:
                kind = self.deal()
                self.now(kind)
                done = await self.do(kind)
                self.done[kind] += done
        except BaseException as error:
            self.died(error)
            raise
        finally:
            self.home = True

    async def rest(self) -> None:
        """What `dwell()` is for threads."""
        await self.kit.pause(self.random.choice((0, 0, 0, 0.001, 0.003)))


class TaskReader(TaskActor):
    """A task that reads, on any lane, and awaits inside."""

    group = "accesses"
    kinds = ("task, awaiting inside", "task, cancelled by the removal", "task, ended by another task", "task, nested")

    async def do(self, kind: str) -> int:
        life = self.life()
        if life is None:
            await self.kit.pause(0)
            return 0
        try:
            if kind.endswith("removal"):
                return await self._cancelling(life)
            if kind.endswith("another task"):
                return await self._handed(life)
            return await self._await(life, nested=kind.endswith("nested"))
        except Revoked:
            self.count("refused")
            await self.kit.pause(0)
            return 0

    async def _await(self, life: Life, *, nested: bool) -> int:
        denied = life.denied
        with life.proxy.access() as specimen:
            token = self.arrive(specimen, denied=denied)
            await self.rest()
            if nested:
                with life.proxy.try_access() as inner:
                    if inner is not None:
                        second = self.arrive(inner)
                        await self.rest()
                        self.depart(inner, second)
            self.depart(specimen, token)
        return 1

    async def _cancelling(self, life: Life) -> int:
        token: object = None
        try:
            async with aio.cancelling(life.proxy) as specimen:
                token = self.arrive(specimen)
                try:
                    await self.kit.pause(0.01)
                finally:
                    self.depart(specimen, token)
        except Revoked:
            if token is None:
                raise
            self.count("cancelled by a removal")
        return 1

    async def _handed(self, life: Life) -> int:
        denied = life.denied
        section = life.proxy.access()
        specimen = section.resource
        token = self.arrive(specimen, denied=denied)
        section.detach()

        async def end() -> None:
            await self.rest()
            self.depart(specimen, token)
            section.end()

        await self.kit.in_another_task(end)
        return 1


class TaskKeeper(TaskActor):
    """A task that removes its providers, and has to let the readers of its own loop come to their ends."""

    group = "removals"
    kinds = (
        "arevoke()",
        "arevoke(timeout), resumed",
        "arevoke(), cancelled, resumed",
        "areplace(), then arevoke()",
        "async with",
        "device.aremove()",
        "arevoke() in a section of its own",
    )

    def __init__(self, name: str, stage: Stage, kit: Kit) -> None:
        super().__init__(name, stage, kit)
        self.lives = Lives(self, stage.lane(name))

    async def do(self, kind: str) -> int:
        device = Device(self.name) if kind == "device.aremove()" else None
        life, provider = self.lives.begin() if device is None else self.lives.begin(make=device.provide)
        life.nameless = True
        await self.rest()
        if device is not None:
            await device.aremove()
        else:
            await self._remove(kind, life, provider)
        life.told(self, False)
        self.lives.end(life)
        return 1

    async def _remove(self, kind: str, life: Life, provider: Provider[Specimen]) -> None:
        if "timeout" in kind:
            while True:
                try:
                    await provider.arevoke(timeout=0.001)
                    break
                except RevokeTimeout:
                    self.count("timeouts")
            self.count("resumed")
            return
        if "cancelled" in kind:
            await self._cancel(life, provider)
        if kind.startswith("areplace"):
            for _ in range(2):
                await self._replace(life, provider)
        if kind == "async with":
            async with provider:
                pass
        elif kind.endswith("own"):
            await self._deadlock(life, provider)
        await provider.arevoke()

    async def _cancel(self, life: Life, provider: Provider[Specimen]) -> None:
        section = life.proxy.try_access()  # so that it has to wait when it is cancelled
        specimen = section.resource
        token = None if specimen is None else self.arrive(specimen)
        section.detach()
        if await self.kit.cancelled(provider.arevoke, self.random.random() * 0.003):
            self.count("removals cancelled")
        if specimen is not None:
            self.depart(specimen, token)
        section.end()

    async def _replace(self, life: Life, provider: Provider[Specimen]) -> None:
        new = self.stage.make()
        try:
            old = await provider.areplace(new)
        except Revoked:
            self.stage.take_back(new)
        else:
            self.stage.end(old)
            self.count("replaced")

    async def _deadlock(self, life: Life, provider: Provider[Specimen]) -> None:
        with life.proxy.try_access() as specimen:
            if specimen is None:
                return
            try:
                await provider.arevoke(timeout=1)
                self.stage.fault("an arevoke() in a section of its own task came back")
            except RevokeDeadlock:
                pass

    def clear_up(self) -> None:
        self.lives.close()


class EventLoop:
    """A thread with such an event loop."""

    def __init__(self, kit: Kit, stage: Stage) -> None:
        self.kit = kit
        self.actors: list[TaskActor] = [TaskReader(f"{kit.name} reader {i}", stage, kit) for i in range(1, READERS + 1)]
        self.actors.append(TaskKeeper(f"{kit.name} keeper", stage, kit))

    def run(self) -> None:
        try:
            self.kit.run([actor.go for actor in self.actors])
        except BaseException as error:
            if not self.actors[0].stage.faults:
                self.actors[0].died(error)
