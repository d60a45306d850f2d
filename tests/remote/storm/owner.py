"""Whoever announces: does what the conductor says, and tells what came of it. Lines of JSON through two pipes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ref_proxy import RevokeTimeout, remote
from ref_proxy.remote.hub import hub

from .page import Page
from .remains import Remains

if TYPE_CHECKING:
    from ref_proxy.remote import Outcome, Shared

    from .places import Place

__all__ = ["Owner"]


class Owner:
    """One process, with one resource at a time."""

    def __init__(self, place: Place, pages: Path, patience: float, asks: int, answers: int) -> None:
        self._place = place
        self._pages = pages
        self._patience = patience
        self._asks = open(asks, encoding="utf-8")  # noqa: SIM115
        self._answers = answers
        self._shared: Shared[Page] | None = None
        self._page: Page | None = None

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        hub()
        remains = Remains()
        for line in self._asks:
            asked: dict[str, Any] = json.loads(line)
            do = asked.pop("do")
            if do == "finish":
                self._shared = self._page = None
                sys.settrace(None)
                self._tell(left=remains.left(self._patience / 2))
                return
            began = monotonic()
            told = getattr(self, f"_{do}")(**asked)
            self._tell(began=began, took=monotonic() - began, **told)

    def _tell(self, **told: Any) -> None:
        os.write(self._answers, json.dumps(told).encode() + b"\n")

    def _announce(self, serial: int) -> dict[str, Any]:
        self._shared = None
        page = self._page = Page.make(self._pages, serial)
        began = monotonic()
        while self._shared is None:
            try:
                self._shared = remote.announce(self._place.address, page, release=Page.release, info=page.info, stall_after=None)
            except FileExistsError:  # a server takes a moment to notice that the last owner is dead; the kernel takes none
                if not self._place.leases or monotonic() > began + self._patience:
                    raise
                sleep(0.01)
        return {"serial": serial, "epoch": self._shared.epoch}

    def _fork(self) -> dict[str, Any]:
        """A child that lives on, without a part in it."""
        if os.fork() == 0:
            sys.settrace(None)
            os._exit(0)
        return {}

    def _replace(self, serial: int, fence: float | None) -> dict[str, Any]:
        assert self._shared is not None and self._page is not None
        page, was = Page.make(self._pages, serial), self._page
        try:
            old, outcome = self._shared.replace(page, info=page.info, timeout=self._patience, fence_after=fence)
        except RevokeTimeout as error:
            return {"late": str(error)}
        assert old is was, "replace() returned another resource"
        old.release()
        self._page = page
        return {**_plain(outcome), "serial": was.serial, "next": serial, "next_epoch": self._shared.epoch}

    def _revoke(self, fence: float | None) -> dict[str, Any]:
        assert self._shared is not None
        return self._removed(lambda: self._shared.revoke(self._patience, fence_after=fence))

    def _impatient(self, fence: float | None) -> dict[str, Any]:
        """A timeout, and then another try."""
        assert self._shared is not None
        try:
            self._shared.revoke(0.0)
        except RevokeTimeout:
            pass
        return self._revoke(fence)

    def _ask(self, fence: float | None) -> dict[str, Any]:
        """As somebody else would ask for it, from outside."""
        return self._removed(lambda: remote.revoke(self._place.address, self._patience, fence_after=fence))

    def _removed(self, remove: Any) -> dict[str, Any]:
        assert self._page is not None
        try:
            outcome = remove()
        except RevokeTimeout as error:
            return {"late": str(error)}
        assert self._page.released, "it returned, and has not released the resource"
        return {**_plain(outcome), "serial": self._page.serial}


def _plain(outcome: Outcome) -> dict[str, Any]:
    holders = [[holder.pid, holder.epoch, holder.state, str(holder)] for holder in outcome.holders]
    return {"state": outcome.state, "epoch": outcome.epoch, "holders": holders}
