"""The identity of a workload, as it is handed to a program: name, certificate chain, private key, trust bundle.

`SpiffeId + Svid + key -> WorkloadIdentity -> DER`. Who gets which is decided by the node and by the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hanse.core.time import WallTime
from hanse.identity.spiffe import SpiffeId


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadIdentity:
    """One X.509-SVID with its key. Kept in memory only, by whoever makes it."""

    spiffe_id: SpiffeId
    certificate_chain_pem: bytes
    private_key_pem: bytes = field(repr=False)
    bundle_pem: bytes
    not_after_us: WallTime
    federated_pem: Mapping[str, bytes] = field(default_factory=dict)
    """Trust bundles of other domains, by domain; never merged with the own one."""

    def chain_der(self) -> bytes:
        """The chain as concatenated DER, leaf first (SPIFFE Workload API, section 5.2.1)."""
        return der_of(self.certificate_chain_pem)

    def key_der(self) -> bytes:
        """The private key as unencrypted PKCS #8 DER."""
        key = serialization.load_pem_private_key(self.private_key_pem, None)
        return key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def der_of(pem: bytes) -> bytes:
    """Certificates as concatenated DER."""
    if not pem:
        return b""
    return b"".join(one.public_bytes(serialization.Encoding.DER) for one in x509.load_pem_x509_certificates(pem))
