"""What the pool relies on: whole segments, none left behind, and a kill that holds nothing up."""

from __future__ import annotations

import signal
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING

import frames
import pytest

from ref_proxy import Revoked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'frames'}"


def exists(name: str) -> bool:
    try:
        SharedMemory(name).close()
    except FileNotFoundError:
        return False
    return True


def die_inside() -> None:
    with frames.proxy.access():
        signal.raise_signal(signal.SIGKILL)


def test_a_job_reads_one_segment_and_the_old_one_is_unlinked(address: str) -> None:
    names = []
    with frames.announce(address, frames.filled(0)) as shared, frames.pool(address, 2) as pool:
        for value in range(1, 5):
            names.append(shared.info["segment"])
            running = pool.map_async(frames.values, range(100))
            frames.replace(shared, frames.filled(value))
            assert not exists(names[-1])
            assert all(len(seen) == 1 for seen in running.get(60))
            assert pool.apply(frames.values, [0]) == {value}
        names.append(shared.info["segment"])
    assert not any(map(exists, names))


def test_a_job_that_comes_late_is_told(address: str) -> None:
    with frames.announce(address, frames.filled(0)) as shared, frames.pool(address, 1) as pool:
        assert pool.apply(frames.values, [0]) == {0}
        shared.revoke(timeout=60)
        with pytest.raises(Revoked):
            pool.apply(frames.values, [0])


def test_a_process_that_is_killed_in_a_section_holds_nothing_up(address: str) -> None:
    with frames.announce(address, frames.filled(0)) as shared, frames.pool(address, 1) as pool:
        pool.apply_async(die_inside)
        frames.replace(shared, frames.filled(1))
        assert pool.apply(frames.values, [0]) == {1}  # in the process that the pool has started instead
        assert shared.revoke(timeout=60).state == "drained"
