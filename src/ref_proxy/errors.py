"""What ref_proxy raises.

Misuse is raised with Python's own types instead: `ValueError` for a closed proxy, an ended section or a bad timeout,
`TypeError` for a wrong type or None.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    from .provider import Revocation
    from .remote.recall import Recall
    from .remote.records import Holder
    from .report import Blocker

    Pending: TypeAlias = Revocation[Any] | Recall[Any]

__all__ = ["RevokeDeadlock", "RevokeTimeout", "Revoked"]


class Revoked(OSError):
    """The resource is gone: its provider has denied it to everybody.

    An `OSError` whose `errno` is `ENODEV`, so that code which already copes with a device that was unplugged copes with
    this. It is final for that provider: a new one has to be made, with proxies of its own.

    Guarantees: S2, S5.

    >>> import errno
    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> proxy = provider.proxy("reader")
    >>> provider.revoke()
    True
    >>> try:
    ...     proxy.access()
    ... except Revoked as gone:
    ...     print(errno.errorcode[gone.errno])
    ENODEV
    """

    __module__ = "ref_proxy"


class RevokeTimeout(TimeoutError):
    """A removal ran out of time: somebody is still inside a section.

    Afterwards a `revoke()` has denied the resource to everybody and released nothing; calling it again carries on. A
    `replace()` has published the new resource, and `pending` is the removal of the old one.

    Guarantees: S7, S11.

    Attributes:
        blockers: who was inside when the time ran out, one `Blocker` a section.
        pending: the removal that goes on, a `Revocation`; `pending.wait()` waits for it.
        holders: the processes that had not let go, one `remote.Holder` each, of what is shared with other processes.

    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> section = provider.proxy("reader").access()
    >>> section.detach()
    >>> try:
    ...     provider.revoke(timeout=0)
    ... except RevokeTimeout as late:
    ...     print(late.blockers[0].proxy)
    reader
    >>> section.end()
    >>> provider.revoke()
    True
    """

    __module__ = "ref_proxy"

    def __init__(
        self, message: str, *, blockers: Sequence[Blocker] = (), pending: Pending | None = None, holders: Sequence[Holder] = ()
    ) -> None:
        super().__init__(message)
        self.blockers = list(blockers)
        self.pending: Any = pending
        self.holders = list(holders)


class RevokeDeadlock(RuntimeError):
    """A removal would wait for its own thread, for good; nothing was changed.

    End the section first, or `detach()` it when somebody else is going to end it.

    Guarantees: S8.

    >>> from ref_proxy import Provider
    >>> provider = Provider(["a resource"], name="line")
    >>> with provider.proxy("reader").access():
    ...     try:
    ...         provider.revoke()
    ...     except RevokeDeadlock:
    ...         print(provider.state)
    live
    >>> provider.revoke()
    True
    """

    __module__ = "ref_proxy"
