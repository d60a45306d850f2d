"""Share a resource that can go away while others use it: deny new access at once, let running ones finish, then release.

A `Provider` owns the resource, each consumer holds a `Proxy`, an access is a `Section`:

>>> from ref_proxy import Provider, Revoked
>>> provider = Provider(["a resource"], name="line")
>>> proxy = provider.proxy()
>>> with proxy.access() as resource:
...     print(resource)
['a resource']
>>> provider.revoke(timeout=5)
True
>>> proxy.revoked
True
"""

from . import aio as aio
from . import srcu as srcu
from ._backend import BACKEND, Proxy, Section
from .capi import get_include
from .device import Device
from .dump import dump
from .errors import Revoked, RevokeDeadlock, RevokeTimeout
from .guarded import guarded
from .provider import Provider, Revocation
from .report import Blocker

__all__ = [
    "BACKEND",
    "Blocker",
    "Device",
    "Provider",
    "Proxy",
    "Revocation",
    "RevokeDeadlock",
    "RevokeTimeout",
    "Revoked",
    "Section",
    "dump",
    "get_include",
    "guarded",
]
__version__ = "0.1.0"
