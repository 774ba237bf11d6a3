"""Messages that carry secrets: sealed to the domain, released to one node."""

from __future__ import annotations

import msgspec

from hanse.core.ids import Digest, NodeId, SecretId, WorkloadId
from hanse.core.time import WallTime


class SecretVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value that a secret had or has."""

    version: int
    """1 for the first."""
    set_us: WallTime
    sealed: Digest
    """Of the sealed value: it is different each time, so it tells nothing about the value."""


class SecretValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secret-value.v1", kw_only=True):
    """The present value of one secret, sealed to the domain; of earlier ones only that they were."""

    secret: SecretId
    sealed: bytes
    """HPKE, under `hanse.identity.sealing.info_for_domain` of the last version."""
    versions: tuple[SecretVersion, ...]
    """Oldest first; the last one is in force."""


class SecretsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secrets-request.v1", kw_only=True):
    """A node asks for the secrets of work that is ordered there."""

    node: NodeId
    workloads: tuple[WorkloadId, ...]
    certificate_chain_pem: bytes
    """Its present SVID."""
    sealing_key: bytes
    """X-Wing public key to seal to."""
    binding: bytes
    """Signature over `hanse.identity.sealing.binding_of` with the SVID's key."""
    at_us: WallTime


class ReleasedSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One secret, sealed to the node that asked."""

    workload: WorkloadId
    secret: SecretId
    version: int
    sealed: bytes
    """HPKE, under `hanse.identity.sealing.info_for_node`."""
    until_us: WallTime
    """The lease: without another release by then the node forgets it."""


class RefusedSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One secret that is not released, and why."""

    workload: WorkloadId
    secret: SecretId
    code: str
    reason: str


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secrets.v1", kw_only=True):
    """The answer to one `SecretsRequest`: a row for every secret of the workloads that were named."""

    node: NodeId
    request: Digest
    """Of the sealed request: an answer to another one is none."""
    released: tuple[ReleasedSecret, ...]
    refused: tuple[RefusedSecret, ...]


class SecretsChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="secrets-changed.v1", kw_only=True):
    """Tell a node to ask again soon."""

    at_us: WallTime


class ReleaseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="release.v1", kw_only=True):
    """What one node was told of one secret, and whether it was refused last: a level, written before the answer."""

    node: NodeId
    secret: SecretId
    versions: tuple[int, ...] = ()
    """Every version that was ever sent there, ascending."""
    workloads: tuple[WorkloadId, ...] = ()
    """Work that it was sent for, in id order."""
    refused: str = ""
    """Digest of the last refusal, so that asking again each few seconds is said once."""
    last_us: WallTime
