"""Who holds what is announced, through PostgreSQL: as the tables have it, and as they say when they are asked."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Literal

from . import sql
from .identity import Identity
from .records import Holder
from .vigil import said

if TYPE_CHECKING:
    from .libpq import Row, Value
    from .session import Server

__all__ = ["who_holds"]


def who_holds(server: Server, epochs: list[int], ask: float, patience: float) -> list[Holder]:
    """Who holds these; with `ask`, after they were asked and have answered, or did not in time.

    Raises: `TimeoutError` where the server itself has not answered so many seconds after that.
    """
    deadline, since = monotonic() + ask, "-infinity"

    def each(statement: str, *values: Value) -> list[list[Row]]:
        return server.call(
            lambda session: [session.execute(statement, epoch, *values) for epoch in epochs],
            timeout=max(deadline - monotonic(), 0) + patience,
        )

    if ask:
        since = each(sql.ASK_WHO)[0][0][0] or since
    while True:
        session = server.session()
        seen = session.told
        rows = [row for rows in each(sql.HOLDERS, since) for row in rows if not _is_dead(row)]
        if all(row[6] == "t" or row[4] != "t" for row in rows) or monotonic() >= deadline:
            return [_holder(row) for row in rows]
        session.wait_for_more(seen, deadline)


def _holder(row: Row) -> Holder:
    epoch, host, pid, process, attached, told, answered, *_ = row
    state: Literal["lost", "attached", "silent"] = "lost" if attached != "t" else "attached" if answered == "t" else "silent"
    return Holder(host or "", int(pid or 0), process or "", int(epoch or 0), state, said(told))


def _is_dead(row: Row) -> bool:
    _, host, pid, _, _, _, _, boot, space, started = row
    return Identity.told(host, pid, boot, space, started).is_dead()
