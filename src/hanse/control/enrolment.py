"""Who may take part: join tokens, enrolment of nodes, renewal of their SVIDs.

`token + CSR + keys -> NodeRecord + JoinResponse`. A node is enrolled before it is answered, so a lost answer is asked
for again with the same keys and the same token.
"""

from __future__ import annotations

import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hanse.attest import EvidenceRefused
from hanse.control.attesting import Attesting
from hanse.control.config import ControlConfig
from hanse.control.state import FabricState
from hanse.control.writing import write
from hanse.core.errors import HanseError
from hanse.core.fabric import Attested, Grade, Tier, Trust
from hanse.core.ids import NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.ports import BusMessage, ControlPorts, Entry
from hanse.identity import (
    Admitted,
    JoinToken,
    check_join,
    mint_token,
    node_id,
    serial_from_secret,
    workload_spiffe_id,
)
from hanse.identity.authority import requested_key
from hanse.identity.enrol import Authority, answer_join, renew_svid
from hanse.identity.join import TOKEN_SECRET_BYTES, hash_token
from hanse.wire import envelope
from hanse.wire.messages import NodeRecord
from hanse.wire.subjects import NODES, TOKENS
from hanse.wire.trust_messages import (
    Challenge,
    ChallengeRequest,
    JoinRequest,
    JoinResponse,
    RenewRequest,
    WorkloadSvidRequest,
)

log = structlog.get_logger("control")


class JoinRefused(HanseError):
    """Raised when a node may not join; the code is one of ``join.*``."""

    code = "join.refused"


class Enrolment:
    """Admits nodes and renews them."""

    def __init__(
        self,
        ports: ControlPorts,
        config: ControlConfig,
        state: FabricState,
        authority: Authority,
        attesting: Attesting | None = None,
    ) -> None:
        self._attesting = Attesting(ports, config, state) if attesting is None else attesting
        self._ports = ports
        self._config = config
        self._state = state
        self._authority = authority

    def use(self, authority: Authority) -> None:
        """Issue by this authority from now on: another issuing certificate below the same root."""
        self._authority = authority

    @property
    def bundle_pem(self) -> bytes:
        """This domain's trust bundle."""
        return self._authority.bundle_pem

    async def mint(
        self,
        *,
        site: SiteId,
        operator: OperatorId,
        tier: Tier,
        grade: Grade = Grade.SIGNED,
        node: NodeId | None = None,
        require: tuple[str, ...] = (),
        service: str = "",
    ) -> tuple[str, JoinToken]:
        """Make a join token; only its hash is kept. `require`: kinds of evidence, one of which the node must bring."""
        text, token = mint_token(
            self._ports.entropy.secret(TOKEN_SECRET_BYTES),
            site=site,
            operator=operator,
            tier=tier,
            grade=grade,
            now=self._ports.clock.wall(),
            node=node,
            require=require,
            service=service,
        )
        await self._ports.store.put(TOKENS, token.token_hash, envelope.seal(token, self._ports.signer), 0)
        return text, token

    async def challenge(self, asked: ChallengeRequest) -> Challenge:
        """Challenge a node that is about to join: whoever holds a token may ask. Raises JoinRefused."""
        if not any(token.expires_us > self._ports.clock.wall() for _, token in await self._token(asked.token)):
            raise JoinRefused(
                "no such token, or it has expired",
                code="join.unknown_token",
                hint="ask for a new one with `hanse node token`",
            )
        try:
            return self._attesting.challenge(asked)
        except EvidenceRefused as error:
            raise JoinRefused(error.message, code=error.code, hint=error.hint) from error

    async def join(self, request: JoinRequest) -> JoinResponse:
        """Admit a node. Raises JoinRefused, or ConflictError if the same token is being used at this moment."""
        kept = await self._token(request.token)
        enrolled = {node: record.public_key for node, record in self._state.nodes().items()}
        answer = check_join(request, tuple(token for _, token in kept), enrolled, self._ports.clock.wall())
        if not isinstance(answer, Admitted):
            raise JoinRefused(answer.reason, code=answer.code, hint="ask for a new one with `hanse node token`")
        fabric = self._state.fabric()
        if request.node.site not in fabric.sites or request.node.operator not in fabric.operators:
            raise JoinRefused(
                f"site {request.node.site} or operator {request.node.operator} is not known to the domain",
                code="join.unknown_place",
                hint="deploy the Site and Operator manifests first",
            )
        known = self._state.nodes().get(request.node.id)
        if known is not None and known.is_revoked:
            raise JoinRefused(
                f"{request.node.id} was revoked; revocation is final",
                code="join.revoked",
                hint="join under another name, with keys of its own: remove the node's directory first",
            )
        attested = self._appraise(request)
        entry = next(e for e, token in kept if token.token_hash == answer.token.token_hash)
        await self._ports.store.put(TOKENS, entry.key, envelope.seal(answer.token, self._ports.signer), entry.revision)
        if attested is not None:
            await self._attesting.keep(request.node.id, attested)
        await self._enrol(request, attested)
        log.info("node.enrolled", node=request.node.id, site=request.node.site, operator=request.node.operator)
        return answer_join(
            self._authority,
            request,
            self._ports.clock.wall(),
            self._serial(),
            nats_urls=self._config.nats_urls,
            controller_keys=[self._state.trusted[key] for key in sorted(self._state.trusted)],
            site=fabric.sites[request.node.site],
            operator=fabric.operators[request.node.operator],
        )

    def _appraise(self, request: JoinRequest) -> Attested | None:
        """What the evidence of a joining node shows; a node that shows the wrong thing does not join."""
        if request.evidence is None:
            return None
        svid_key = requested_key(request.csr_pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        try:
            found = self._attesting.appraise(request.node.id, request.public_key, svid_key, request.evidence)
        except EvidenceRefused as error:
            raise JoinRefused(error.message, code=error.code, hint=error.hint, retry=error.retry) from error
        if found.status is Trust.CONTRAINDICATED:
            raise JoinRefused(
                found.reason or f"the evidence is {found.status.value}",
                code="join.contraindicated",
                hint="`hanse attest reference list` shows what the domain expects",
            )
        return found

    async def renew(self, message: BusMessage) -> bytes | None:
        """Answer a node's request for a new SVID; None where it may have none (unknown, revoked, forged)."""
        node = NodeId(message.subject.split(".")[3])
        try:
            asked = envelope.open_sealed(message.data, RenewRequest, self._state.node_key(node)).message
            if asked.node != node:
                return None
            svid = renew_svid(
                self._authority,
                node_id(self._config.domain, node),
                asked.csr_pem,
                self._ports.clock.wall(),
                self._serial(),
                lifetime_us=self._config.svid_lifetime_us,
            )
            return envelope.seal(svid, self._ports.signer)
        except HanseError as error:
            log.warning("svid.refused", node=node, code=error.code, reason=error.message)
            return None

    async def workload_svid(self, message: BusMessage) -> bytes | None:
        """Answer a node's request for a workload's SVID; None where it was not ordered to run it, or is revoked."""
        node = NodeId(message.subject.split(".")[3])
        try:
            asked = envelope.open_sealed(message.data, WorkloadSvidRequest, self._state.node_key(node)).message
            if asked.node != node or not self._runs(node, asked.workload):
                log.warning("workload_svid.refused", node=node, workload=asked.workload)
                return None
            namespace, _, name = asked.workload.partition(".")
            svid = renew_svid(
                self._authority,
                workload_spiffe_id(self._config.domain, namespace, name),
                asked.csr_pem,
                self._ports.clock.wall(),
                self._serial(),
                lifetime_us=self._config.svid_lifetime_us,
            )
            return envelope.seal(svid, self._ports.signer)
        except HanseError as error:
            log.warning("workload_svid.refused", node=node, code=error.code, reason=error.message)
            return None

    def _runs(self, node: NodeId, workload: WorkloadId) -> bool:
        now = self._ports.clock.wall()
        return any(
            order.node == node and order.workload.id == workload and order.wanted and order.expires_us > now
            for order in self._state.orders().values()
        )

    async def _token(self, text: str) -> tuple[tuple[Entry, JoinToken], ...]:
        """The kept token of this text, if there is one: its key is its hash, so no other is read."""
        entry = await self._ports.store.get(TOKENS, hash_token(text))
        if entry is None or entry.value is None:
            return ()
        return ((entry, envelope.open_sealed(entry.value, JoinToken, self._state.trusted).message),)

    async def _enrol(self, request: JoinRequest, attested: Attested | None) -> None:
        known = self._state.nodes().get(request.node.id)
        record = NodeRecord(
            node=request.node,
            public_key=request.public_key,
            enrolled_us=self._ports.clock.wall() if known is None else known.enrolled_us,
            spiffe_id=str(node_id(self._config.domain, request.node.id)),
            nats_public_key=request.nats_public_key,
            is_draining=known is not None and known.is_draining,
            evidence="" if attested is None else attested.label,
        )
        if known == record:
            return
        sealed = envelope.seal(record, self._ports.signer)
        await write(self._ports.store, self._state, NODES, request.node.id, sealed)

    def _serial(self) -> int:
        return serial_from_secret(self._ports.entropy.secret(16))
