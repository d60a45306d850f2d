"""What every back end has to do. A class with these tests says which addresses it is about: `address`, a fixture."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ref_proxy import Revoked, RevokeDeadlock, RevokeTimeout, remote
from tests import PATIENCE
from tests.support import Call, until

from .puppet import Died, Failed

if TYPE_CHECKING:
    from pathlib import Path

    from .puppet import Puppet

DEATHS = ["before registering", "registered", "opening", "recalled", "denied", "releasing", "released"]


class Conformance:
    """The suite."""

    def announce(self, address: str, **how: Any) -> remote.Shared[list[str]]:
        how.setdefault("info", {"path": "/dev/shm/x"})
        return remote.announce(address, ["owned"], **how)

    # Grant

    def test_who_attaches_opens_what_the_owner_told_and_has_its_own_resource(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared, shared.proxy().access() as own:
            worker = puppets()
            attached = worker.ask("attach", address=address)
            assert attached == {"epoch": shared.epoch, "info": {"path": "/dev/shm/x"}}
            assert worker.ask("access") == [{"path": "/dev/shm/x"}]
            assert own == ["owned"]
            worker.kill()
            with pytest.raises(RevokeDeadlock):
                shared.revoke()
            assert shared.state == "live"

    def test_epochs_never_fall(self, address: str) -> None:
        epochs = []
        for _ in range(3):
            with self.announce(address) as shared:
                epochs.append(shared.epoch)
                shared.replace(["another"])
                epochs.append(shared.epoch)
        assert epochs == sorted(set(epochs))

    # Deny, drain, release

    def test_a_removal_waits_for_a_section_in_another_process_and_then_releases(self, address: str, puppets: Any) -> None:
        released: list[Any] = []
        shared = self.announce(address, release=released.append)
        inside, idle = puppets(), puppets()
        for worker in (inside, idle):
            worker.ask("attach", address=address)
        inside.ask("enter")
        removal = Call(shared.revoke)
        assert idle.ask("gone")["reason"] == "the owner has revoked it"
        until(lambda: inside.ask("access") is None)  # while the removal waits
        assert not removal.returned and not released
        inside.ask("leave")
        assert removal.result() == remote.Outcome("drained", (), shared.epoch)
        assert released == [["owned"]]
        assert inside.ask("gone")["reason"] == "the owner has revoked it"
        assert shared.state == "revoked"

    def test_all_who_revoke_get_the_same_and_it_is_released_once(self, address: str, puppets: Any) -> None:
        released: list[Any] = []
        shared = self.announce(address, release=released.append)
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("enter")
        removals = [Call(shared.revoke) for _ in range(3)]
        until(lambda: shared.state == "draining")
        worker.ask("leave")
        assert {removal.result() for removal in removals} == {remote.Outcome("drained", (), shared.epoch)}
        assert shared.revoke() == remote.Outcome("drained", (), shared.epoch)
        assert released == [["owned"]]

    def test_eight_workers_who_use_it_all_the_time_all_come_out(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        workers = [puppets() for _ in range(8)]
        for worker in workers:
            worker.tell("attach", address=address)
        for worker in workers:
            worker.hear()
            worker.ask("spin")
        assert shared.revoke(timeout=PATIENCE).state == "drained"
        assert all(worker.ask("spun_out") > 0 for worker in workers)
        assert shared.holders() == []

    def test_a_removal_that_runs_out_of_time_names_who_holds_it_and_is_carried_on(self, address: str, puppets: Any) -> None:
        released: list[Any] = []
        shared = self.announce(address, release=released.append)
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("enter")
        with pytest.raises(RevokeTimeout, match=f"process {worker.pid} .*puppet") as late:
            shared.revoke(timeout=0.05)
        (holder,) = late.value.holders
        assert (holder.pid, holder.epoch, holder.state) == (worker.pid, shared.epoch, "attached")
        assert holder.proxies == ("puppet",) and "proxy 'puppet' of" in holder.inside[0]
        assert not released
        worker.ask("leave")
        assert shared.revoke().state == "drained"
        assert released == [["owned"]]

    def test_who_comes_during_a_removal_is_refused(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        worker, late = puppets(), puppets()
        worker.ask("attach", address=address)
        worker.ask("enter")
        removal = Call(shared.revoke)
        until(lambda: remote.survey(address)[0].state == "draining")
        with pytest.raises(Failed, match="NotAnnounced"):
            late.ask("attach", address=address)
        worker.ask("leave")
        removal.result()
        with pytest.raises(Failed, match="NotAnnounced"):
            late.ask("attach", address=address)

    def test_a_removal_in_an_event_loop_blocks_its_task_alone(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("enter")

        async def main() -> remote.Outcome:
            removal = asyncio.create_task(shared.arevoke())
            while shared.state == "live":
                await asyncio.sleep(0)
            worker.ask("leave")
            return await removal

        assert asyncio.run(main()).state == "drained"

    def test_who_closes_his_handle_is_no_holder_any_more(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker = puppets()
            worker.ask("attach", address=address)
            assert [holder.pid for holder in shared.holders()] == [worker.pid]
            assert worker.ask("close") is True
            until(lambda: not shared.holders())
            assert worker.ask("access") is None

    def test_one_process_may_attach_twice_and_to_what_it_owns(self, address: str) -> None:
        with self.announce(address) as shared:
            one, two = (remote.attach(address, open=lambda info: [info]) for _ in range(2))
            assert len(shared.holders()) == 2
            with one.proxy().access(), pytest.raises(RevokeDeadlock):
                shared.revoke()
            one.close()
            assert two.state == "live"
            shared.revoke()
            assert (two.state, two.reason) == ("revoked", "the owner has revoked it")

    def test_who_would_wait_for_itself_is_refused_at_once(self, address: str) -> None:
        async def remove(shared: remote.Shared[Any], proxy: Any) -> None:
            with proxy.access():
                for wait in (shared.arevoke, lambda: shared.areplace(["new"])):
                    with pytest.raises(RevokeDeadlock):
                        await wait()

        with self.announce(address) as shared, remote.attach(address, open=lambda info: [info]) as handle:
            for proxy in (shared.proxy(), handle.proxy()):
                asyncio.run(remove(shared, proxy))
                with proxy.access(), pytest.raises(RevokeDeadlock):
                    shared.revoke()
            assert (shared.state, handle.state) == ("live", "live")

    def test_a_handle_that_is_dropped_lets_go(self, address: str) -> None:
        with self.announce(address) as shared:
            released = threading.Event()
            handle = remote.attach(address, open=lambda info: [info], release=lambda _: released.set())
            with pytest.warns(ResourceWarning, match="dropped while live"):
                del handle
            assert released.wait(PATIENCE)
            until(lambda: not shared.holders())

    def test_a_shared_resource_that_is_dropped_is_removed(self, address: str, puppets: Any) -> None:
        released = threading.Event()
        shared = self.announce(address, release=lambda _: released.set())
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("enter")
        with pytest.warns(ResourceWarning, match="dropped while live"):
            del shared
        until(lambda: worker.ask("access") is None)
        assert not released.is_set()
        worker.ask("leave")
        assert released.wait(PATIENCE)

    def test_what_cannot_be_opened_holds_nothing(self, address: str) -> None:
        with self.announce(address) as shared:
            with pytest.raises(ZeroDivisionError):
                remote.attach(address, open=lambda _: 1 / 0)
            with pytest.raises(TypeError, match="cannot be None"):
                remote.attach(address, open=lambda _: None)
            until(lambda: not shared.holders())

    def test_what_was_opened_in_vain_is_released(self, address: str) -> None:
        released: list[Any] = []
        with self.announce(address):
            with pytest.raises(ValueError, match="stall_after"):
                remote.attach(address, open=lambda info: [info], release=released.append, stall_after=0)
        assert released == [[{"path": "/dev/shm/x"}]]

    # Want

    def test_where_no_thread_can_be_had_nothing_is_announced_or_held(self, address: str, puppets: Any) -> None:
        other = puppets()
        other.ask("starve")
        with pytest.raises(Failed, match="no thread can be had"):
            other.ask("announce", address=address)
        with self.announce(address) as shared:
            with pytest.raises(Failed, match="no thread can be had"):
                other.ask("attach", address=address)
            assert shared.replace(["new"], timeout=PATIENCE)[1].state == "drained"
            other.ask("feed")
            assert other.ask("attach", address=address)["epoch"] == shared.epoch
            other.kill()

    def test_a_worker_that_can_have_no_thread_any_more_lets_go(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("starve")
        assert [holder.pid for holder in shared.holders(PATIENCE)] == [worker.pid]
        assert shared.revoke(timeout=PATIENCE).state == "drained"
        assert worker.ask("gone")

    def test_an_owner_that_can_have_no_thread_any_more_goes_on_when_it_can(self, address: str, puppets: Any) -> None:
        owner, worker = puppets(), puppets()
        owner.ask("announce", address=address)
        worker.ask("attach", address=address)
        owner.ask("starve")
        removal = Call(remote.revoke, address)
        until(lambda: b"no thread can be had" in owner.complaints())
        owner.ask("feed")
        assert removal.result().state == "drained"
        assert worker.ask("gone")

    def test_a_hook_that_ends_its_thread_ends_no_removal(self, address: str, puppets: Any) -> None:
        owner, *workers = puppets(), puppets(), puppets()
        owner.ask("announce", address=address, dies="release")
        for worker, hook in zip(workers, ("release", "interrupt"), strict=True):
            worker.ask("attach", address=address, dies=hook)
        with pytest.raises(RuntimeError, match="SystemExit"):
            remote.revoke(address, timeout=PATIENCE)
        assert [worker.ask("look")["state"] for worker in workers] == ["revoked", "revoked"]
        assert owner.ask("revoke")["state"] == "drained"

    # Replace

    def test_what_is_replaced_is_opened_anew_and_the_old_one_is_waited_for(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker = puppets()
            worker.ask("attach", address=address)
            worker.ask("enter")
            replacing = Call(shared.replace, ["new"], info={"path": "new"})
            until(lambda: worker.ask("access") == [{"path": "new"}])
            assert not replacing.returned, "the section of the old one is still open"
            worker.ask("leave")
            old, outcome = replacing.result()
            assert (old, outcome.state) == (["owned"], "drained")
            assert worker.ask("look")["epoch"] == shared.epoch > outcome.epoch
            with shared.proxy().access() as mine:
                assert mine == ["new"]

    def test_what_was_opened_has_the_epoch_of_its_own_announcement(self, address: str) -> None:
        with self.announce(address) as shared, remote.attach(address, open=lambda info: info) as handle:
            section, first = handle.proxy().access(), shared.epoch
            section.detach()
            replacing = Call(shared.replace, ["new"])
            until(lambda: handle.epoch > first)
            assert (section.resource.epoch, handle.info.epoch) == (first, shared.epoch)
            section.end()
            assert replacing.result()[1].epoch == first
            with handle.proxy().access() as newer:
                assert newer == {"path": "/dev/shm/x"}
                assert newer.epoch == shared.epoch

    def test_a_replacement_that_runs_out_of_time_is_carried_on(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker = puppets()
            worker.ask("attach", address=address)
            worker.ask("enter")
            with pytest.raises(RevokeTimeout, match="was replaced") as late:
                shared.replace(["new"], info={"path": "new"}, timeout=0.05)
            assert [holder.pid for holder in late.value.holders if holder.epoch < shared.epoch] == [worker.pid]
            worker.ask("leave")
            assert late.value.pending.wait().state == "drained"
            assert late.value.pending.resource == ["owned"]

    def test_who_is_removed_while_he_follows_a_replacement_holds_the_old_one_until_its_last_section_ends(
        self, address: str
    ) -> None:
        opening, go_on, let_go = threading.Event(), threading.Event(), threading.Event()

        def opened(info: remote.Announced) -> str:
            if info == {"path": "new"}:
                opening.set()
                assert go_on.wait(PATIENCE)
            return str(info["path"])

        shared = self.announce(address)
        handle = remote.attach(address, open=opened, release=lambda path: let_go.set() if path == "new" else None)
        section = handle.proxy().access()
        section.detach()
        replacing = Call(shared.replace, ["new"], info={"path": "new"})
        assert opening.wait(PATIENCE)
        removing = Call(shared.revoke)
        until(lambda: handle.reason != "")
        go_on.set()
        assert let_go.wait(PATIENCE)
        with pytest.raises(RevokeTimeout) as late:
            shared.revoke(timeout=0.5)
        assert [holder.pid for holder in late.value.holders] == [os.getpid()]
        assert not replacing.returned and not removing.returned
        section.end()
        assert (replacing.result()[1].state, removing.result().state) == ("drained", "drained")

    def test_who_cannot_open_what_replaces_it_is_revoked(self, address: str, caplog: pytest.LogCaptureFixture) -> None:
        with self.announce(address, info={"good": True}) as shared:
            handle = remote.attach(address, open=lambda info: [info] if info["good"] else 1 / 0)
            assert shared.replace(["new"], info={"good": False})[1].state == "drained"
            until(lambda: handle.state == "revoked")
            assert "cannot be had" in handle.reason
            assert "what replaces it cannot be had" in caplog.text
            caplog.clear()

    def test_replacing_and_revoking_at_once_leaves_nothing(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        worker = puppets()
        worker.ask("attach", address=address)
        worker.ask("spin")

        def replace() -> None:
            try:
                for _ in range(100):
                    shared.replace(["new"])
            except Revoked:
                pass

        replacing = Call(replace)
        until(lambda: worker.ask("look")["epoch"] > 0 and shared.proxy() is not None)
        assert shared.revoke(timeout=PATIENCE).state == "drained"
        replacing.result()
        assert worker.ask("spun_out") > 0

    # Death

    @pytest.mark.parametrize("step", DEATHS)
    def test_a_worker_that_is_killed_at_any_step_holds_nothing_up(self, step: str, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker, other = puppets(die_at=step), puppets()
            other.ask("attach", address=address)
            try:
                worker.ask("attach", address=address)
            except Died:
                pass
            assert shared.revoke(timeout=PATIENCE).state == "drained"
            assert worker.ended() == -signal.SIGKILL
            assert other.ask("gone")

    def test_a_worker_that_is_killed_inside_a_section_holds_nothing_up(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker = puppets()
            worker.ask("attach", address=address)
            worker.ask("enter")
            removal = Call(shared.revoke)
            until(lambda: shared.state == "draining")
            worker.kill()
            assert removal.result().state == "drained"

    def test_who_was_killed_is_no_holder(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            dead, alive = puppets(), puppets()
            for worker in (dead, alive):
                worker.ask("attach", address=address)
            dead.kill()
            until(lambda: dead.pid not in {holder.pid for holder in shared.holders()})
            assert {holder.pid for holder in shared.holders()} == {alive.pid}
            with pytest.raises(RevokeTimeout) as late:
                alive.ask("enter")
                shared.revoke(timeout=0)
            assert [holder.pid for holder in late.value.holders] == [alive.pid]
            alive.kill()

    def test_a_worker_whose_child_has_inherited_everything_is_noticed_too(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker = puppets()
            worker.ask("attach", address=address)
            child = worker.ask("fork")
            try:
                assert child["access"] is None, "a child is no holder"
                assert worker.ask("access") == [{"path": "/dev/shm/x"}], "and its parent still is"
                assert [holder.pid for holder in shared.holders()] == [worker.pid]
                worker.kill()
                assert shared.revoke(timeout=PATIENCE).state == "drained"
            finally:
                os.kill(child["pid"], signal.SIGKILL)

    def test_a_worker_that_is_killed_is_noticed_though_a_copy_of_it_has_its_connection(self, address: str, puppets: Any) -> None:
        with self.announce(address) as shared:
            worker = puppets()
            worker.ask("attach", address=address)
            worker.ask("enter")
            copy = worker.ask("copy")
            try:
                removal = Call(shared.revoke, timeout=PATIENCE)
                until(lambda: shared.state == "draining")
                worker.kill()
                assert removal.result().state == "drained"
            finally:
                os.kill(copy, signal.SIGKILL)

    def test_who_is_attached_denies_when_the_owner_is_killed(self, address: str, puppets: Any) -> None:
        owner, worker = puppets(), puppets()
        owner.ask("announce", address=address)
        worker.ask("attach", address=address)
        child = owner.ask("fork")  # it has the owner's sockets, too
        try:
            worker.ask("spin")
            owner.kill()
            assert worker.ask("spun_out") > 0
            assert worker.ask("gone")["reason"]
            with pytest.raises(Failed, match="NotAnnounced"):
                worker.ask("attach", address=address)
            with self.announce(address):
                worker.ask("attach", address=address)
        finally:
            os.kill(child["pid"], signal.SIGKILL)

    @pytest.mark.parametrize("step", ["owner recalled", "owner releasing"])
    def test_an_owner_that_is_killed_in_a_removal_leaves_a_name_that_can_be_taken(
        self, step: str, address: str, puppets: Any
    ) -> None:
        owner, worker = puppets(die_at=step), puppets()
        epoch = owner.ask("announce", address=address)
        worker.ask("attach", address=address)
        with pytest.raises(Died):
            owner.ask("revoke")
        assert worker.ask("gone")
        with self.announce(address) as shared:
            assert shared.epoch > epoch
            worker.ask("attach", address=address)
            assert worker.ask("look")["epoch"] == shared.epoch

    # Stopped, silent, cut off

    def test_a_stopped_worker_is_waited_for_and_named(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        worker: Puppet = puppets()
        worker.ask("attach", address=address)
        worker.stop()
        with pytest.raises(RevokeTimeout) as late:
            shared.revoke(timeout=0.05)
        assert [(holder.pid, holder.state) for holder in late.value.holders] == [(worker.pid, "silent")]
        worker.signal(signal.SIGCONT)
        assert shared.revoke().state == "drained"

    def test_a_stopped_worker_is_fenced_and_is_refused_when_it_goes_on(self, address: str, puppets: Any) -> None:
        released: list[Any] = []
        shared = self.announce(address, release=released.append)
        zombie, other = puppets(), puppets()
        for worker in (zombie, other):
            worker.ask("attach", address=address)
        zombie.ask("enter")
        zombie.stop()
        outcome = shared.revoke(timeout=PATIENCE, fence_after=0.1)
        assert outcome.state == "fenced"
        assert [(holder.pid, holder.state, holder.epoch) for holder in outcome.holders] == [(zombie.pid, "fenced", shared.epoch)]
        assert released == [["owned"]]
        zombie.tell("access")  # the first thing that it finds
        zombie.signal(signal.SIGCONT)
        assert zombie.hear() is None
        zombie.ask("leave")
        assert zombie.ask("gone")

    def test_a_fence_spares_who_lets_go_in_time(self, address: str, puppets: Any) -> None:
        shared = self.announce(address)
        worker = puppets()
        worker.ask("attach", address=address)
        assert shared.revoke(fence_after=PATIENCE) == remote.Outcome("drained", (), shared.epoch)

    def test_a_fence_of_what_is_replaced_denies_it_to_who_still_opens_the_new_one(
        self, address: str, puppets: Any, tmp_path: Path
    ) -> None:
        shared, fifo = self.announce(address), tmp_path / "fifo"
        epoch = shared.epoch
        os.mkfifo(fifo)
        worker = puppets()
        worker.ask("attach", address=address)
        _, outcome = shared.replace(["new"], info={"fifo": str(fifo)}, timeout=PATIENCE, fence_after=0.3)
        assert [(holder.pid, holder.state, holder.epoch) for holder in outcome.holders] == [(worker.pid, "fenced", epoch)]
        assert worker.ask("access") is None
        fifo.write_bytes(b"")
        worker.ask("gone")
        assert shared.revoke(timeout=PATIENCE).state == "drained"

    # Names

    def test_a_second_owner_is_refused_and_the_first_one_is_named(self, address: str, puppets: Any) -> None:
        owner = puppets()
        with self.announce(address):
            with pytest.raises(Failed, match=f"FileExistsError.*{os.getpid()}"):
                owner.ask("announce", address=address)
            with pytest.raises(FileExistsError, match=str(os.getpid())):
                self.announce(address)
        owner.ask("announce", address=address)
        owner.ask("revoke")

    def test_of_two_owners_that_race_one_gets_the_name(self, address: str, puppets: Any) -> None:
        owners = [puppets() for _ in range(4)]
        for owner in owners:
            owner.tell("announce", address=address)
        won, lost = [], []
        for owner in owners:
            try:
                owner.hear()
                won.append(owner)
            except Failed as failed:
                lost.append(failed.kind)
        assert (len(won), lost) == (1, ["FileExistsError"] * 3)
        won[0].ask("revoke")

    def test_nobody_announces_a_name_that_nobody_announces(self, address: str) -> None:
        with pytest.raises(remote.NotAnnounced, match="nobody announces"):
            remote.attach(address, open=lambda info: info)
        with pytest.raises(remote.NotAnnounced):
            remote.revoke(address)

    def test_whoever_is_patient_attaches_when_it_is_announced(self, address: str, puppets: Any) -> None:
        worker = puppets()
        worker.tell("attach", address=address, patience=PATIENCE)
        with self.announce(address) as shared:
            assert worker.hear()["epoch"] == shared.epoch
            shared.revoke()

    # From outside

    def test_it_can_be_listed_and_revoked_from_outside(self, address: str, puppets: Any) -> None:
        owner, worker = puppets(), puppets()
        epoch = owner.ask("announce", address=address)
        worker.ask("attach", address=address)
        worker.ask("enter")
        (found,) = remote.survey(address)
        assert (found.epoch, found.state) == (epoch, "live")
        assert str(owner.pid) in found.owner
        (holder,) = found.holders
        assert holder.pid == worker.pid and "proxy 'puppet'" in holder.inside[0]
        with pytest.raises(RevokeTimeout) as late:
            remote.revoke(address, timeout=0.05)
        assert [each.pid for each in late.value.holders] == [worker.pid]
        worker.ask("leave")
        assert remote.revoke(address).state == "drained"

    # Bad input

    @pytest.mark.parametrize(
        ("info", "complaint"), [({"x": object()}, "JSON"), ({"x": float("nan")}, "JSON"), ({"x": "y" * 40_000}, "bytes")]
    )
    def test_info_that_cannot_be_told_is_refused_and_nothing_is_announced(self, info: Any, complaint: str, address: str) -> None:
        released: list[Any] = []
        with pytest.raises((TypeError, ValueError), match=complaint):
            self.announce(address, info=info, release=released.append)
        with pytest.raises(remote.NotAnnounced):
            remote.attach(address, open=lambda info: info)
        assert not released, "it is still the caller's"

    def test_a_bad_time_changes_nothing(self, address: str) -> None:
        with self.announce(address) as shared:
            for bad in (-1, float("nan")):
                with pytest.raises(ValueError):
                    shared.revoke(timeout=bad)
                with pytest.raises(ValueError):
                    shared.revoke(fence_after=bad)
            assert shared.state == "live"
