"""What users may say and ask about attestation: anchors, reference values, results. `verbs over one controller`.

A change is written like every user's act (an entry before it is done) and judged by at once: what a node has shown is
held against the new values without asking it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hanse.attest import Anchor, AppraisalRecord, Reference, certificates, reference_from
from hanse.attest.reference import AMD_ARKS, MAX_CLAIMS
from hanse.control.controller import Controller
from hanse.control.service import FabricService, NotFound
from hanse.core.errors import HanseError
from hanse.core.fabric import Attested, Origin
from hanse.core.ids import NodeId, is_label
from hanse.core.ports import ControlPorts
from hanse.core.time import WallTime


class AppraisalRefused(HanseError):
    """Raised when an anchor or a reference value cannot be kept as given."""

    code = "appraisal.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedView:
    """What the verifier last found out about one node."""

    node: str
    joined_with: str
    """What it brought when it joined; empty if nothing."""
    attested: Attested | None
    has_ended: bool
    """Whether it no longer counts: the node has not attested again in time."""


class Appraising:
    """The verbs."""

    def __init__(self, controller: Controller, service: FabricService, ports: ControlPorts) -> None:
        self._controller = controller
        self._service = service
        self._ports = ports

    def references(self) -> tuple[Reference, ...]:
        """Reference values, by name."""
        return tuple(self._controller.state.references().values())

    def anchors(self) -> tuple[Anchor, ...]:
        """Anchors: those built in, then those of the domain, by name."""
        return (*AMD_ARKS, *self._controller.state.anchors().values())

    def attested(self) -> tuple[AttestedView, ...]:
        """Every enrolled node, attested or not."""
        found, now = self._controller.state.attested(), self._ports.clock.wall()
        return tuple(
            AttestedView(
                node=node,
                joined_with=record.evidence,
                attested=found.get(node),
                has_ended=node in found and found[node].until_us <= now,
            )
            for node, record in self._controller.state.nodes().items()
        )

    async def add_reference(
        self, name: str, *, kind: str, claims: Mapping[str, str], floors: Mapping[str, int], user: str
    ) -> Reference:
        """Keep a reference value, in place of one of the same name. Raises AppraisalRefused."""
        if not claims and not floors:
            raise AppraisalRefused("a reference without claims and floors would match everything")
        if len(claims) + len(floors) > MAX_CLAIMS:
            raise AppraisalRefused(f"a reference has at most {MAX_CLAIMS} claims and floors")
        reference = Reference(name=name, kind=kind, claims=dict(sorted(claims.items())), floors=dict(floors))
        await self._keep(f"reference.{name}", AppraisalRecord(reference=reference, changed_us=self._now()), user=user)
        return reference

    async def add_reference_from(self, name: str, node: NodeId, *, user: str) -> Reference:
        """Take what a node shows now as a reference value. Raises NotFound, AppraisalRefused."""
        found = self._controller.state.attested().get(node)
        if found is None or found.code or found.until_us <= self._now():
            raise NotFound(f"nothing is attested of {node} now", hint="see `hanse attest show`")
        taken = reference_from(name, found.kind, found.claims)
        return await self.add_reference(name, kind=taken.kind, claims=taken.claims, floors={}, user=user)

    async def add_anchor(self, name: str, *, kind: str, certificate_pem: str, origin: Origin, user: str) -> Anchor:
        """Believe a maker's root from now on. Raises AppraisalRefused, EvidenceRefused where it is no root."""
        root = certificates.load_chain(certificate_pem.encode(), "the root")
        if len(root) != 1:
            raise AppraisalRefused("an anchor is one certificate: the root")
        anchor = Anchor(name=name, kind=kind, fingerprint=certificates.fingerprint(root[0]), origin=origin)
        await self._keep(f"anchor.{name}", AppraisalRecord(anchor=anchor, changed_us=self._now()), user=user)
        return anchor

    async def remove(self, what: str, name: str, *, user: str) -> None:
        """Withdraw a ``reference`` or an ``anchor``. Raises NotFound."""
        state = self._controller.state
        held = state.references().get(name) if what == "reference" else state.anchors().get(name)
        if held is None:
            raise NotFound(f"no {what} named {name}", hint=f"see `hanse attest {what} list`")
        record = AppraisalRecord(
            reference=held if isinstance(held, Reference) else None,
            anchor=held if isinstance(held, Anchor) else None,
            is_deleted=True,
            changed_us=self._now(),
        )
        await self._keep(f"{what}.{name}", record, user=user)

    async def _keep(self, key: str, record: AppraisalRecord, *, user: str) -> None:
        name = key.partition(".")[2]
        if not is_label(name):
            raise AppraisalRefused(f"{name[:80]!r} is no name: lower-case letters, digits and dashes")
        await self._service.note("withdraw" if record.is_deleted else "trust", key.replace(".", "/", 1), user=user)
        await self._controller.attesting.put(key, record)
        self._controller.poke(f"{key} changed")

    def _now(self) -> WallTime:
        return self._ports.clock.wall()
