"""The promise of removal between processes and hosts: the owner says *gone*, everybody lets go, and only then is it released.

Each process attaches once, and keeps its sections local: they cost what they cost in one process. Only a removal crosses over.

>>> from ref_proxy import remote
>>> shared = remote.announce("unix:doctest-remote", ["a resource"], info={"path": "/dev/shm/x"})     # the owner
>>> handle = remote.attach("unix:doctest-remote", open=lambda info: [info["path"]])                 # any process
>>> with handle.proxy().access() as resource:
...     resource
['/dev/shm/x']
>>> shared.revoke(timeout=5)
Outcome(state='drained', holders=(), epoch=...)
>>> handle.state, handle.reason
('revoked', 'the owner has revoked it')

`address` says which back end an address belongs to, `backend` what such a one does; `unix` and `postgres` are the two there are.
`owner` and `worker` are the two sides, `recall` is a removal that crosses over, `outside` is what the command line uses.
"""

from .outside import revoke, survey
from .owner import Shared, announce
from .recall import Recall
from .records import Announced, Holder, NotAnnounced, Outcome, ProtocolError, Report, Survey
from .worker import Handle, attach

__all__ = [
    "Announced",
    "Handle",
    "Holder",
    "NotAnnounced",
    "Outcome",
    "ProtocolError",
    "Recall",
    "Report",
    "Shared",
    "Survey",
    "announce",
    "attach",
    "revoke",
    "survey",
]
