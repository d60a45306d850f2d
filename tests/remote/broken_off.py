"""Ctrl-C, at each moment of each call: nobody is waited for in vain, no name stays taken, and the next call goes on.

A class with these tests says which addresses it is about: `address`, a fixture.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ref_proxy
from ref_proxy import Revoked, remote
from tests import PATIENCE
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SOURCE = Path(ref_proxy.__file__).parent
# They take descriptors from the system: one whose number is lost stays open.
TAKERS = {"gate.py", "peers.py", "wake.py"}


def opened(info: Any) -> list[Any]:
    return [info]


def struck(strike: int, job: Callable[[], object]) -> str:
    """Do the job, with Ctrl-C at the strike-th moment, of those at which CPython looks for signals. Returns where, or "".

    These are a function's entry, and the return from a call of C, or of a class.
    """
    where: list[str] = []
    moments = count(1)

    def strike_there(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        looks = event in ("call", "c_return") or (event == "return" and code.co_name == "__init__")
        if looks and SOURCE in path.parents and path.name not in TAKERS and next(moments) == strike:
            where.append(f"{event} in {code.co_name}, {path.name}, line {frame.f_lineno}")
            sys.setprofile(None)
            raise KeyboardInterrupt

    old = sys.getprofile()
    sys.setprofile(strike_there)
    try:
        job()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(old)
    return "".join(where)


def announced(address: str) -> remote.Shared[Any]:
    """Announce it, as soon as the name is free: what was broken off may be taken back in a thread."""
    made: list[remote.Shared[Any]] = []

    def free() -> bool:
        try:
            made.append(remote.announce(address, ["x"]))
        except FileExistsError:
            return False
        return True

    until(free)
    return made[0]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # what its caller never got is dropped, and says so
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class BrokenOff:
    """The tests."""

    def test_ctrl_c_in_an_announcement_leaves_the_name_to_others(self, address: str) -> None:
        got: list[remote.Shared[Any]] = []
        for strike in count(1):
            where = struck(strike, lambda: got.append(remote.announce(address, ["x"])))
            while got:
                got.pop().revoke()
            announced(address).revoke()
            if not where:
                break
        assert strike > 30

    def test_ctrl_c_in_an_attachment_leaves_nobody_to_wait_for(self, address: str) -> None:
        got: list[remote.Handle[Any]] = []
        for strike in count(1):
            shared = announced(address)
            where = struck(strike, lambda: got.append(remote.attach(address, open=opened)))
            got.clear()
            assert shared.revoke(timeout=PATIENCE).state == "drained", where
            if not where:
                break
        assert strike > 30

    def test_ctrl_c_in_a_removal_is_made_good_by_the_next_one(self, address: str) -> None:
        for strike in count(1):
            shared = announced(address)
            handle = remote.attach(address, open=opened)
            where = struck(strike, shared.revoke)
            assert shared.revoke(timeout=PATIENCE).state == "drained", where
            assert handle.state == "revoked"
            if not where:
                break
        assert strike > 30

    def test_ctrl_c_in_a_replacement_is_made_good_by_the_next_one(self, address: str) -> None:
        for strike in count(1):
            shared = announced(address)
            handle = remote.attach(address, open=opened)
            where = struck(strike, partial(shared.replace, ["y"]))
            assert shared.replace(["z"], timeout=PATIENCE)[1].state == "drained", where
            until(lambda handle=handle, shared=shared: handle.epoch == shared.epoch)
            assert shared.revoke(timeout=PATIENCE).state == "drained", where
            with pytest.raises(Revoked):
                handle.proxy().access()
            if not where:
                break
        assert strike > 30

    def test_ctrl_c_in_a_close_is_made_good_when_the_handle_is_dropped(self, address: str) -> None:
        for strike in count(1):
            shared = announced(address)
            handle = remote.attach(address, open=opened)
            where = struck(strike, handle.close)
            del handle
            assert shared.revoke(timeout=PATIENCE).state == "drained", where
            if not where:
                break
        assert strike > 30
