"""Certificates as credentials that the domain holds: `JWT, trusted issuers -> CredentialRecord -> facts of grade 2`.

The controller verifies with its own clock, writes the record down, and from then on the operator's facts name the
certificate among those verified, until the day its credential ends. Who may be believed about what comes with the
credential, from the domain's own list: whoever may write an operator's manifest may add to that list, too. What is
removed stays as a mark, so that the ledger can say when and running work is screened again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hanse.control.controller import Controller
from hanse.control.service import FabricService, NotFound
from hanse.control.state import certificate_of
from hanse.control.writing import write
from hanse.core.ids import OperatorId
from hanse.core.ports import ControlPorts
from hanse.core.time import WallTime
from hanse.identity.credential import TrustedIssuer, verify_credential
from hanse.wire import envelope
from hanse.wire.subjects import CREDENTIALS
from hanse.wire.trust_messages import CredentialRecord

ID_HEX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialView:
    """One credential that the domain holds."""

    id: str
    operator: str
    certificate: str
    fact: str
    """As the operator's facts say it."""
    issuer: str
    subject: str
    until_us: int
    is_valid: bool
    """Whether it still counts now."""
    added_us: int


class Certifying:
    """The verbs about credentials over one controller."""

    def __init__(self, controller: Controller, service: FabricService, ports: ControlPorts) -> None:
        self._controller = controller
        self._service = service
        self._ports = ports

    def held(self) -> tuple[CredentialView, ...]:
        """Every credential that was added and not removed, ended ones too, by operator and certificate."""
        views = [self._view(record) for record in self._controller.state.credentials().values()]
        return tuple(sorted(views, key=lambda view: (view.operator, view.certificate, view.id)))

    async def add(
        self, operator: OperatorId, token: str, issuers: Sequence[TrustedIssuer], subject: str, *, user: str
    ) -> CredentialView:
        """Verify a credential about `subject`, and hold it against this operator.

        Raises NotFound for an operator that is not known, IdentityError ``credential.*`` where it does not hold.
        """
        if operator not in self._controller.state.stated_operators():
            raise NotFound(f"no operator {operator}", hint="see `hanse get operators`")
        now = WallTime(self._ports.clock.wall())
        found = verify_credential(token, issuers, subject, now)
        await self._service.note("certify", f"operator/{operator}.{found.name}", user=user)
        by = next(one for one in issuers if one.did == found.issuer)
        record = CredentialRecord(
            operator=operator, credential=token, certificate=found.name, issuer=found.issuer, subject=subject,
            valid_until_us=found.until_us, added_us=now,
            issuer_document="" if by.document is None else hashlib.sha256(by.document).hexdigest(),
        )  # fmt: skip
        await self._write(record)
        self._controller.poke(f"operator/{operator}.verified: {found.name} by {found.issuer}")
        return self._view(record)

    async def remove(self, operator: OperatorId, id_: str, *, user: str) -> None:
        """Hold a credential no longer: at once, whatever its end. Raises NotFound."""
        known = self._controller.state.credentials().get(f"{operator}.{id_}")
        if known is None:
            raise NotFound(f"no credential {id_} of {operator}", hint="see `hanse credential list`")
        await self._service.note("decertify", f"operator/{operator}.{known.certificate}", user=user)
        gone = msgspec.structs.replace(known, is_removed=True, added_us=WallTime(self._ports.clock.wall()))
        await self._write(gone)
        self._controller.poke(f"operator/{operator}.verified: {known.certificate} withdrawn")

    def _view(self, record: CredentialRecord) -> CredentialView:
        return CredentialView(
            id=_id(record), operator=record.operator, certificate=record.certificate, fact=certificate_of(record),
            issuer=record.issuer, subject=record.subject, until_us=record.valid_until_us,
            is_valid=record.valid_until_us > self._ports.clock.wall(), added_us=record.added_us,
        )  # fmt: skip

    async def _write(self, record: CredentialRecord) -> None:
        key, value = f"{record.operator}.{_id(record)}", envelope.seal(record, self._ports.signer)
        state = self._controller.state
        await write(self._ports.store, state, CREDENTIALS, key, value)


def _id(record: CredentialRecord) -> str:
    return hashlib.sha256(record.credential.encode()).hexdigest()[:ID_HEX]
