"""SVIDs of the programs behind this node's services: `address that a program listens on -> its workload -> SVID`.

A node may ask for the SVID of what it was ordered to run, and for nothing else; the controller holds that against its
own orders. Keys are made here, stay in memory, and are renewed at half of their hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import structlog

from hanse.core.errors import HanseError, invariant
from hanse.core.ids import InstanceId, WorkloadId
from hanse.core.ports import NodePorts
from hanse.core.time import WallTime
from hanse.core.work import Kind
from hanse.identity import key_from_secret, make_csr, verify_svid, workload_spiffe_id
from hanse.identity.authority import SECRET_BYTES, key_pem
from hanse.identity.workload import WorkloadIdentity
from hanse.node.config import NodeConfig
from hanse.node.judge import Held
from hanse.wire import envelope
from hanse.wire.subjects import FEDERATION, ask
from hanse.wire.trust_messages import FederatedBundle, Svid, WorkloadSvidRequest

log = structlog.get_logger("node")

UNSPECIFIED = ("0.0.0.0", "[::]")  # noqa: S104 - what a program bound, not what this one does


class WorkloadSvids:
    """Owns the SVIDs of one node's services."""

    def __init__(self, ports: NodePorts, config: NodeConfig, held: Callable[[], Mapping[InstanceId, Held]]) -> None:
        self._ports = ports
        self._config = config
        self._held = held
        self._current: dict[WorkloadId, WorkloadIdentity] = {}
        self._asking = asyncio.Lock()
        self._federated: dict[str, FederatedBundle] = {}

    def behind(self, listening: Collection[str]) -> tuple[WorkloadId, ...]:
        """Services under a valid order here whose upstream is one of these addresses (`ip:port`), in order."""
        now = self._ports.clock.wall()
        found = {
            held.order.workload.id
            for held in self._held().values()
            if held.order.wanted
            and held.order.expires_us > now
            and held.order.workload.kind is Kind.SERVICE
            and _listens(held.order.workload.upstream, listening)
        }
        for workload in self._current.keys() - found:
            if not any(held.order.wanted and held.order.workload.id == workload for held in self._held().values()):
                del self._current[workload]
        return tuple(sorted(found))

    async def watch_federated(self) -> None:
        """Follow what the domain believes of others, until cancelled."""
        async for entry in self._ports.store.watch(FEDERATION):
            if entry is None:
                continue
            if entry.value is None:
                self._federated.pop(entry.key, None)
                continue
            try:
                record = envelope.open_sealed(entry.value, FederatedBundle, self._config.controller_keys).message
            except HanseError as error:
                log.warning("federated.refused", domain=entry.key, code=error.code, reason=error.message)
                continue
            if record.domain == entry.key:
                self._federated[entry.key] = record

    def due_in_us(self, workload: WorkloadId) -> int:
        """Microseconds until the SVID is due for renewal; 0 or less if it is, or if there is none."""
        current = self._current.get(workload)
        if current is None:
            return 0
        return current.not_after_us - self._config.svid_lifetime_us // 2 - self._ports.clock.wall()

    async def get(self, workload: WorkloadId) -> WorkloadIdentity:
        """The SVID of a workload, renewed if it is due. One that cannot be renewed is given out until it ends.

        Raises BusError, SignatureError, WireError, IdentityError where there is none that holds.
        """
        async with self._asking:
            if self.due_in_us(workload) > 0:
                return self._with_federated(self._current[workload])
            try:
                self._current[workload] = await self._ask(workload)
            except Exception:
                current = self._current.get(workload)
                if current is None or current.not_after_us <= self._ports.clock.wall():
                    raise
            return self._with_federated(self._current[workload])

    def _with_federated(self, identity: WorkloadIdentity) -> WorkloadIdentity:
        now = self._ports.clock.wall()
        held = {name: one.authorities_pem for name, one in sorted(self._federated.items()) if one.until_us > now}
        return replace(identity, federated_pem=held)

    async def _ask(self, workload: WorkloadId) -> WorkloadIdentity:
        namespace, dot, name = workload.partition(".")
        invariant(bool(dot), "a workload's id has a namespace")
        key, now = key_from_secret(self._ports.entropy.secret(SECRET_BYTES)), WallTime(self._ports.clock.wall())
        request = WorkloadSvidRequest(node=self._config.node.id, workload=workload, csr_pem=make_csr(key), at_us=now)
        answer = await self._ports.bus.request(
            ask(self._config.node.id, "workload-svid"),
            envelope.seal(request, self._ports.signer),
            self._config.renew_deadline_us,
        )
        svid = envelope.open_sealed(answer, Svid, self._config.controller_keys).message
        wanted = workload_spiffe_id(self._config.domain, namespace, name)
        verify_svid(
            svid.certificate_chain_pem,
            svid.bundle_pem,
            self._ports.clock.wall(),
            domain=wanted.domain,
            path=wanted.path,
        )
        return WorkloadIdentity(
            spiffe_id=wanted,
            certificate_chain_pem=svid.certificate_chain_pem,
            private_key_pem=key_pem(key),
            bundle_pem=svid.bundle_pem,
            not_after_us=svid.not_after_us,
        )


def _listens(upstream: str, listening: Collection[str]) -> bool:
    place = upstream.removeprefix("https://")
    host, _, port = place.rpartition(":")
    # Whoever is called by a name may be anywhere: a program here that happens to have the port is not him.
    if not host.startswith("[") and not host.replace(".", "").isdigit():
        return False
    return place in listening or any(f"{address}:{port}" in listening for address in UNSPECIFIED)
