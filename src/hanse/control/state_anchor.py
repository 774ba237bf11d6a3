"""Find silent loss and rot in the fabric's store: its contents are anchored in the ledger and compared later.

`entries -> StateBody`, `anchored + present -> findings`. What a controller deletes on purpose is gone without a
finding; what nobody ever deletes must be there, and nothing may be older than it was, or other bytes under the same
revision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from hanse.control.journal import Journal
from hanse.core.ports import ControlPorts, Entry
from hanse.core.time import WallTime
from hanse.ledger import statement as state_that
from hanse.wire import canonical
from hanse.wire.messages import StateBody, StateRow
from hanse.wire.subjects import (
    APPRAISAL,
    CREDENTIALS,
    FEDERATION,
    NODES,
    ORDERS,
    PLANS,
    PRESENCE,
    RELEASES,
    REPORTS,
    ROUTES,
    SECRETS,
    SPECS,
    TRUST,
    WITNESS,
)

log = structlog.get_logger("control")

ANCHORED = (
    APPRAISAL, CREDENTIALS, FEDERATION, NODES, ORDERS, PLANS, PRESENCE, RELEASES, REPORTS, ROUTES, SECRETS, SPECS,
    TRUST, WITNESS,
)  # fmt: skip
KEPT_FOR_EVER = (NODES, PLANS, TRUST, WITNESS)
"""Buckets from which no controller ever deletes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFinding:
    """One key that is not what it was."""

    bucket: str
    key: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHealth:
    """Outcome of a comparison with the last anchored state."""

    anchored_us: WallTime | None
    """When the state was anchored; None where it never was."""
    keys: int
    """Keys that were anchored then."""
    findings: tuple[StateFinding, ...]


def body_of(entries: Mapping[str, Sequence[Entry]]) -> StateBody:
    """What stands in the buckets, as it is anchored."""
    return StateBody(buckets={bucket: tuple(_row(entry) for entry in found) for bucket, found in entries.items()})


def compare(anchored: StateBody, present: StateBody) -> tuple[StateFinding, ...]:
    """What the store lost or changed by itself since it was anchored, in order of bucket and key."""
    findings: list[StateFinding] = []
    for bucket, rows in sorted(anchored.buckets.items()):
        now = {row.key: row for row in present.buckets.get(bucket, ())}
        for row in rows:
            message = _wrong_with(row, now.get(row.key), is_kept=bucket in KEPT_FOR_EVER)
            if message:
                findings.append(StateFinding(bucket=bucket, key=row.key, message=message))
    return tuple(findings)


class StateAnchor:
    """Anchors the store in the ledger and holds it against what was anchored last."""

    def __init__(self, ports: ControlPorts, journal: Journal) -> None:
        self._ports = ports
        self._journal = journal
        self._last: StateBody | None = None

    async def check(self) -> StateHealth:
        """Compare the store with the newest anchor. Raises StoreError, BlobError, LedgerDamaged."""
        anchor = await self._journal.last_state()
        if anchor is None:
            return StateHealth(anchored_us=None, keys=0, findings=())
        body = canonical.decode(await self._ports.blobs.get(anchor.body), StateBody)
        findings = compare(body, await self._read())
        return StateHealth(anchored_us=anchor.at_us, keys=sum(anchor.entries.values()), findings=findings)

    async def anchor(self) -> StateHealth:
        """Anchor what stands now, unless the store is found wrong: then the last good anchor stays the measure."""
        health = await self.check()
        if health.findings:
            for finding in health.findings[:5]:
                log.error("state.damaged", bucket=finding.bucket, key=finding.key, reason=finding.message)
            return health
        body = await self._read()
        if body == self._last:
            return health
        digest = await self._ports.blobs.put(canonical.encode(body))
        now = WallTime(self._ports.clock.wall())
        await self._journal.anchor_state(state_that.state_digest(body, digest, now, self._ports.signer))
        self._last = body
        return health

    async def _read(self) -> StateBody:
        return body_of({bucket: await self._ports.store.entries(bucket) for bucket in ANCHORED})


def _row(entry: Entry) -> StateRow:
    return StateRow(key=entry.key, revision=entry.revision, digest=canonical.digest_bytes(entry.value or b""))


def _wrong_with(row: StateRow, now: StateRow | None, *, is_kept: bool) -> str:
    if now is None:
        return "is lost: nothing ever deletes it" if is_kept else ""
    if now.revision < row.revision:
        return f"went back from revision {row.revision} to {now.revision}"
    if now.revision == row.revision and now.digest != row.digest:
        return f"holds other bytes under the same revision {row.revision}"
    return ""
