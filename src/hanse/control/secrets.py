"""What users may say and ask about secrets: set a value, look at who was told it. `verbs over one controller`.

Values come sealed to the domain by the client and leave sealed to a node (`releasing`); no verb here shows one. Setting
a value is an act like any other: an entry before it is done, then by compare-and-swap on the version.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from hanse.control.controller import Controller
from hanse.control.service import FabricService, NotFound
from hanse.control.writing import write
from hanse.core.errors import BusError, ConflictError
from hanse.core.ids import NodeId, SecretId
from hanse.core.ports import ControlPorts
from hanse.core.secret import Secret
from hanse.core.time import WallTime
from hanse.identity.sealing import info_for_domain
from hanse.wire import canonical, envelope
from hanse.wire.secret_messages import ReleaseRecord, SecretsChanged, SecretValue, SecretVersion
from hanse.wire.subjects import SECRETS, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingView:
    """What a client needs to seal the next value of a secret."""

    domain: str
    public_key: str
    """X-Wing, 1,216 bytes, base64."""
    next_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One value that a secret had or has: that it was, and when it was set."""

    version: int
    set_us: WallTime


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderView:
    """A node that was told a secret."""

    node: NodeId
    versions: tuple[int, ...]
    workloads: tuple[str, ...]
    last_us: WallTime
    """When it was told something it had not been told before."""
    is_revoked: bool
    is_exposed: bool
    """Whether the value in force was sent to it and it is revoked: nobody can take that back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretView:
    """One secret, as people may see it: everything but its value."""

    id: SecretId
    about: str
    readers: tuple[str, ...]
    used_by: tuple[str, ...]
    lease_us: int
    version: int | None
    """None until a value was set."""
    set_us: WallTime | None
    versions: tuple[VersionView, ...]
    holders: tuple[HolderView, ...]
    advice: str
    """What ought to be done; empty where nothing."""


class SecretVerbs:
    """The verbs."""

    def __init__(self, controller: Controller, service: FabricService, ports: ControlPorts) -> None:
        self._controller = controller
        self._service = service
        self._ports = ports

    def views(self) -> tuple[SecretView, ...]:
        """Every declared secret, in id order."""
        return tuple(self._view(secret) for secret in self._controller.state.secrets().values())

    def view(self, secret: SecretId) -> SecretView:
        """One secret. Raises NotFound."""
        return self._view(self._declared(secret))

    def sealing(self, secret: SecretId) -> SealingView:
        """What the next value is to be sealed with. Raises NotFound."""
        self._declared(secret)
        authority, value = self._controller.authority, self._controller.state.secret_values().get(secret)
        return SealingView(
            domain=authority.domain,
            public_key=base64.b64encode(authority.sealing.public).decode(),
            next_version=1 if value is None else value.versions[-1].version + 1,
        )

    async def put(self, secret: SecretId, version: int, sealed: bytes, *, user: str) -> SecretView:
        """Take a value that was sealed for this secret and version; nodes that hold an older one are told to ask.

        Raises NotFound, ConflictError where the version is not the next one, SealingError where it cannot be opened.
        """
        if version != self.sealing(secret).next_version:
            raise ConflictError(f"version {version} of {secret} is not the next one", hint="somebody set it meanwhile")
        authority = self._controller.authority
        # Opened to make sure that it can be, and forgotten: a value that nobody can open would end the work.
        authority.sealing.open(sealed, info_for_domain(authority.domain, secret, version))
        await self._service.note("set", f"secret/{secret}/{version}", user=user)
        state = self._controller.state
        known = state.secret_values().get(secret)
        fresh = SecretVersion(version=version, set_us=self._ports.clock.wall(), sealed=canonical.digest_bytes(sealed))
        value = SecretValue(secret=secret, sealed=sealed, versions=(*(() if known is None else known.versions), fresh))
        record = envelope.seal(value, self._ports.signer)
        await write(self._ports.store, state, SECRETS, secret, record)
        await self.tell_nodes(secret)
        return self.view(secret)

    async def delete(self, secret: SecretId, *, user: str) -> None:
        """Withdraw a secret and erase its value. Raises NotFound, InUse while work names it."""
        self._declared(secret)
        await self._service.delete("secret", secret, user=user)
        await self._ports.store.delete(SECRETS, secret)
        await self.tell_nodes(secret)

    async def tell_nodes(self, secret: SecretId) -> None:
        """Have the nodes whose work reads a secret ask again. One that does not hear asks at half of its lease."""
        question = envelope.seal(SecretsChanged(at_us=self._ports.clock.wall()), self._ports.signer)
        state = self._controller.state
        told = {record.node for record in state.releases() if record.secret == secret}
        waiting = {order.node for order in state.orders().values() if secret in order.workload.secrets.values()}
        for node in sorted(told | waiting):
            try:
                await self._ports.bus.publish(tell(node, "secrets"), question)
            except BusError:
                return

    def _declared(self, secret: SecretId) -> Secret:
        found = self._controller.state.secrets().get(secret)
        if found is None:
            hint = "deploy a manifest of kind Secret first; `hanse secret list` shows what is declared"
            raise NotFound(f"no secret {secret}", hint=hint)
        return found

    def _view(self, secret: Secret) -> SecretView:
        state = self._controller.state
        value = state.secret_values().get(secret.id)
        versions = () if value is None else value.versions
        current = versions[-1] if versions else None
        holders = tuple(
            self._holder(record, current)
            for record in state.releases()
            if record.secret == secret.id and record.versions
        )
        return SecretView(
            id=secret.id,
            about=secret.about,
            readers=secret.readers,
            used_by=tuple(
                key for key, work in state.workloads(with_deleted=True).items() if secret.id in work.secrets.values()
            ),
            lease_us=secret.lease_us,
            version=None if current is None else current.version,
            set_us=None if current is None else current.set_us,
            versions=tuple(VersionView(version=one.version, set_us=one.set_us) for one in versions),
            holders=holders,
            advice=_advice(secret.id, current, holders),
        )

    def _holder(self, record: ReleaseRecord, current: SecretVersion | None) -> HolderView:
        known = self._controller.state.nodes().get(record.node)
        is_revoked = known is None or known.is_revoked
        return HolderView(
            node=record.node,
            versions=record.versions,
            workloads=record.workloads,
            last_us=record.last_us,
            is_revoked=is_revoked,
            is_exposed=is_revoked and current is not None and current.version in record.versions,
        )


def _advice(secret: SecretId, current: SecretVersion | None, holders: tuple[HolderView, ...]) -> str:
    if current is None:
        return f"it has no value: `hanse secret set {secret}`"
    exposed = [holder.node for holder in holders if holder.is_exposed]
    if exposed:
        whom = ", ".join(exposed)
        first = f"its value is exposed: {whom} was told it and is revoked"
        return f"{first}; change it where it is used, then `hanse secret rotate {secret}`"
    return ""
