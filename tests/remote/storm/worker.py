"""Whoever attaches: uses what it got in sections as fast as it can, and looks whether it is still there."""

from __future__ import annotations

import os
import signal
import sys
from random import Random
from time import sleep
from typing import TYPE_CHECKING, Any

from ref_proxy import Revoked, remote
from ref_proxy.remote.hub import hub

from .page import Page
from .remains import Remains

if TYPE_CHECKING:
    from ref_proxy import Proxy
    from ref_proxy.remote import Handle

    from .board import Board, Events, Slot
    from .doom import Doom
    from .places import Place

__all__ = ["Worker"]

BURST = 50  # sections between two whims
COPY_LASTS = 20  # seconds: longer than a removal may take, so that one that waits for a copy is noticed


class Worker:
    """One process. What it does is decided by its seed; when, by the machine."""

    def __init__(
        self, place: Place, board: Board, slot: Slot, events: Events, seed: str, doom: Doom | None, late: bool, patience: float
    ) -> None:
        self._place = place
        self._board = board
        self._slot = slot
        self._events = events
        self._random = Random(seed)
        self._doom = doom
        self._late = late  # its doom comes when it is attached, not before
        self._patience = patience
        self._last: Page | None = None
        self._epoch = 0

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that it forks are reaped by the kernel
        hub()  # which keeps a pipe
        remains = Remains()
        self._slot.step("coming")
        while not self._board.over:
            self._attend()
        self._slot.step("looking at what is left")
        self._last = None
        sys.settrace(None)
        self._events.tell("home", left=remains.left(self._patience / 2))
        self._slot.step("going")

    def _open(self, info: dict[str, Any]) -> Page:
        try:
            return Page(info["path"], info["serial"])
        except FileNotFoundError:
            self._events.tell("early", serial=info["serial"], where="as it was opened")
            raise

    def _attach(self, patience: float) -> Handle[Page]:
        # A holder that was cut off as it opened is told so by what is not there any more.
        return remote.attach(self._place.address, open=self._open, release=Page.close, patience=patience, stall_after=None)

    def _attend(self) -> None:
        slot = self._slot
        slot["serial"] = 0
        slot.step("attaching")
        if self._doom is not None:
            self._doom.counting = not self._late
        try:
            handle = self._attach(0.2)
        except (remote.NotAnnounced, FileNotFoundError):
            slot.add("not announced")
            return
        except ConnectionError:  # it was stopped for longer than its lease as it attached, or cut off for another name
            if not self._place.leases:
                raise
            slot.add("not announced")
            return
        if self._doom is not None:
            self._doom.counting = self._late
        slot.add("attached")
        if handle.epoch < self._epoch:
            self._events.tell("epoch", was=self._epoch, epoch=handle.epoch)
        self._epoch = handle.epoch
        proxy = handle.proxy("storm")
        while not self._board.over and self._burst(proxy) and self._whim(handle, proxy):
            pass
        if self._board.over:
            handle.close(self._patience)
        slot.step("leaving")
        while handle.state != "revoked":
            sleep(0.001)
        if not handle.reason:
            self._events.tell("fault", text="a handle is revoked, and does not say why")
        self._last = None

    def _burst(self, proxy: Proxy[Page]) -> bool:
        self._slot.step("inside")
        for done in range(BURST):
            last = self._last
            released = last is not None and last.released
            try:
                section = proxy.access()
            except Revoked:
                self._slot.add("sections", done)
                self._slot.add("refused")
                return False
            with section as page:
                if page is last and released:
                    self._events.tell("again", serial=page.serial)
                self._look(page, "as a section began")
                self._last = page
                if done == BURST - 1 and self._random.random() < 0.3:
                    self._slot.step("holding")
                    sleep(self._random.random() * 0.02)
                self._look(page, "as a section ended")
        self._slot.add("sections", BURST)
        self._slot["serial"] = self._last.serial if self._last else 0
        return True

    def _look(self, page: Page, where: str) -> None:
        if page.released:
            self._events.tell("early", serial=page.serial, where=where)
        if page.closed:
            self._events.tell("fault", text=f"page {page.serial} was closed by its own process {where}")

    def _whim(self, handle: Handle[Page], proxy: Proxy[Page]) -> bool:
        """Do something else now and then. False: it is over."""
        chance = self._random.random()
        if chance < 0.004:
            self._slot.step("closing")
            self._slot.add("closed")
            handle.close(self._patience)
            return False
        if chance < 0.008:
            self._slot.add("forked")
            if os.fork() == 0:
                self._child(proxy)
        elif chance < 0.010:
            self._copy()
        elif chance < 0.012:
            self._cut(handle, proxy)
        return True

    def _child(self, proxy: Proxy[Page]) -> None:
        """A forked child is no holder; it attaches for itself."""
        sys.settrace(None)
        status = 1
        try:
            try:
                with proxy.access():
                    self._events.tell("fault", text="a forked child got what its parent is attached to")
            except Revoked:
                pass
            try:
                handle = self._attach(0.0)
            except (remote.NotAnnounced, FileNotFoundError):
                pass
            except ConnectionError:
                if not self._place.leases:
                    raise
            else:
                mine = handle.proxy()
                for _ in range(20):
                    with mine.try_access() as page:
                        if page is not None:
                            self._look(page, "as a child's section began")
                            sleep(0.0002)
                            self._look(page, "as a child's section ended")
                handle.close(self._patience)
            status = 0
        except BaseException as error:
            self._events.tell("fault", text=f"a forked child failed: {error!r}")
        finally:
            os._exit(status)

    def _copy(self) -> None:
        """A child that no hook knows of, as a program in C would fork: it has all descriptors, and keeps them for a while."""
        import ctypes

        self._slot.add("copied")
        libc = ctypes.PyDLL(None)  # keeps the GIL, which a copy could not take again
        interval = sys.getswitchinterval()
        sys.setswitchinterval(60.0)  # nor is it to be asked for that, by a thread that a copy does not have
        sleep(0.001)  # who asked before has had it
        forked = libc.fork()
        sys.setswitchinterval(interval)
        if forked == 0:
            libc.alarm(COPY_LASTS)
            line = self._events.line("copied")
            libc.write(self._events.fd, line, len(line))
            while True:
                libc.pause()

    def _cut(self, handle: Handle[Page], proxy: Proxy[Page]) -> None:
        """Lose the connection inside a section: the owner cannot know when that ends, but by the end of the process."""
        try:
            section = proxy.access()
        except Revoked:
            return
        with section as page:
            self._slot.step("holding")
            self._slot.add("cut the line")
            self._place.cut(handle)
            sleep(0.02)
            self._look(page, "as a section ended, without a connection")
        os._exit(0)
