"""What the last screening rested on, kept beyond the process: `Screening <-> BasisRecord and its blobs`.

A controller that has just begun to lead finds work running that its first screening denies, and must say because of
which change: a date that passed while nobody led, a pack that came with a new version, a fact that another leader took
in a moment before it went. So the leader writes down what decided whenever that changes, and its successor screens on
it once more, before its own first round. Nothing is decided by it: it only words causes.
"""

from __future__ import annotations

import structlog

from hanse.control.config import ControlConfig
from hanse.core.errors import HanseError
from hanse.core.ports import ControlPorts
from hanse.core.snapshot import Snapshot
from hanse.policy import Screening, in_force, parse_packs, screen
from hanse.wire import canonical, envelope
from hanse.wire.messages import BasisBody, BasisRecord, PackFiles
from hanse.wire.subjects import BASIS

log = structlog.get_logger("control")

KEY = "current"


class Basis:
    """Keeps the last screening's ground in the store, and recalls it."""

    def __init__(self, ports: ControlPorts, config: ControlConfig) -> None:
        self._ports = ports
        self._config = config
        self._kept: BasisRecord | None = None
        self._revision = 0

    async def recall(self, at: Snapshot) -> Screening | None:
        """Screen the work of now on what was kept; None where nothing was, or it cannot be read any more."""
        entry = await self._ports.store.get(BASIS, KEY)
        if entry is None or entry.value is None:
            return None
        self._revision = entry.revision
        trusted = {self._ports.signer.key_id: self._ports.signer.public_key}
        try:
            record = envelope.open_sealed(entry.value, BasisRecord, trusted).message
            body = canonical.decode(await self._ports.blobs.get(record.body), BasisBody)
            files = canonical.decode(await self._ports.blobs.get(record.files), PackFiles).files
            packs, guardrails = in_force(parse_packs(files), body.policies, body.guardrails)
            found = screen(at.workloads, body.fabric, packs, body.at_us, guardrails=guardrails)
        except HanseError as error:
            # A version that read rules otherwise, or a blob that is gone: causes are then told from now on only.
            log.info("basis.unreadable", code=error.code, reason=error.message)
            return None
        self._kept = record
        return found

    async def keep(self, at: Snapshot, verdicts: Screening) -> None:
        """Write down what decided, where it is another than was kept. Raises ConflictError, StoreError, BlobError."""
        if self._kept is not None and self._kept.screening == verdicts.digest:
            return
        body = BasisBody(
            at_us=at.at_us, fabric=at.fabric, policies=at.policies, guardrails=tuple(self._config.guardrails)
        )
        blobs, last = self._ports.blobs, self._kept
        record = BasisRecord(
            body=await blobs.put(canonical.encode(body)),
            files=await blobs.put(canonical.encode(PackFiles(files=dict(self._config.packs)))),
            screening=verdicts.digest,
        )
        sealed = envelope.seal(record, self._ports.signer)
        self._revision = await self._ports.store.put(BASIS, KEY, sealed, self._revision)
        self._kept = record
        if last is not None and last.body != record.body:
            await blobs.delete(last.body)
