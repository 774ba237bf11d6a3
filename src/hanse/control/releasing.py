"""Releasing secrets to nodes: decided on fresh facts, stated in the ledger, then sealed to the node that asked.

`SecretsRequest -> read verdicts -> ledger -> Secrets`. A node gets the secrets of the work that is ordered there now,
and nothing else; a revoked node is not even answered. Values are in the clear only between opening with the domain's
key and sealing to the node's, in memory. Nothing is kept between requests, so a controller that starts anew, or is
asked twice, answers alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import structlog

from hanse.control.journal import Journal
from hanse.control.pipeline import Pipeline
from hanse.control.state import FabricState
from hanse.control.writing import write
from hanse.core.errors import HanseError
from hanse.core.ids import Digest, NodeId, SecretId, WorkloadId
from hanse.core.ports import BusMessage, ControlPorts
from hanse.core.secret import Secret
from hanse.core.snapshot import Snapshot
from hanse.core.time import WallTime
from hanse.identity.enrol import Authority
from hanse.identity.sealing import check_binding, info_for_domain, info_for_node, seal_to
from hanse.ledger.predicates import SecretRead
from hanse.policy import ReadVerdict, may_read
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order
from hanse.wire.secret_messages import (
    RefusedSecret,
    ReleasedSecret,
    ReleaseRecord,
    Secrets,
    SecretsRequest,
    SecretValue,
)
from hanse.wire.subjects import RELEASES

log = structlog.get_logger("control")

NOT_ORDERED = "secret.not_ordered"
DENIED = "secret.denied"
NO_VALUE = "secret.no_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One secret that one workload on the node needs, as it stands."""

    order: Order
    secret: SecretId
    spec: Secret
    value: SecretValue
    verdict: ReadVerdict

    @property
    def version(self) -> int:
        return self.value.versions[-1].version


class Releasing:
    """What the leader says to nodes that ask for secrets."""

    def __init__(
        self, ports: ControlPorts, state: FabricState, pipeline: Pipeline, journal: Journal, authority: Authority
    ) -> None:
        self._ports = ports
        self._state = state
        self._pipeline = pipeline
        self._journal = journal
        self._authority = authority

    async def answer(self, message: BusMessage) -> bytes | None:
        """Answer a node on the bus; None where it gets no answer (unknown, revoked, forged)."""
        node = NodeId(message.subject.split(".")[3])
        try:
            asked = envelope.open_sealed(message.data, SecretsRequest, self._state.node_key(node)).message
            if asked.node != node:
                return None
            now = self._ports.clock.wall()
            check_binding(
                asked.certificate_chain_pem,
                self._authority.bundle_pem,
                asked.binding,
                asked.sealing_key,
                domain=self._authority.domain,
                node=node,
                now=now,
            )
            secrets = await self._release(asked, canonical.digest_bytes(message.data), now)
            return envelope.seal(secrets, self._ports.signer)
        except HanseError as error:
            log.warning("secrets.unanswered", node=node, code=error.code, reason=error.message)
            return None

    async def _release(self, asked: SecretsRequest, request: Digest, now: WallTime) -> Secrets:
        at = self._pipeline.snapshot()
        needed: list[_Asked] = []
        refused: list[RefusedSecret] = []
        for workload in sorted(set(asked.workloads)):
            order = _order_of(self._state, asked.node, workload, now)
            if order is None:
                reason = f"{workload} is not ordered on {asked.node}"
                refused.append(RefusedSecret(workload=workload, secret=SecretId(""), code=NOT_ORDERED, reason=reason))
                continue
            for one in self._judged(order, at):
                if isinstance(one, RefusedSecret):
                    refused.append(one)
                else:
                    needed.append(one)
        granted = [one for one in needed if one.verdict.is_allowed]
        denied = [_denied(one) for one in needed if not one.verdict.is_allowed]
        news = [one for one in needed if one.verdict.is_allowed or self._is_news(one)]
        # First what a node may know from now on, then the decision, then the value: a crash in between tells too much
        # about what was sent, never too little.
        for one in news:
            await self._keep(asked.node, one, now)
        await self._journal.record_reads([_entry(one, asked, now) for one in news])
        return Secrets(
            node=asked.node,
            request=request,
            released=tuple(self._sealed(one, asked, now) for one in granted),
            refused=(*refused, *denied),
        )

    def _judged(self, order: Order, at: Snapshot) -> Iterator[_Asked | RefusedSecret]:
        """Each secret of an ordered workload: what policy says now, or why there is nothing to ask."""
        workload, specs, values = order.workload, self._state.secrets(), self._state.secret_values()
        packs, guardrails = self._pipeline.rules(at)
        node = at.fabric.nodes.get(order.node)
        for secret in sorted(set(workload.secrets.values())):
            spec, value = specs.get(secret), values.get(secret)
            if spec is None or value is None or node is None:
                reason = f"no secret {secret} is declared" if spec is None else f"{secret} has no value yet"
                yield RefusedSecret(workload=workload.id, secret=secret, code=NO_VALUE, reason=reason)
                continue
            verdict = may_read(
                spec,
                workload,
                node,
                at.fabric.sites[node.site],
                at.fabric.operators[node.operator],
                packs,
                at.at_us,
                operators=at.fabric.operators,
                guardrails=guardrails,
            )
            yield _Asked(order=order, secret=secret, spec=spec, value=value, verdict=verdict)

    def _sealed(self, one: _Asked, asked: SecretsRequest, now: WallTime) -> ReleasedSecret:
        domain, until = self._authority.domain, _until(one, now)
        value = self._authority.sealing.open(one.value.sealed, info_for_domain(domain, one.secret, one.version))
        info = info_for_node(domain, asked.node, one.secret, one.version, until)
        return ReleasedSecret(
            workload=one.order.workload.id,
            secret=one.secret,
            version=one.version,
            sealed=seal_to(asked.sealing_key, value, info),
            until_us=until,
        )

    def _is_news(self, one: _Asked) -> bool:
        """Whether a refusal is another than the one that was stated last: nodes ask again and again."""
        known = self._known(one.order.node, one.secret)
        return known is None or known.refused != _refusal(one)

    def _known(self, node: NodeId, secret: SecretId) -> ReleaseRecord | None:
        return self._state.messages(RELEASES, ReleaseRecord).get(f"{node}.{secret}")

    async def _keep(self, node: NodeId, one: _Asked, now: WallTime) -> None:
        """Remember what a node was told of a secret; written only where it changes."""
        known = self._known(node, one.secret) or ReleaseRecord(node=node, secret=one.secret, last_us=now)
        fresh = msgspec.structs.replace(known, refused=_refusal(one))
        if one.verdict.is_allowed:
            fresh = msgspec.structs.replace(
                known,
                versions=tuple(sorted({*known.versions, one.version})),
                workloads=tuple(sorted({*known.workloads, one.order.workload.id})),
                refused="",
            )
        if fresh == known and known.versions:
            return
        key = f"{node}.{one.secret}"
        sealed = envelope.seal(msgspec.structs.replace(fresh, last_us=now), self._ports.signer)
        await write(self._ports.store, self._state, RELEASES, key, sealed)


def _order_of(state: FabricState, node: NodeId, workload: WorkloadId, now: WallTime) -> Order | None:
    """The newest order that wants a workload on a node now."""
    standing = [
        order
        for order in state.orders().values()
        if order.node == node and order.workload.id == workload and order.wanted and order.expires_us > now
    ]
    return max(standing, key=lambda order: (order.workload.generation, order.generation, order.instance), default=None)


def _until(one: _Asked, now: WallTime) -> WallTime:
    return WallTime(now + one.spec.lease_us)


def _reason(one: _Asked) -> str:
    return "; ".join(f"{reason.message} [{reason.rule}]" for reason in one.verdict.reasons)


def _refusal(one: _Asked) -> str:
    """What tells one refusal from another: the version, the rules, the work; not the moment."""
    return canonical.digest_of([one.version, one.order.workload.id, _reason(one)])


def _denied(one: _Asked) -> RefusedSecret:
    return RefusedSecret(workload=one.order.workload.id, secret=one.secret, code=DENIED, reason=_reason(one))


def _entry(one: _Asked, asked: SecretsRequest, now: WallTime) -> SecretRead:
    is_released = one.verdict.is_allowed
    return SecretRead(
        secret=one.secret,
        version=one.version,
        workload=one.order.workload.id,
        node=asked.node,
        is_released=is_released,
        rules=tuple(reason.rule for reason in one.verdict.reasons),
        reason="" if is_released else _reason(one),
        spec=canonical.digest_of(one.spec),
        workload_spec=canonical.digest_of(one.order.workload),
        facts=one.verdict.facts,
        policies=one.verdict.policies,
        order=one.order.instance,
        sealing_key=canonical.digest_bytes(asked.sealing_key),
        at_us=now,
        until_us=_until(one, now) if is_released else now,
    )
