"""What the domain hands to a node: at joining everything it needs, at half life a fresh SVID.

`Authority + request + now + serial -> JoinResponse | Svid`. Whether a request is admitted is decided in `join`; whether
a renewal comes from the node it names is the caller's check of the envelope's signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hanse.core.fabric import Operator, Site
from hanse.core.time import WallTime
from hanse.identity.authority import SVID_LIFETIME_US, issue_svid
from hanse.identity.nats_jwt import Nkey, user_jwt
from hanse.identity.permissions import node_permissions
from hanse.identity.sealing import SealingKey
from hanse.identity.spiffe import SpiffeId, node_id
from hanse.identity.verify import expiry_of
from hanse.wire.messages import JoinRequest, JoinResponse, Svid


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The keys of one domain: its issuing authority, its nodes' substrate account, what its secrets are sealed to."""

    domain: str
    ca_key: ec.EllipticCurvePrivateKey = field(repr=False)
    ca_cert: x509.Certificate
    """The issuing authority below the root; the root itself in domains made by the first version."""
    account: Nkey
    sealing: SealingKey
    """Opens the secrets that were sealed to the domain."""
    root_cert: x509.Certificate | None = None
    """None: `ca_cert` is the root."""

    @property
    def bundle_pem(self) -> bytes:
        """The trust bundle: the root certificate."""
        return (self.root_cert or self.ca_cert).public_bytes(serialization.Encoding.PEM)


def renew_svid(
    authority: Authority,
    name: SpiffeId,
    csr_pem: bytes,
    now: WallTime,
    serial: int,
    *,
    lifetime_us: int = SVID_LIFETIME_US,
) -> Svid:
    """Issue an SVID of a node or a workload for the fresh key of `csr_pem`.

    Raises IdentityError ``identity.bad_request``.
    """
    chain = issue_svid(
        csr_pem,
        name,
        ca_key=authority.ca_key,
        ca_cert=authority.ca_cert,
        now=now,
        serial=serial,
        lifetime_us=lifetime_us,
    )
    return Svid(certificate_chain_pem=chain, bundle_pem=authority.bundle_pem, not_after_us=expiry_of(chain))


def answer_join(
    authority: Authority,
    request: JoinRequest,
    now: WallTime,
    serial: int,
    *,
    nats_urls: Sequence[str],
    controller_keys: Sequence[bytes],
    site: Site,
    operator: Operator,
) -> JoinResponse:
    """Make what an admitted node needs. The substrate credential has no end: it is ended by revocation.

    A node that was cut off longer than any credential lasts must still find its way back. Raises IdentityError
    ``identity.bad_request`` or ``identity.bad_nkey``.
    """
    node = request.node.id
    return JoinResponse(
        svid=renew_svid(authority, node_id(authority.domain, node), request.csr_pem, now, serial),
        nats_jwt=user_jwt(authority.account, request.nats_public_key, node, now, permissions=node_permissions(node)),
        nats_urls=tuple(nats_urls),
        controller_keys=tuple(controller_keys),
        domain=authority.domain,
        has_own_account=True,
        site=site,
        operator=operator,
    )
