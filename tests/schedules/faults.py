"""What is broken on purpose: a few words of the policy's source, and the scene that must fail then."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import ref_proxy
from tests.property.packages import load


class Fault(NamedTuple):
    """The words of a module, and those that take their place."""

    name: str
    scene: str
    module: str
    words: str
    others: str


FAULTS = [
    Fault(
        "who waits does not look once more after it has hung up its rope",
        "a_waiter_and_a_ring",
        "waiting",
        "                if ready():  # [LOOK]",
        "                if False:  # [LOOK]",
    ),
    Fault(
        "a ring takes the ropes off all at once, and pulls one",
        "two_waiters_and_a_ring",
        "waiting",
        "            self.unhang(peg)  # not before: see above",
        "            self._ropes.clear()\n            break",
    ),
    Fault(
        "the release is claimed in two steps",
        "two_revokes",
        "provider",
        'if self._claims.setdefault("release", me) is not me:  # [CLAIM] lets one in\n                return False\n',
        'if "release" in self._claims:\n                return False\n            self._claims["release"] = me\n',
    ),
    Fault(
        "a release that has begun counts as over",
        "two_revokes",
        "provider",
        'if f"{step} over" in self._claims:  # [OVER]',
        "if step in self._claims:  # [OVER]",
    ),
    Fault(
        "a denial that comes late brings back what was released",
        "two_revokes",
        "provider",
        'if "release over" in self._claims:  # meanwhile, by another thread',
        'if "" in self._claims:',
    ),
    Fault(
        "the release rings nobody",
        "two_revokes",
        "provider",
        "                    alarm.cancel(self)\n            finally:\n                self._bell.ring()",
        "                    alarm.cancel(self)\n            finally:\n                pass",
    ),
    Fault(
        "the release does not wait for those inside",
        "a_revoke_and_the_last_end",
        "provider",
        'return "release" not in self._claims and self._drained() and',
        'return "release" not in self._claims and',
    ),
    Fault(
        "the wait is for the release alone, and not for what makes it due",
        "a_revoke_and_the_last_end",
        "provider",
        "return self.done or self._due() or self._uninterrupted()",
        "return self.done",
    ),
    Fault(
        "the release does not wait for the interrupt",
        "two_revokes_with_an_interrupt",
        "provider",
        'and (self._interrupt is None or self._over("interrupt"))',
        "",
    ),
    Fault(
        "an interrupt that is broken off rings nobody",
        "a_revoke_that_is_broken_off_in_its_interrupt_and_another_one",
        "provider",
        "            raise\n        finally:\n            self._bell.ring()\n\n    def _drained",
        "            raise\n\n    def _drained",
    ),
    Fault(
        "a release is noted as over before it has run",
        "a_revoke_soon_and_a_revoke",
        "provider",
        "            begun = True  # from here on nobody releases it again, whatever happens\n",
        '            begun = True\n            self._claims["release over"] = me\n',
    ),
    Fault(
        "the release runs in the reader that ends last",
        "a_revoke_soon_and_the_last_end",
        "provider",
        "        if self._release is None and self._due():",
        "        if self._due():",
    ),
    Fault(
        "the rope of revoke_soon() is hung up after its look",
        "a_revoke_soon_and_the_last_end",
        "provider",
        "        self._bell.hang(self._start_finish)\n        if self._stirred():\n",
        "        stirred = self._stirred()\n        self._bell.hang(self._start_finish)\n        if stirred:\n",
    ),
    Fault(
        "the resource to be released is read before the denial",
        "a_replace_and_a_revoke",
        "provider",
        "            resource = self._cell.deny()\n",
        "            with Proxy(self._cell).try_access() as resource:\n                pass\n            self._cell.deny()\n",
    ),
    Fault(
        "what is replaced is read before it is replaced",
        "two_replaces",
        "provider",
        "        replaced = self._cell.publish(new)\n",
        "        with Proxy(self._cell).try_access() as was:\n            pass\n"
        "        replaced = self._cell.publish(new)\n        replaced = replaced and (replaced[0], was)\n",
    ),
    Fault(
        "replace() waits for the newest sections",
        "a_replace_and_a_section_of_the_new_one",
        "provider",
        "            self._first = self._last = replaced[0]\n",
        "            self._first = self._last = replaced[0] + 1\n",
    ),
    Fault(
        "a revoke() that runs out of time releases all the same",
        "a_revoke_that_runs_out_of_time_and_is_resumed",
        "provider",
        "                return None\n        return False\n\n    async def _afinish",
        "                return self._run_release()\n        return False\n\n    async def _afinish",
    ),
    Fault(
        "a wait that ran out of time takes all ropes along",
        "a_revoke_that_runs_out_of_time_and_another_one",
        "waiting",
        "                    return ready()\n",
        "                    self._ropes.clear()\n                    return ready()\n",
    ),
    Fault(
        "call() hangs up its rope after its look",
        "a_call_and_the_last_end",
        "srcu",
        "        self._bell.hang(self._start_run)\n        if self._due():\n            self._start_run()\n",
        "        due = self._due()\n        self._bell.hang(self._start_run)\n        if due:\n            self._start_run()\n",
    ),
    Fault(
        "barrier() overtakes the calls before it",
        "a_call_with_a_barrier_and_the_last_end",
        "srcu",
        "        self._callbacks.append((",
        "        self._callbacks.appendleft((",
    ),
    Fault(
        "synchronize() waits for an older grace period",
        "a_synchronize_and_the_last_end",
        "srcu",
        "lambda: self._cell.drained(0, last), None",
        "lambda: self._cell.drained(0, last - 1), None",
    ),
    Fault(
        "two may run callbacks at once",
        "two_runners_of_callbacks",
        "srcu",
        'if (running := self._claims.setdefault("run", me)) is not me:',
        'if (running := self._claims.get("run", me)) is not me:',
    ),
    Fault(
        "who has run the callbacks does not look once more",
        "two_runners_of_callbacks",
        "srcu",
        '                self._claims.pop("run", None)\n        if self._callbacks:\n            self._when_due()\n',
        '                self._claims.pop("run", None)\n            return\n',
    ),
    Fault(
        "a removal runs what it finds, registered or refused",
        "an_action_is_added_while_the_device_is_removed",
        "device",
        "        for action in reversed(_own(self._actions)):\n",
        "        for action in reversed([each for each in self._actions if each is not _END]):\n",
    ),
    Fault(
        "a removal takes what it finds apart, attached or refused",
        "a_device_is_attached_while_its_hub_is_removed",
        "device",
        "        for child in reversed(_own(self._children)):\n",
        "        for child in reversed([each for each in self._children if each is not _END]):\n",
    ),
    Fault(
        "a registration does not look whether a removal has begun",
        "a_resource_is_provided_while_the_device_is_removed",
        "device",
        "        if _END in things:\n",
        "        if _END not in things:\n            return True\n        if not things:\n",
    ),
]


def package(folder: Path, fault: Fault | None = None) -> ModuleType:
    """A copy of the package of its own, with the twin that is under test, and this fault in it."""
    copy = folder / "ref_proxy"
    shutil.copytree(Path(ref_proxy.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if fault is not None:
        path = copy / f"{fault.module}.py"
        source = path.read_text(encoding="utf-8")
        assert source.count(fault.words) == 1, f"{path.name} has these words {source.count(fault.words)} times, not once"
        path.write_text(source.replace(fault.words, fault.others), encoding="utf-8")
    return load("explored", ref_proxy.BACKEND, copy)
