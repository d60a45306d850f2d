"""S16, async: removals never block an event loop, of asyncio or of trio, and a cancelled one can be carried on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from ref_proxy import Device, Provider, Revoked, RevokeDeadlock, RevokeTimeout, aio, tasks
from ref_proxy.waiting import Bell
from tests.support import Call, Holder, Resource

BACKENDS = ["asyncio", "trio"]


@pytest.fixture(params=BACKENDS)
def run(request):
    """Runs a coroutine function in a loop of either kind, in the calling thread."""
    return lambda main, *args: anyio.run(main, *args, backend=request.param)


async def until(condition) -> None:
    """Let the loop turn until it holds."""
    with anyio.fail_after(20):
        while not condition():
            await checkpoint()


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await checkpoint()


class Task:
    """A coroutine that runs beside the test; `result()` is what it came to."""

    def __init__(self, group, fn, *args) -> None:
        self._fn, self._args = fn, args
        self.scope = anyio.CancelScope()
        self.outcome: list = []
        self.finished = anyio.Event()
        group.start_soon(self._run)

    async def _run(self) -> None:
        try:
            with self.scope:
                self.outcome = [await self._fn(*self._args), None]
                return
            self.outcome = [None, asyncio.CancelledError()]
        except Exception as error:
            self.outcome = [None, error]
        finally:
            self.finished.set()

    @property
    def returned(self) -> bool:
        return bool(self.outcome)

    async def assert_waits(self, bell) -> Task:
        """Prove that it waits for the bell, and has not come back, though the loop turns."""
        await until(lambda: bell._ropes or self.returned)
        await turns()
        assert not self.returned, f"it did not wait, but came back with {self.outcome}"
        return self

    async def result(self):
        with anyio.fail_after(20):
            await self.finished.wait()
        value, error = self.outcome
        if error is not None:
            raise error
        return value


class Inside:
    """A task that is inside a section until it is told to leave."""

    def __init__(self, group, proxy, name="inside") -> None:
        self.entered, self._leave = anyio.Event(), anyio.Event()
        self.seen: list = []
        group.start_soon(self._run, proxy, name=name)

    async def _run(self, proxy) -> None:
        with proxy.access() as resource:
            self.seen.append(resource)
            self.entered.set()
            await self._leave.wait()

    def leave(self) -> None:
        self._leave.set()


# arevoke()


def test_arevoke_waits_for_tasks_and_threads_and_the_loop_turns(run, provider, proxy, resource):
    async def main():
        holder = Holder(proxy)
        async with anyio.create_task_group() as group:
            inside = Inside(group, proxy)
            await inside.entered.wait()
            removal = await Task(group, provider.arevoke).assert_waits(provider._removal._bell)
            assert (provider.state, proxy.revoked) == ("draining", True)
            assert resource.log == ["interrupted"]
            inside.leave()
            await removal.assert_waits(provider._removal._bell)
            holder.leave()
            assert await removal.result() is True
        assert resource.log == ["interrupted", "released"]
        assert provider.state == "revoked"
        assert await provider.arevoke() is False

    run(main)


def test_the_hooks_run_beside_the_loop_which_turns_meanwhile(run):
    async def main():
        ticks = {"interrupt": threading.Event(), "release": threading.Event()}
        began: list[str] = []

        def hook(name):
            def wait(_):
                began.append(name)
                assert ticks[name].wait(20), "the loop stood still while a hook ran"

            return wait

        provider = Provider("r", interrupt=hook("interrupt"), release=hook("release"))
        async with anyio.create_task_group() as group:
            removal = Task(group, provider.arevoke)
            for name in ("interrupt", "release"):
                await until(lambda name=name: name in began)
                ticks[name].set()
            assert await removal.result() is True

    run(main)


def test_one_of_many_gets_true_whatever_loop_or_thread_it_comes_from(provider, proxy, resource):
    async def main(started):
        async with anyio.create_task_group() as group:
            removals = [Task(group, provider.arevoke) for _ in range(3)]
            for each in removals:
                await each.assert_waits(provider._removal._bell)
            started.set()
            return [await each.result() for each in removals]

    holder = Holder(proxy)
    started = [threading.Event() for _ in range(4)]
    loops = [Call(anyio.run, main, event, backend=kind) for event, kind in zip(started, BACKENDS * 2, strict=True)]
    for event in started:
        assert event.wait(20)
    blocking = [Call(provider.revoke).assert_waits() for _ in range(2)]
    holder.leave()
    results = [result for loop in loops for result in loop.result()] + [call.result() for call in blocking]
    assert sorted(results) == [False] * 13 + [True]
    assert resource.log == ["interrupted", "released"]


def test_a_timeout_names_the_task_and_it_can_be_carried_on(run, provider, proxy, resource):
    async def main():
        async with anyio.create_task_group() as group:
            inside = Inside(group, proxy, name="the consumer")
            await inside.entered.wait()
            for timeout in (0, 0.01):
                with pytest.raises(RevokeTimeout) as late:
                    await provider.arevoke(timeout=timeout)
            [blocker] = late.value.blockers
            assert (blocker.proxy, blocker.task) == ("reader", "the consumer")
            assert "_run" in [frame.name for frame in blocker.stack]
            assert resource.log == ["interrupted"]
            inside.leave()
            assert await provider.arevoke(timeout=20) is True
        assert resource.log == ["interrupted", "released"]

    run(main)


def test_cancelled_it_leaves_the_removal_resumable_and_nothing_behind(run, provider, proxy, resource):
    async def main():
        holder = Holder(proxy)
        async with anyio.create_task_group() as group:
            removal = await Task(group, provider.arevoke).assert_waits(provider._removal._bell)
            removal.scope.cancel()
            with pytest.raises(asyncio.CancelledError):
                await removal.result()
            assert not provider._removal._bell._ropes
            assert (provider.state, resource.log) == ("draining", ["interrupted"])
            holder.leave()
            await turns()
            assert resource.log == ["interrupted"]
            assert await provider.arevoke() is True

    run(main)


def test_cancelled_while_the_release_runs_it_is_still_released_once_and_its_failure_logged(run, caplog):
    releasing, go_on = threading.Event(), threading.Event()

    def release(_):
        releasing.set()
        assert go_on.wait(20)
        raise OSError("no such ioctl")

    async def main():
        provider = Provider("r", release=release, name="line")
        async with anyio.create_task_group() as group:
            removal = Task(group, provider.arevoke)
            await until(releasing.is_set)
            removal.scope.cancel()
            with pytest.raises(asyncio.CancelledError):
                await removal.result()
            go_on.set()
            await until(lambda: "no such ioctl" in caplog.text)
            assert "'line': release failed" in caplog.text
            assert await provider.arevoke() is False

    run(main)


def test_what_the_release_raises_comes_to_who_awaits(run):
    async def main():
        provider = Provider("r", release=lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await provider.arevoke()
        assert provider.state == "revoked"

    run(main)


@contextlib.contextmanager
def generator_manager(proxy):
    with proxy.access() as resource:
        yield resource


@contextlib.contextmanager
def exit_stack(proxy):
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(proxy.access())


@pytest.mark.parametrize("enter", [lambda proxy: proxy.access(), generator_manager, exit_stack])
def test_a_task_inside_cannot_await_its_own_removal(run, provider, proxy, resource, enter):
    async def main():
        with enter(proxy):
            with pytest.raises(RevokeDeadlock, match="'reader' that this very task"):
                await provider.arevoke()
            with pytest.raises(RevokeDeadlock, match="'reader' that this very task"):
                await provider.areplace(Resource("new"))
            with proxy.access() as same:
                assert same is resource  # nothing was changed
        assert await provider.arevoke() is True

    run(main)


def test_a_task_inside_by_cancelling_cannot_either(run, provider, proxy):
    async def main():
        async with aio.cancelling(proxy):
            with pytest.raises(RevokeDeadlock):
                await provider.arevoke()
        assert provider.state == "live"

    run(main)


def test_a_section_that_was_handed_over_is_waited_for(run, provider, proxy):
    async def main():
        section = proxy.access()
        section.detach()
        async with anyio.create_task_group() as group:
            removal = await Task(group, provider.arevoke).assert_waits(provider._removal._bell)
            Call(section.end).result()
            assert await removal.result() is True

    run(main)


@pytest.mark.parametrize("removal", [Provider.revoke, lambda provider: provider.replace(Resource("new"))])
def test_a_blocking_removal_on_the_loops_thread_is_refused_while_a_task_is_inside(run, provider, proxy, resource, removal):
    async def main():
        async with anyio.create_task_group() as group:
            inside = Inside(group, proxy)
            await inside.entered.wait()
            with pytest.raises(RevokeDeadlock, match="await arevoke"):
                removal(provider)
            assert (provider.state, proxy.access().__enter__()) == ("live", resource)
            inside.leave()

    with pytest.warns(ResourceWarning, match="dropped while open"):  # the access in the assertion
        run(main)


def test_it_is_refused_also_where_the_section_began_in_another_thread(run, provider, proxy):
    async def main():
        section = Call(proxy.access).result()

        async def body():
            with section:
                await leave.wait()

        async with anyio.create_task_group() as group:
            leave = anyio.Event()
            group.start_soon(body, name="borrower")
            await turns()
            with pytest.raises(RevokeDeadlock, match="task 'borrower'"):
                provider.revoke()
            assert provider.state == "live"
            leave.set()

    run(main)


def test_a_device_looks_once_at_the_loops_tasks_however_many_providers_it_has(run, monkeypatch):
    looks: list[int] = []
    here = tasks.here
    monkeypatch.setattr(tasks, "here", lambda: looks.append(1) or here())

    async def main():
        device = Device("hub")
        proxies = [device.provide(object(), name=f"port {i}").proxy() for i in range(5)]
        sections = [Call(proxy.access).result() for proxy in proxies]

        async def body():
            with sections[3]:
                await leave.wait()

        async with anyio.create_task_group() as group:
            leave = anyio.Event()
            group.start_soon(body, name="borrower")
            await turns()
            with pytest.raises(RevokeDeadlock, match=r"'port 3' cannot be removed in here: .* task 'borrower'"):
                device.remove()
            assert device.state == "live"
            asked = len(looks)
            leave.set()
        for section in sections:
            section.end()
        assert device.remove() is True
        assert (asked, len(looks)) == (1, 1)  # at the end nobody is inside: there is nothing that a task could hold

    run(main)


def test_a_blocking_removal_in_a_thread_waits_for_the_loops_tasks(run, provider, proxy):
    async def main():
        async with anyio.create_task_group() as group:
            inside = Inside(group, proxy)
            await inside.entered.wait()
            call = Call(provider.revoke).assert_waits()
            inside.leave()
            await until(lambda: call.returned)
            assert call.result() is True

    run(main)


def test_a_section_that_is_ended_by_a_signal_handler_wakes_the_loop(run, provider, proxy):
    section = proxy.access()
    section.detach()
    old = signal.signal(signal.SIGALRM, lambda *_: section.end())

    async def main():
        async with anyio.create_task_group() as group:
            removal = await Task(group, provider.arevoke).assert_waits(provider._removal._bell)
            signal.raise_signal(signal.SIGALRM)
            assert await removal.result() is True

    try:
        run(main)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_a_loop_that_has_ended_does_not_disturb_the_removal(provider, proxy, resource):
    holder = Holder(proxy)
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(provider.arevoke())
    loop.run_until_complete(until(lambda: provider._removal._bell._ropes))
    assert not waiting.done()
    loop.close()
    second = Call(provider.revoke).assert_waits()
    holder.leave()
    assert second.result() is True
    assert resource.log == ["interrupted", "released"]
    waiting._log_destroy_pending = False
    with contextlib.suppress(RuntimeError):
        waiting.get_coro().close()


def test_a_trio_run_that_has_ended_does_not_disturb_the_removal(provider, proxy, resource):
    from ref_proxy import loops

    async def main():
        return loops.running()

    loop = anyio.run(main, backend="trio")
    provider._removal._bell.hang(lambda: loop.post(print))
    holder = Holder(proxy)
    call = Call(provider.revoke).assert_waits()
    holder.leave()
    assert call.result() is True


def before_the_rope_hangs(monkeypatch, do):
    """Have `do()` done in the instant between a waiter's look and the hanging of its rope, once."""
    hang, todo = Bell.hang, [do]

    def hang_late(self, rope):
        while todo:
            todo.pop()()
        return hang(self, rope)

    monkeypatch.setattr(Bell, "hang", hang_late)


def test_a_section_that_ends_before_the_rope_hangs_is_not_missed(run, provider, proxy, monkeypatch):
    async def main():
        section = proxy.access()
        section.detach()
        before_the_rope_hangs(monkeypatch, section.end)
        with anyio.fail_after(20):
            assert await provider.arevoke() is True

    run(main)


def test_without_a_loop_of_either_kind_it_says_so_and_changes_nothing(provider):
    for removal in (provider.arevoke(), provider.areplace(Resource("new")), aio.wait_revoked(provider.proxy())):
        with pytest.raises(RuntimeError, match="no event loop of asyncio or trio"):
            removal.send(None)  # driven by hand, as a foreign loop would
    with pytest.raises(RuntimeError, match="no event loop of asyncio or trio"):
        aio.cancelling(provider.proxy()).__aenter__().send(None)
    assert provider.state == "live"
    assert provider.blockers() == []


def test_a_bad_timeout_changes_nothing(run, provider):
    async def main():
        for timeout in (-1, float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                await provider.arevoke(timeout)
            with pytest.raises(ValueError, match="timeout"):
                await provider.areplace(Resource("new"), timeout)
        assert provider.state == "live"

    run(main)


def test_leaving_an_async_with_revokes(run, resource):
    async def main():
        with pytest.raises(ZeroDivisionError):
            async with Provider(resource, release=Resource.release) as provider:
                raise ZeroDivisionError
        assert (provider.state, resource.log) == ("revoked", ["released"])

    run(main)


def test_hooks_that_are_coroutine_functions_are_refused(resource):
    async def close(_): ...

    for hooks in ({"release": close}, {"interrupt": close}):
        with pytest.raises(TypeError, match="cannot be a coroutine function"):
            Provider(resource, **hooks)


# areplace()


def test_areplace_publishes_at_once_and_returns_the_old_one_after_its_sections(run, provider, proxy, resource):
    async def main():
        async with anyio.create_task_group() as group:
            inside = Inside(group, proxy)
            await inside.entered.wait()
            new = Resource("new")
            replacing = await Task(group, provider.areplace, new).assert_waits(provider._removal._bell)
            newer = Inside(group, proxy)
            await newer.entered.wait()
            assert newer.seen == [new]
            inside.leave()
            assert await replacing.result() is resource
            newer.leave()
        assert resource.log == []

    run(main)


def test_an_areplace_that_times_out_or_is_cancelled_leaves_the_new_one_published(run, provider, proxy, resource):
    async def main():
        holder = Holder(proxy)
        with pytest.raises(RevokeTimeout) as late:
            await provider.areplace(Resource("second"), timeout=0)
        async with anyio.create_task_group() as group:
            section = proxy.access()
            section.detach()
            third = await Task(group, provider.areplace, Resource("third")).assert_waits(provider._removal._bell)
            third.scope.cancel()
        with proxy.access() as current:
            assert current.name == "third"
        assert not late.value.pending.done
        holder.leave()
        assert late.value.pending.wait(timeout=20)
        assert late.value.pending.resource is resource
        section.end()

    run(main)


def test_areplace_on_a_revoked_provider_is_refused(run, provider):
    async def main():
        await provider.arevoke()
        with pytest.raises(Revoked):
            await provider.areplace(Resource("new"))

    run(main)


# cancelling()


def test_its_body_is_cancelled_and_comes_out_as_revoked(run, provider, proxy, resource):
    async def main():
        async def body():
            async with aio.cancelling(proxy) as inside:
                assert inside is resource
                await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            task = Task(group, body)
            await until(provider.blockers)
            assert await provider.arevoke() is True
            with pytest.raises(Revoked, match="proxy 'reader' of 'line' was revoked"):
                await task.result()
            await checkpoint()  # a request to cancel that was left behind would strike here

    run(main)


def test_a_revocation_before_its_rope_hangs_is_not_missed(run, provider, proxy, monkeypatch):
    async def main():
        before_the_rope_hangs(monkeypatch, provider.revoke_soon)
        with pytest.raises(Revoked), anyio.fail_after(20):
            async with aio.cancelling(proxy):
                await anyio.sleep_forever()

    run(main)


def test_it_listens_on_when_the_bell_rings_for_something_else(run, provider, proxy):
    async def main():
        async def body():
            async with aio.cancelling(proxy):
                await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            task = Task(group, body)
            await until(provider.blockers)
            for _ in range(3):
                provider._removal._bell.ring()
                await turns()
            assert not task.returned
            provider.revoke_soon()
            with pytest.raises(Revoked):
                await task.result()

    run(main)


@pytest.mark.parametrize("how", ["thread", "dropped", "soon"])
def test_its_body_is_cancelled_however_the_provider_goes(run, how):
    async def main():
        providers = [Provider(Resource(), release=Resource.release, name="line")]
        proxy = providers[0].proxy()

        async def body():
            async with aio.cancelling(proxy):
                await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            task = Task(group, body)
            await until(providers[0].blockers)
            if how == "thread":
                Call(providers[0].revoke)
            elif how == "soon":
                providers[0].revoke_soon()
            else:
                with pytest.warns(ResourceWarning, match="dropped while live"):
                    providers.clear()
                    gc.collect()
            with pytest.raises(Revoked):
                await task.result()

    run(main)


def test_a_body_that_ends_by_itself_is_left_in_peace(run, provider, proxy):
    async def main():
        async with aio.cancelling(proxy):
            provider.revoke_soon()  # the loop hears of it only when the body is out
        await turns()
        with pytest.raises(ZeroDivisionError):
            async with aio.cancelling(second.proxy()):
                second.revoke_soon()
                raise ZeroDivisionError
        await turns()

    with Provider(Resource()) as second:
        run(main)


def test_an_outside_cancellation_is_not_swallowed(run, provider, proxy):
    async def main():
        reached = []

        async def body():
            async with aio.cancelling(proxy):
                await anyio.sleep_forever()
            reached.append("after")

        async with anyio.create_task_group() as group:
            task = Task(group, body)
            await until(provider.blockers)
            task.scope.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task.result()
        assert reached == []
        assert provider.blockers() == []

    run(main)


def test_an_outside_cancellation_at_the_same_time_wins():
    async def main():
        provider = Provider("r")

        async def body():
            async with aio.cancelling(provider.proxy()):
                await asyncio.sleep(3600)

        task = asyncio.create_task(body())
        await until(provider.blockers)
        provider.revoke_soon()
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        await provider.arevoke()

    asyncio.run(main())


def test_it_nests_and_the_outermost_that_is_revoked_comes_out(run):
    async def main():
        for names in (["inner"], ["outer"], ["inner", "outer"], ["outer", "inner"]):
            inner, outer = Provider("i", name="inner"), Provider("o", name="outer")
            those = [{"inner": inner, "outer": outer}[name] for name in names]
            caught = []

            async def body(inner=inner, outer=outer, caught=caught):
                try:
                    async with aio.cancelling(outer.proxy()):
                        try:
                            async with aio.cancelling(inner.proxy()):
                                await anyio.sleep_forever()
                        except Revoked:
                            caught.append("inner")
                            await anyio.lowlevel.checkpoint()
                except Revoked:
                    caught.append("outer")

            async with anyio.create_task_group() as group:
                task = Task(group, body)
                await until(lambda inner=inner: inner.blockers())
                for each in those:
                    each.revoke_soon()
                await task.result()
                await checkpoint()
            assert caught[-1] == ("outer" if outer in those else "inner")
            for each in (inner, outer):
                each.revoke()

    run(main)


def test_it_nests_with_timeouts_both_ways(run, provider, proxy):
    async def main():
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                async with aio.cancelling(proxy):
                    await anyio.sleep_forever()
        assert provider.state == "live"
        async with anyio.create_task_group() as group:

            async def body():
                async with aio.cancelling(proxy):
                    with anyio.fail_after(3600):
                        await anyio.sleep_forever()

            task = Task(group, body)
            await until(provider.blockers)
            provider.revoke_soon()
            with pytest.raises(Revoked):
                await task.result()

    run(main)


def test_a_replace_does_not_cancel_it(run, provider, proxy, resource):
    async def main():
        async with anyio.create_task_group() as group:
            leave = anyio.Event()

            async def body():
                async with aio.cancelling(proxy) as inside:
                    await leave.wait()
                    return inside

            task = Task(group, body)
            await until(provider.blockers)
            replacing = await Task(group, provider.areplace, Resource("new")).assert_waits(provider._removal._bell)
            leave.set()
            assert await replacing.result() is await task.result() is resource

    run(main)


def test_it_is_refused_when_gone_closed_or_no_proxy(run, provider, proxy):
    async def main():
        for wrong in (provider, None, proxy.access):
            with pytest.raises(TypeError, match="must be a proxy"):
                aio.cancelling(wrong)
            with pytest.raises(TypeError, match="must be a proxy"):
                await aio.wait_revoked(wrong)
        closed = provider.proxy()
        closed.close()
        with pytest.raises(ValueError, match="is closed"):
            async with aio.cancelling(closed):
                pass
        await provider.arevoke()
        with pytest.raises(Revoked):
            async with aio.cancelling(proxy):
                pass

    run(main)


def test_one_is_for_one_async_with(run, proxy):
    async def main():
        once = aio.cancelling(proxy)
        async with once:
            pass
        with pytest.raises(RuntimeError, match="one `async with`"):
            async with once:
                pass

    run(main)


def test_it_leaves_no_rope_behind(run, provider, proxy):
    async def main():
        async with aio.cancelling(proxy):
            assert provider._removal._bell._ropes
        assert not provider._removal._bell._ropes

    run(main)


# wait_revoked()


def test_wait_revoked_returns_when_it_is_and_holds_nothing(run, provider, proxy):
    async def main():
        async with anyio.create_task_group() as group:
            waiting = await Task(group, aio.wait_revoked, proxy).assert_waits(provider._removal._bell)
            provider.replace(Resource("new"))  # nobody is inside; and it is no revocation
            await waiting.assert_waits(provider._removal._bell)
            assert provider.revoke() is True  # blocking: it would hang if a section were held
            await waiting.result()
        await aio.wait_revoked(proxy)

    run(main)


def test_wait_revoked_can_be_cancelled(run, provider, proxy):
    async def main():
        with anyio.move_on_after(0.01):
            await aio.wait_revoked(proxy)
        assert not provider._removal._bell._ropes

    run(main)


# Device.aremove()


def test_aremove_goes_through_the_steps_of_remove_and_the_loop_turns(run):
    async def main():
        log: list[str] = []
        acting, go_on = threading.Event(), threading.Event()
        device = Device("hub")
        provider = device.provide("r", interrupt=lambda _: log.append("interrupt"), release=lambda _: log.append("release"))
        device.add_action(lambda: (log.append("action"), acting.set(), go_on.wait(20)))
        async with anyio.create_task_group() as group:
            inside = Inside(group, provider.proxy())
            await inside.entered.wait()
            with pytest.raises(RevokeDeadlock):
                device.remove()
            assert device.state == "live"
            removal = await Task(group, device.aremove).assert_waits(provider._removal._bell)
            assert log == ["interrupt"]
            removal.scope.cancel()
            with pytest.raises(asyncio.CancelledError):
                await removal.result()
            with pytest.raises(RevokeTimeout):
                await device.aremove(timeout=0)
            removals = [Task(group, device.aremove) for _ in range(3)]
            await turns()
            inside.leave()
            await until(acting.is_set)
            go_on.set()
            assert sorted([await each.result() for each in removals]) == [False, False, True]
        assert log == ["interrupt", "release", "action"]
        assert await device.aremove() is False

    run(main)


def test_aremove_reports_failures_in_one_group_and_is_refused_inside(run):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with Device("hub") as device:
                device.add_action(lambda: 1 / 0)
                with device.provide("r").proxy().access():
                    with pytest.raises(RevokeDeadlock):
                        await device.aremove()
                    assert device.state == "live"
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]

    run(main)
