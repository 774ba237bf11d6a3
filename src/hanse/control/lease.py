"""Who leads: a lease in the key-value store, renewed by compare-and-swap.

A standby measures the silence of the holder on its own monotonic clock, from when it last saw the lease change: no
clock of another machine is ever compared. The term grows by one at each change of holder.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.errors import ConflictError
from hanse.core.ids import ControllerId
from hanse.core.ports import Clock, Store
from hanse.core.time import MonoTime
from hanse.wire import canonical
from hanse.wire.messages import Lease
from hanse.wire.subjects import LEASES

KEY = "controller"
NOBODY = ControllerId("")
"""Holder of a lease that was given up: the term goes on from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What this controller knows of the lease."""

    lease: Lease
    revision: int
    seen_at: MonoTime


class LeaseKeeper:
    """Takes, renews and gives up the lease; holds no task of its own: the controller calls `step`."""

    def __init__(self, store: Store, clock: Clock, *, me: ControllerId, api: str, term_us: int) -> None:
        self._store = store
        self._clock = clock
        self._me = me
        self._api = api
        self._term_us = term_us
        self._held: Held | None = None
        self._renewed_at: MonoTime | None = None

    @property
    def holder(self) -> Lease | None:
        """The lease as last seen."""
        return None if self._held is None else self._held.lease

    def is_leader(self) -> bool:
        """Tell whether this controller holds the lease and renewed it within a term by its own clock."""
        if self._renewed_at is None:
            return False
        return self._clock.monotonic() - self._renewed_at < self._term_us

    async def step(self) -> bool:
        """Look at the lease and take or renew it if that is due. Returns whether this controller leads now.

        Raises StoreError if the store cannot be reached.
        """
        entry = await self._store.get(LEASES, KEY)
        if entry is None or entry.value is None:
            return await self._write(self._next(None), 0)
        lease = canonical.decode(entry.value, Lease)
        if self._held is None or self._held.revision != entry.revision:
            self._held = Held(lease=lease, revision=entry.revision, seen_at=self._clock.monotonic())
        if lease.holder == self._me:
            return await self._write(self._next(lease), entry.revision)
        self._renewed_at = None
        silent_us = self._clock.monotonic() - self._held.seen_at
        if lease.holder != NOBODY and silent_us < self._term_us:
            return False
        return await self._write(self._next(lease), entry.revision)

    async def resign(self) -> None:
        """Give the lease up on a clean stop, so that a standby takes over at once."""
        if self._held is None or not self.is_leader():
            return
        self._renewed_at = None
        given_up = Lease(holder=NOBODY, term=self._held.lease.term, renewals=0, api="")
        try:
            await self._store.put(LEASES, KEY, canonical.encode(given_up), self._held.revision)
        except ConflictError:
            return

    def _next(self, last: Lease | None) -> Lease:
        if last is not None and last.holder == self._me:
            return Lease(holder=self._me, term=last.term, renewals=last.renewals + 1, api=self._api)
        return Lease(holder=self._me, term=1 if last is None else last.term + 1, renewals=0, api=self._api)

    async def _write(self, lease: Lease, expected: int) -> bool:
        asked_at = self._clock.monotonic()
        try:
            revision = await self._store.put(LEASES, KEY, canonical.encode(lease), expected)
        except ConflictError:
            self._renewed_at = None
            return False
        self._held = Held(lease=lease, revision=revision, seen_at=asked_at)
        self._renewed_at = asked_at
        return True
