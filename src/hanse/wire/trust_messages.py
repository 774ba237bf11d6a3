"""Messages about who is who: joining, SVIDs, evidence, credentials, other domains, revocation."""

from __future__ import annotations

import msgspec

from hanse.core.fabric import Attested, Node, Operator, Site
from hanse.core.ids import NodeId, OperatorId, WorkloadId
from hanse.core.time import WallTime


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node that no longer counts: the names it is known by everywhere. All of it is public."""

    node: NodeId
    spiffe_id: str
    nats_public_key: str
    since_us: WallTime


class Revocations(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="revocations.v1", kw_only=True):
    """Nodes whose identity no longer counts, in id order. `generation` grows with each change; older lists are void."""

    nodes: tuple[Revoked, ...]
    generation: int


class FederatedBundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="federated.v1", kw_only=True):
    """What is believed of another trust domain, and where its bundle is fetched."""

    domain: str
    url: str
    """Bundle endpoint; empty where the bundle is brought by hand."""
    profile: str
    """``https_spiffe`` or ``https_web``."""
    endpoint_id: str
    """SPIFFE ID of the endpoint, for ``https_spiffe``."""
    authorities_pem: bytes
    sequence: int
    refresh_hint_s: int
    fetched_us: WallTime
    until_us: WallTime
    """From then on it is not believed."""
    problem: str = ""


class RenewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="renew.v1", kw_only=True):
    """A node asks for a new SVID for a fresh key."""

    node: NodeId
    csr_pem: bytes
    at_us: WallTime


class WorkloadSvidRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="workload-svid-request.v1", kw_only=True
):
    """A node asks for the SVID of a workload that it was ordered to run."""

    node: NodeId
    workload: WorkloadId
    csr_pem: bytes
    at_us: WallTime


class Svid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="svid.v1", kw_only=True):
    """An issued X.509-SVID chain and the trust bundle."""

    certificate_chain_pem: bytes
    bundle_pem: bytes
    not_after_us: WallTime


class ChallengeRequest(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="challenge-request.v1", kw_only=True
):
    """A node asks for a challenge: before it joins with its token, later under its seal."""

    node: NodeId
    public_key: bytes
    """Raw Ed25519 key that it seals with, or will."""
    token: str = ""
    identity: bytes = b""
    """Which TPM will answer (`hanse.attest.TpmIdentity`); empty where evidence names its own platform."""


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="challenge.v1", kw_only=True):
    """What evidence must answer, once, until it ends."""

    id: str
    nonce: bytes
    credential: bytes = b""
    """TPM2B_ID_OBJECT, sealed to the TPM that was named: what it holds goes into the evidence's binding."""
    seed: bytes = b""
    """TPM2B_ENCRYPTED_SECRET."""
    expires_us: WallTime


class GivenEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Evidence in answer to one challenge."""

    challenge: str
    kind: str
    body: bytes


class AttestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="attest.v1", kw_only=True):
    """An enrolled node attests again."""

    node: NodeId
    svid_key: bytes
    """SubjectPublicKeyInfo of its SVID's key, to which the evidence is bound."""
    evidence: GivenEvidence
    at_us: WallTime


class Attestation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="attestation.v1", kw_only=True):
    """What the domain's verifier found out about one node, signed by the controller."""

    node: NodeId
    attested: Attested


class CredentialRecord(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="credential-record.v1", kw_only=True
):
    """A verified credential that the domain holds against one operator's name: a fact of grade 2 while it lasts."""

    operator: OperatorId
    credential: str
    """The JWT, so that anybody can verify it again."""
    certificate: str
    """What it certifies, as rules spell it, for example ``bsi-c5``."""
    issuer: str
    """DID of who issued it."""
    subject: str
    valid_until_us: WallTime
    issuer_document: str = ""
    """SHA-256 of the issuer's DID document it was verified by; empty for ``did:key``."""
    added_us: WallTime
    is_removed: bool = False
    """A level: kept so that the ledger can say that it went."""


class JoinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="join.v1", kw_only=True):
    """A new node presents a one-time token, its facts and its keys."""

    token: str
    node: Node
    csr_pem: bytes
    public_key: bytes
    nats_public_key: str
    evidence: GivenEvidence | None = None
    """Bound to the key of `csr_pem`."""


class JoinResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="joined.v1", kw_only=True):
    """What a node needs to take part: identity, credentials for the substrate, keys to trust."""

    svid: Svid
    nats_jwt: str
    nats_urls: tuple[str, ...]
    controller_keys: tuple[bytes, ...]
    """Raw Ed25519 keys whose orders count."""
    domain: str
    site: Site
    operator: Operator
    has_own_account: bool = False
    """Whether `nats_jwt` is of the nodes' account; nodes that joined before there was one join again."""
