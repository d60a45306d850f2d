"""What can be broken, one step at a time: each of these must be found, and by the property that is named.

A fault is a name that a program asks for at one step (`self.broken(...)`): the variation stands where the reader sees the step.
"""

from __future__ import annotations

from typing import NamedTuple

HELD = "nobody holds what is gone"
WAKES = "a waiter wakes"
ONCE = "what is gone is gone once"
MEMORY = "memory is used only until it is freed"
COMPLETED = "a publication is completed once"
RELEASED = "revoke() returns after the release"
OWED = "in the end nothing is owed"
LEASE = "an access that begins after the end of the lease is refused"
STAYS = "who comes after one who was refused is refused"


class Fault(NamedTuple):
    name: str
    where: str  # the configuration that shows it by the shortest schedule
    breaks: str  # the property that finds it
    tags: str  # the orderings that it takes away


FAULTS = (
    # The C twin.
    Fault("a stripe has no lock", "read/c/free", HELD, "JOIN SCAN"),
    Fault("a stripe's lock is taken by a load and a store", "read/c/free", HELD, "JOIN SCAN"),
    Fault("[LOAD] comes before the stripe's lock", "read/c/free", HELD, "LOAD"),
    Fault("the scan comes before [PUBLISH]", "read/c/free", HELD, "PUBLISH SCAN"),
    Fault("a stripe is left out", "readers/c-striped/free", HELD, "SCAN"),
    Fault("the stripes are counted before the lock", "growing/c-growing/free", HELD, "STRIPE PUBLISH"),
    Fault("the cell grows without the publishing lock", "growing/c-growing/free", HELD, "GROW STRIPE"),
    Fault("a count is handed over twice", "replace-then-revoke/c/free", OWED, "SCAN"),
    Fault("an access does not turn its stripe", "replace-then-revoke/c/free", COMPLETED, "JOIN SCAN"),
    Fault("there is no bias", "readers/c-striped/free", COMPLETED, "UNBIAS"),
    Fault("the bias is taken off before the last stripe", "readers/c-striped/free", MEMORY, "UNBIAS"),
    Fault("whether a section is open is asked before the lock", "ended-twice/c/free", MEMORY, "LEAVE"),
    Fault("a section takes itself off the count before it leaves", "read/c/free", HELD, "LEAVE COUNT"),
    Fault("the wake comes before the completion", "read/c/free", WAKES, "COMPLETE WAKE"),
    Fault("completed after the publishing lock was given back", "replace-and-revoke/c/free", WAKES, "COMPLETE ASK"),
    Fault("memory is used again while it is parked", "memory/c-spares/free", "memory has one user", "REUSE VACATE"),
    Fault("a forked child keeps the sections of other threads", "fork/c/free", WAKES, "PURGE"),
    # The Python twin.
    Fault("there is no [RECHECK]", "read/python/gil", HELD, "JOIN RECHECK"),
    Fault("an access that came too late stays a member", "read/python/gil", OWED, "RECHECK LEAVE"),
    Fault("a dict is unlocked by a plain store", "read/python/free", HELD, "JOIN RECHECK"),
    Fault("whether it is empty is asked before whether it is retired", "asked-early/python/gil", HELD, "SCAN"),
    Fault("the wake comes before [LEAVE]", "read/python/gil", WAKES, "LEAVE WAKE"),
    Fault("the hint is followed one step only", "hint/python/gil", HELD, "SCAN"),
    Fault("a successor is taken for the end", "replaces/python/gil", "an access is granted while", "RECHECK"),
    Fault("a successor is looked up once the dict has grown", "revokes/python/free", "an access does not fail", "PUBLISH"),
    # The lease, of both.
    Fault("a lease ends without being ended for all", "lease/python/gil", STAYS, "LAPSE"),
    Fault("a lease is renewed by a plain store", "lease/python/gil", STAYS, "RENEW"),
    Fault("the clock is read once a tick to the very end", "lease/c/gil", LEASE, ""),
    # The bell, and the policy.
    Fault("no wake", "read/c/gil", WAKES, "WAKE RING"),
    Fault("the rope is hung up after the look", "read/c/gil", WAKES, "HANG LOOK"),
    Fault("a peg is used again", "readers-replace-then-revoke/c/gil", WAKES, "HANG"),
    Fault("two may claim the release", "policy-revokes/c/gil", ONCE, "CLAIM"),
    Fault("the release counts as over before it has run", "policy-revokes/c/gil", RELEASED, "OVER"),
    Fault("the release does not ring", "policy-revokes/c/gil", WAKES, "OVER RING"),
    Fault("the rope of revoke_soon() is hung up after the look", "policy-soon/c/gil", RELEASED, "HANG LOOK"),
)
