"""Whether a process of this host is alive, as the kernel says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ref_proxy.remote.identity import Identity, Watched
from tests.support import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can tell")

# Its first thread ends, as it may where a program embeds Python; another one goes on until it is told to end.
HEADLESS = """
import ctypes, json, os, sys, threading
from ref_proxy.remote.identity import Identity

def go_on():
    sys.stdin.readline()
    os._exit(0)

threading.Thread(target=go_on).start()
print(json.dumps(Identity.mine()), flush=True)  # here: of one that has ended /proc/self does not tell all
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_is_alive_until_the_last_one_has() -> None:
    with subprocess.Popen([sys.executable, "-c", HEADLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        identity = Identity(*json.loads(process.stdout.readline()))
        watched = Watched(identity)
        until(lambda: state(process.pid) == "Z")
        assert not watched.ended() and not identity.is_dead()
        process.stdin.write("\n")
        process.stdin.flush()
        until(watched.ended)
        assert identity.is_dead()


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
