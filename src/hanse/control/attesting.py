"""The domain's verifier: challenges, appraisal of evidence, and the facts that follow from it.

`challenge -> evidence -> Attestation, sealed, under the node's key`. A challenge is good once, for five minutes, for
one node and one TPM; open ones live in memory only, so that after a change of leader nodes simply ask again. Evidence
that is refused is a fact, too: the last good result must not stand until it ends by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from hanse.attest import (
    AppraisalRecord,
    Appraiser,
    EvidenceRefused,
    Platform,
    appraise,
    binding,
    continued,
    failed,
    make_credential,
    read_identity,
    read_platform,
    reconsider,
    substance,
)
from hanse.attest.tpm_credential import ENTROPY_BYTES, SECRET_BYTES
from hanse.control.config import ControlConfig
from hanse.control.state import FabricState
from hanse.control.writing import write
from hanse.core.errors import HanseError
from hanse.core.fabric import Attested, Origin
from hanse.core.ids import NodeId
from hanse.core.ports import BusMessage, ControlPorts
from hanse.core.time import US_PER_S, WallTime
from hanse.wire import envelope
from hanse.wire.subjects import APPRAISAL, ATTESTED
from hanse.wire.trust_messages import Attestation, AttestRequest, Challenge, ChallengeRequest, GivenEvidence

log = structlog.get_logger("control")

CHALLENGE_LIFE_US = 300 * US_PER_S
CHALLENGES_MAX = 4_096
"""Open ones at a time; the oldest gives way. A storm of 10,000 nodes is answered in a third of their results' life."""
NONCE_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A challenge that waits for its answer."""

    node: NodeId
    public_key: bytes
    nonce: bytes
    secret: bytes
    platform: Platform | None
    expires_us: WallTime


class Attesting:
    """Challenges nodes and keeps what their evidence shows."""

    def __init__(self, ports: ControlPorts, config: ControlConfig, state: FabricState) -> None:
        self._ports = ports
        self._config = config
        self._state = state
        self._open: dict[str, _Open] = {}

    def challenge(self, asked: ChallengeRequest) -> Challenge:
        """Make a challenge for one node. Raises EvidenceRefused where its TPM leads to no anchor."""
        entropy, now = self._ports.entropy, self._ports.clock.wall()
        platform, secret, sealed = None, b"", (b"", b"")
        if asked.identity:
            platform = read_platform(read_identity(asked.identity), self._appraiser().anchors_for("tpm"), now)
            secret = entropy.secret(SECRET_BYTES)
            sealed = make_credential(platform.ek, platform.ak.name, secret, entropy.secret(ENTROPY_BYTES))
        name, nonce = entropy.secret(16).hex(), entropy.secret(NONCE_BYTES)
        expires = WallTime(now + CHALLENGE_LIFE_US)
        if len(self._open) >= CHALLENGES_MAX:
            del self._open[next(iter(self._open))]
        self._open[name] = _Open(
            node=asked.node, public_key=asked.public_key, nonce=nonce, secret=secret, platform=platform,
            expires_us=expires,
        )  # fmt: skip
        return Challenge(id=name, nonce=nonce, credential=sealed[0], seed=sealed[1], expires_us=expires)

    def appraise(self, node: NodeId, public_key: bytes, svid_key: bytes, given: GivenEvidence) -> Attested:
        """Appraise evidence for one node and its keys. Raises EvidenceRefused."""
        now = self._ports.clock.wall()
        asked = self._open.pop(given.challenge, None)
        if asked is None or asked.expires_us <= now or (asked.node, asked.public_key) != (node, public_key):
            raise EvidenceRefused(
                "this controller has no such challenge open for this node",
                code="attest.unknown_challenge",
                hint="challenges are good once and for five minutes: ask for another one",
                retry=True,
            )
        expected = binding(asked.nonce, asked.secret, node, public_key, svid_key)
        found = appraise(given.body, expected, self._appraiser(), now, platform=asked.platform)
        if found.kind != given.kind:
            raise EvidenceRefused(f"the evidence is of kind {found.kind}, not {given.kind}", code="attest.malformed")
        return continued(found, self._state.attested().get(node))

    async def keep(self, node: NodeId, attested: Attested) -> bytes:
        """Write what was found, durable when it returns; returns the sealed record. Raises ConflictError."""
        sealed = envelope.seal(Attestation(node=node, attested=attested), self._ports.signer)
        await self._write(ATTESTED, node, sealed)
        return sealed

    async def answer(self, message: BusMessage) -> bytes | None:
        """Answer an enrolled node on the bus; None where it gets none (unknown, revoked, forged)."""
        _, _, _, name, what = message.subject.split(".")
        node = NodeId(name)
        try:
            keys = self._state.node_key(node)
            if what == "challenge":
                asked = envelope.open_sealed(message.data, ChallengeRequest, keys).message
                if asked.node != node or asked.public_key not in keys.values():
                    return None
                return envelope.seal(await self._challenge_or_fail(asked), self._ports.signer)
            request = envelope.open_sealed(message.data, AttestRequest, keys).message
            return None if request.node != node else await self._attest(request, next(iter(keys.values())))
        except HanseError as error:
            log.warning("attestation.unanswered", node=node, code=error.code, reason=error.message)
            return None

    async def put(self, key: str, record: AppraisalRecord) -> None:
        """Keep an anchor or a reference, and judge by it at once what nodes have shown."""
        await self._write(APPRAISAL, key, envelope.seal(record, self._ports.signer))
        await self.reconsider()

    async def reconsider(self) -> None:
        """Hold what stands against the references as they are now; nodes need not attest again for that."""
        now, by = self._ports.clock.wall(), self._appraiser()
        for node, last in sorted(self._state.attested().items()):
            fresh = reconsider(last, by, now)
            if substance(fresh) != substance(last):
                await self.keep(node, fresh)

    async def _challenge_or_fail(self, asked: ChallengeRequest) -> Challenge:
        try:
            return self.challenge(asked)
        except EvidenceRefused as error:
            await self._fail(asked.node, "tpm", error)
            raise

    async def _attest(self, request: AttestRequest, public_key: bytes) -> bytes:
        given = request.evidence
        try:
            found = self.appraise(request.node, public_key, request.svid_key, given)
        except EvidenceRefused as error:
            if error.retry:
                raise
            return await self._fail(request.node, given.kind, error)
        log.info("node.attested", node=request.node, kind=found.kind, status=found.status.value, reason=found.reason)
        return await self.keep(request.node, found)

    async def _fail(self, node: NodeId, kind: str, error: EvidenceRefused) -> bytes:
        log.warning("evidence.refused", node=node, kind=kind, code=error.code, reason=error.message)
        last = self._state.attested().get(node)
        origin = Origin.HARDWARE if last is None else last.origin
        return await self.keep(
            node, failed(kind, origin, error, self._appraiser(), self._ports.clock.wall(), last=last)
        )

    def _appraiser(self) -> Appraiser:
        return self._state.appraiser(self._config.attestation_life_us)

    async def _write(self, bucket: str, key: str, value: bytes) -> None:
        await write(self._ports.store, self._state, bucket, key, value)
