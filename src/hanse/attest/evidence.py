"""What travels: evidence with its endorsements, one struct per kind, and what binds it to a node.

`bytes of the wire -> TpmEvidence | IntelEvidence | SnpEvidence`. Endorsements (certificates, collateral) come with the
evidence, from whoever fetched them; they are believed because they lead to an anchor of the domain, not because of who
brought them (RFC 9334 section 8, passport and background-check alike).
"""

from __future__ import annotations

import hashlib

import msgspec

from hanse.attest.errors import refused
from hanse.core.errors import WireError
from hanse.core.ids import NodeId
from hanse.wire import canonical

MAX_EVIDENCE_BYTES = 524_288
"""Half of what one message of the bus may hold: a firmware's event log takes 64 to 128 KiB."""
NO_EVIDENCE = "none"
KINDS = ("tpm", "tdx", "sgx", "snp")


class PcrValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One platform configuration register: TPM_ALG_ID of its bank, index, value."""

    bank: int
    index: int
    value: bytes


class TpmIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tpm-identity.v1", kw_only=True):
    """Which TPM, and with which key it will sign: sent before the challenge, which is sealed to it."""

    ek_certificate: bytes
    """DER of the endorsement key's certificate."""
    ek_issuers: tuple[bytes, ...]
    """DER, from the certificate's issuer to the maker's root."""
    ak_public: bytes
    """TPMT_PUBLIC of the attestation key."""


class TpmEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tpm.v1", kw_only=True):
    """A TPM 2.0 quote (TCG TPM 2.0 Library part 3, TPM2_Quote)."""

    attest: bytes
    """TPMS_ATTEST."""
    signature: bytes
    """TPMT_SIGNATURE."""
    pcrs: tuple[PcrValue, ...]
    """In the order of the quote's selection."""
    event_log: bytes = b""
    """TCG PC Client crypto-agile event log, header first; empty where nothing was logged."""


class IntelEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="intel.v1", kw_only=True):
    """A TDX or SGX quote with its DCAP collateral."""

    quote: bytes
    collateral: str
    """JSON of Intel's PCS answers: TCB info, QE identity, CRLs and their chains."""
    event_log: bytes = b""
    """CC event log (CCEL) of a TDX guest."""


class SnpEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="snp.v1", kw_only=True):
    """An SEV-SNP attestation report with the certificate of the key that signed it."""

    report: bytes
    certificate: bytes
    """DER of the VCEK or VLEK."""
    issuers: tuple[bytes, ...]
    """DER: ASK (or ASVK), then ARK."""
    crls: tuple[bytes, ...] = ()
    """DER of AMD's revocation lists."""


Evidence = TpmEvidence | IntelEvidence | SnpEvidence


def read_evidence(body: bytes) -> Evidence:
    """Read evidence of any kind. Raises EvidenceRefused ``attest.malformed`` or ``attest.too_large``."""
    if len(body) > MAX_EVIDENCE_BYTES:
        raise refused("too_large", f"evidence takes {len(body)} bytes, over the limit of {MAX_EVIDENCE_BYTES}")
    try:
        found: Evidence = msgspec.json.decode(body, type=Evidence)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise refused("malformed", f"not evidence: {error}") from error
    return found


def read_identity(body: bytes) -> TpmIdentity:
    """Read which TPM a node has. Raises EvidenceRefused."""
    if len(body) > MAX_EVIDENCE_BYTES:
        raise refused("too_large", f"an identity takes {len(body)} bytes, over the limit of {MAX_EVIDENCE_BYTES}")
    try:
        return canonical.decode(body, TpmIdentity)
    except WireError as error:
        raise refused("malformed", error.message) from error


def binding(nonce: bytes, secret: bytes, node: NodeId, node_key: bytes, svid_key: bytes) -> bytes:
    """What evidence must carry to count for this node, now: 64 bytes (``report_data``); a TPM takes the first 32.

    `secret` is what only the TPM could unseal (empty for a TEE, whose quote names its own platform), `node_key` the raw
    receipt key, `svid_key` the SubjectPublicKeyInfo of the SVID. So evidence of another node, for another key, or for
    an earlier challenge is worth nothing.
    """
    label = "hanse attestation binding v1"
    return hashlib.sha512(canonical.encode((label, nonce, secret, node, node_key, svid_key))).digest()
