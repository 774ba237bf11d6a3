"""The node's side of attestation: answer challenges, again and again. `challenge -> evidence -> Attestation`.

It attests when the agent starts, so after every reboot, then at an interval of a third of what a result lasts. What
the verifier makes of it is kept for those who look at this node; nothing here decides by it.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import structlog

from hanse.attest import NO_EVIDENCE, binding
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.core.ports import Attestor, NodePorts
from hanse.core.time import WallTime
from hanse.node.config import NodeConfig
from hanse.node.svid import SvidKeeper
from hanse.wire import envelope
from hanse.wire.subjects import ask
from hanse.wire.trust_messages import Attestation, AttestRequest, Challenge, ChallengeRequest, GivenEvidence

log = structlog.get_logger("node")

_Answer = TypeVar("_Answer", Challenge, Attestation)


async def give_evidence(
    attestor: Attestor, challenge: Challenge, node: NodeId, public_key: bytes, svid_key: bytes
) -> GivenEvidence:
    """Answer one challenge for this node and its keys. Raises AttestorError."""
    secret = await attestor.activate(challenge.credential, challenge.seed) if challenge.credential else b""
    kind, body = await attestor.evidence(binding(challenge.nonce, secret, node, public_key, svid_key))
    return GivenEvidence(challenge=challenge.id, kind=kind, body=body)


class AttestationKeeper:
    """Keeps the domain's picture of this node's platform fresh."""

    def __init__(self, ports: NodePorts, config: NodeConfig, svid: SvidKeeper) -> None:
        self._ports = ports
        self._config = config
        self._svid = svid
        self.last: Attestation | None = None
        """What the verifier said last; None before the first answer."""

    async def run(self) -> None:
        """Attest until cancelled; ends at once on a platform that has nothing to say."""
        if self._ports.attestor.kind == NO_EVIDENCE:
            return
        while True:
            wait_us = self._config.attest_us
            try:
                self.last = await self._attest()
                found = self.last.attested
                log.info("node.attested", kind=found.kind, status=found.status.value, reason=found.reason)
            except HanseError as error:
                log.info("attestation.postponed", code=error.code, reason=error.message)
                wait_us = min(wait_us, self._config.retry_us_max)
            await asyncio.sleep(wait_us / 1e6)

    async def _attest(self) -> Attestation:
        me, signer, attestor = self._config.node.id, self._ports.signer, self._ports.attestor
        asked = ChallengeRequest(node=me, public_key=signer.public_key, identity=await attestor.identity())
        challenge = await self._ask("challenge", envelope.seal(asked, signer), Challenge)
        svid_key = self._svid.public_key
        request = AttestRequest(
            node=me,
            svid_key=svid_key,
            evidence=await give_evidence(attestor, challenge, me, signer.public_key, svid_key),
            at_us=WallTime(self._ports.clock.wall()),
        )
        return await self._ask("attest", envelope.seal(request, signer), Attestation)

    async def _ask(self, what: str, sealed: bytes, kind: type[_Answer]) -> _Answer:
        answer = await self._ports.bus.request(ask(self._config.node.id, what), sealed, self._config.attest_deadline_us)
        return envelope.open_sealed(answer, kind, self._config.controller_keys).message
