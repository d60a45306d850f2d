"""What the tests with real kernel objects share: a place to make and break them in, and the proof that somebody sleeps."""

from __future__ import annotations

import ctypes
import os

import pytest

from ref_proxy import Provider
from ref_proxy.adapters import files
from tests.support import in_child

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


class Lacking(Exception):
    """This machine, or this user, cannot have such a kernel object."""


def system(done: int, what: str) -> None:
    """Raise what a function of the C library failed with."""
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def apart(namespace: int, check) -> None:
    """Run `check()` in a child with a namespace of its own, so that the host sees nothing of it.

    Skips where that cannot be had, or where `check` raises `Lacking`.
    """
    read, write = os.pipe()

    def there():
        try:
            try:
                system(libc.unshare(namespace), "unshare")
                if namespace == CLONE_NEWNS:
                    system(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "a private mount namespace")
            except OSError as error:
                raise Lacking(str(error)) from None
            check()
        except Lacking as lacking:
            os.write(write, str(lacking).encode())

    in_child(there)
    os.close(write)
    with os.fdopen(read) as pipe:
        lacking = pipe.read()
    if lacking:
        pytest.skip(f"needs {lacking}")


def asleep(provider: Provider[files.Descriptor], number: int = 1) -> bool:
    """Whether that many are inside, and all of them in the line that polls, with nothing to bring them back but an event."""
    blockers = provider.blockers()
    return len(blockers) == number and all(
        any(frame.name == "_poll" and "poll.poll(left)" in (frame.line or "") for frame in blocker.stack) for blocker in blockers
    )
