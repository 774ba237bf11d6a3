"""Secrets on a node: asked for, held in memory, forgotten when their lease ends. `Workload -> environment | Outcome`.

Nothing here is ever written: neither the values nor the key that they are sealed to, which is made anew with each SVID
and vouched for by it. A node that starts again asks again; one that is cut off keeps what it holds until the lease
ends, then stops the work that lives on it. Whether work here may have a secret is the controller's decision at each
asking: a refusal takes back what an earlier answer gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import SecretId, WorkloadId
from hanse.core.ports import NodePorts
from hanse.core.snapshot import Phase
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.identity import SealingKey, sealing_key
from hanse.identity.sealing import SEALING_SECRET_BYTES, info_for_node
from hanse.node.config import NodeConfig
from hanse.node.svid import SvidKeeper
from hanse.wire import canonical, envelope
from hanse.wire.messages import RefusedSecret, Secrets, SecretsRequest
from hanse.wire.subjects import ask

log = structlog.get_logger("node")

DENIED = "secret.denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one instance."""

    phase: Phase
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a workload is told: never printed."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    marks: tuple[str, ...] = ()
    """Which secret in which version, in order: what may be compared and logged."""


NOTHING = Told()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leased:
    """One value, and how long it may be used (wall time)."""

    version: int
    value: bytes = field(repr=False)
    from_us: WallTime
    until_us: WallTime

    @property
    def due_us(self) -> int:
        """When to ask again: at half of the lease."""
        return (self.from_us + self.until_us) // 2


class SecretKeeper:
    """Holds the secrets of one node's work."""

    def __init__(self, ports: NodePorts, config: NodeConfig, svid: SvidKeeper) -> None:
        self._ports = ports
        self._config = config
        self._svid = svid
        self._held: dict[tuple[WorkloadId, SecretId], _Leased] = {}
        self._key: tuple[bytes, SealingKey] | None = None
        self._wake = asyncio.Event()
        self._is_told_to_ask = False

    async def of(self, workload: Workload) -> Told | Outcome:
        """The environment that carries a workload's secrets; asks for what is not held. An outcome says why not."""
        wanted = tuple(dict.fromkeys(workload.secrets.values()))
        if any(not self._is_held(workload.id, secret) for secret in wanted):
            try:
                refused = await self._ask([workload.id])
            except HanseError as error:
                reason = f"its secrets cannot be had now: {error.message}"
                return Outcome(phase=Phase.PENDING, code=error.code, reason=reason)
            if refused:
                # A denial is an answer, and the work goes elsewhere; for the rest it waits, here as well as there.
                phase = Phase.REFUSED if any(one.code == DENIED for one in refused) else Phase.PENDING
                said = "; ".join(f"{one.secret or one.workload}: {one.reason}" for one in refused)
                return Outcome(phase=phase, code=refused[0].code, reason=said)
        return self._told(workload, wanted)

    def forget(self, workload: WorkloadId) -> None:
        """Drop what was held for a workload that runs here no longer."""
        for key in [key for key in self._held if key[0] == workload]:
            del self._held[key]

    def forget_all(self) -> None:
        """Drop everything: this node was revoked."""
        self._held.clear()
        self._key = None

    def ask_again(self) -> None:
        """Have everything that is held asked for anew, soon: something changed."""
        self._is_told_to_ask = True
        self._wake.set()

    async def until_due(self) -> None:
        """Wait until something has to be asked for again."""
        while not self._is_told_to_ask and not self._due():
            self._wake.clear()
            await _at_most(self._wake, self._config.tick_us)

    async def renew(self) -> bool:
        """Ask again for all that is held. Returns whether anything may be different now.

        Where nobody answers, leases run on: a cut link takes nothing away before its time.
        """
        was_told, self._is_told_to_ask = self._is_told_to_ask, False
        before = {key: leased.version for key, leased in self._held.items()}
        if not before:
            return was_told
        try:
            await self._ask(sorted({workload for workload, _ in before}))
        except HanseError as error:
            log.info("secrets.renewal_postponed", code=error.code, reason=error.message)
            self._drop_ended()
            await asyncio.sleep(self._config.heartbeat_us / 1e6)
        return {key: leased.version for key, leased in self._held.items()} != before

    def _told(self, workload: Workload, wanted: Sequence[SecretId]) -> Told | Outcome:
        held = {secret: self._held[workload.id, secret] for secret in wanted}
        env: dict[str, str] = {}
        for name, secret in workload.secrets.items():
            try:
                env[name] = held[secret].value.decode()
            except UnicodeDecodeError:
                reason = f"{secret} is no text, and an environment carries text only: set it as base64"
                return Outcome(phase=Phase.FAILED, code="secret.not_text", reason=reason)
        return Told(env=env, marks=tuple(f"{secret}@{held[secret].version}" for secret in sorted(held)))

    def _is_held(self, workload: WorkloadId, secret: SecretId) -> bool:
        leased = self._held.get((workload, secret))
        return leased is not None and leased.until_us > self._ports.clock.wall()

    def _due(self) -> bool:
        now = self._ports.clock.wall()
        return any(leased.due_us <= now for leased in self._held.values())

    def _drop_ended(self) -> None:
        now = self._ports.clock.wall()
        for key in [key for key, leased in self._held.items() if leased.until_us <= now]:
            log.warning("secret.lease_ended", workload=key[0], secret=key[1])
            del self._held[key]

    async def _ask(self, workloads: Sequence[WorkloadId]) -> tuple[RefusedSecret, ...]:
        """Ask for all secrets of these workloads; what the answer does not give again is not held any more."""
        key = self._sealing_key()
        now = self._ports.clock.wall()
        request = envelope.seal(
            SecretsRequest(
                node=self._config.node.id,
                workloads=tuple(workloads),
                certificate_chain_pem=self._svid.chain_pem,
                sealing_key=key.public,
                binding=self._svid.bind(key.public),
                at_us=WallTime(now),
            ),
            self._ports.signer,
        )
        subject, deadline_us = ask(self._config.node.id, "secrets"), self._config.secrets_deadline_us
        answer = await self._ports.bus.request(subject, request, deadline_us)
        secrets = envelope.open_sealed(answer, Secrets, self._config.controller_keys).message
        if secrets.node != self._config.node.id or secrets.request != canonical.digest_bytes(request):
            raise HanseError("the answer is to another request", code="secret.wrong_answer", retry=True)
        fresh = {
            (one.workload, one.secret): _Leased(
                version=one.version,
                value=key.open(one.sealed, self._info(one.secret, one.version, one.until_us)),
                from_us=WallTime(now),
                until_us=one.until_us,
            )
            for one in secrets.released
        }
        for workload in workloads:
            self.forget(workload)
        self._held.update(fresh)
        for one in secrets.refused:
            log.warning("secret.refused", workload=one.workload, secret=one.secret, code=one.code, reason=one.reason)
        log.info("secrets.held", secrets=sorted({secret for _, secret in fresh}), workloads=list(workloads))
        return secrets.refused

    def _info(self, secret: SecretId, version: int, until_us: WallTime) -> bytes:
        return info_for_node(self._config.domain, self._config.node.id, secret, version, until_us)

    def _sealing_key(self) -> SealingKey:
        """The key of the present SVID: another SVID, another key."""
        of = self._svid.public_key
        if self._key is None or self._key[0] != of:
            self._key = of, sealing_key(self._ports.entropy.secret(SEALING_SECRET_BYTES))
        return self._key[1]


async def _at_most(event: asyncio.Event, at_most_us: int) -> None:
    try:
        async with asyncio.timeout(at_most_us / 1e6):
            await event.wait()
    except TimeoutError:
        return
