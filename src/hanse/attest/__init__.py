"""Remote attestation: verify what a node's hardware says about it (RATS, RFC 9334), purely.

`evidence + endorsements + reference values + now -> facts of grade 4`. TPM 2.0 quotes, Intel TDX and SGX, AMD SEV-SNP.
"""

from hanse.attest.appraise import Appraiser, appraise, continued, failed, reconsider, substance
from hanse.attest.errors import EvidenceRefused
from hanse.attest.evidence import (
    KINDS,
    NO_EVIDENCE,
    IntelEvidence,
    PcrValue,
    SnpEvidence,
    TpmEvidence,
    TpmIdentity,
    binding,
    read_identity,
)
from hanse.attest.reference import Anchor, AppraisalRecord, Reference, reference_from
from hanse.attest.tpm import Platform, read_platform
from hanse.attest.tpm_credential import make_credential

__all__ = [
    "KINDS",
    "NO_EVIDENCE",
    "Anchor",
    "AppraisalRecord",
    "Appraiser",
    "EvidenceRefused",
    "IntelEvidence",
    "PcrValue",
    "Platform",
    "Reference",
    "SnpEvidence",
    "TpmEvidence",
    "TpmIdentity",
    "appraise",
    "binding",
    "continued",
    "failed",
    "make_credential",
    "read_identity",
    "read_platform",
    "reconsider",
    "reference_from",
    "substance",
]
