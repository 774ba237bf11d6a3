"""What an entry of the log can say: one predicate type per kind of act. Values; `hanse.ledger.statement` signs them.

A predicate holds digests of bodies, never a body that may have to be erased, and no personal data: users appear as
digests of erasable records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from hanse.core.ids import (
    CountryCode,
    Digest,
    InstanceId,
    NodeId,
    OperatorId,
    PlanId,
    SecretId,
    SiteId,
    WorkloadId,
)
from hanse.core.time import WallTime

PREDICATE_PREFIX = "https://hanse.dev/ledger/"


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A committed plan: ancestry, digests of everything it read, and a Merkle root over its placements."""

    plan: PlanId
    parent: PlanId | None
    generation: int
    created_us: WallTime
    trigger: str
    inputs: dict[str, str]
    body: Digest
    """Digest of the whole plan in the blob store."""
    placements: int
    placements_root: Digest
    """RFC 6962 root over the canonical JSON of each `Placement`, in instance order: one placement can be shown with
    its reasons, without the rest of the plan."""
    unplaced: int
    """Replicas that found no place."""
    objective_microeur: int
    bound_microeur: int | None


class OrderIssued(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An order to one node about one instance; the signed order itself stays outside, under its digest."""

    order: Digest
    """Of the sealed order's bytes."""
    plan: PlanId
    node: NodeId
    instance: InstanceId
    workload: WorkloadId
    generation: int
    wanted: bool
    site: SiteId
    country: CountryCode
    operator: OperatorId | None
    """The node's own operator, as the controller knew it."""
    facts: Digest
    """Of the canonical site and operator chain that the order was decided on and carries."""
    spec: Digest
    """Of the canonical workload spec."""
    artifact: Digest
    issued_us: WallTime
    expires_us: WallTime
    reason: str = ""
    """Why: for work that lost its ground the rule that denies it, and the fact, rule or date that turned it. Absent in
    entries of old."""
    attested: str = ""
    """What was attested of the node then, for example ``tpm affirming (simulated)``; left out if nothing was."""


class ReceiptTaken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node's own sealed report: its signature lies under the log, too."""

    node: NodeId
    node_key: str
    """Base64 of the raw Ed25519 key that the controller holds for this node."""
    report: str
    """The envelope, as the node sealed it."""


class FactChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A fact about a node, site or operator changed; before and after are digests of its canonical records."""

    subject: str
    """For example ``operator/nimbus``."""
    before: Digest | None
    after: Digest | None
    grade: int
    """How well the new fact is founded, 0..4."""
    effective_us: WallTime
    says: str = ""
    """An attested fact in words, with the mark of simulated evidence; left out for others."""


class SpecChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An accepted manifest; before and after are digests of its canonical specs, None where there is none."""

    kind: str
    name: str
    generation: int
    before: Digest | None
    after: Digest | None
    accepted_us: WallTime


class NodeJoined(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A node was enrolled: from here on its seal counts."""

    node: NodeId
    spiffe_id: str
    site: SiteId
    operator: OperatorId
    node_key: Digest
    """Of the raw Ed25519 key that it seals with."""
    joined_us: WallTime
    evidence: str = ""
    """What it brought, for example ``tpm affirming (simulated)``; left out if nothing."""


class NodeRevoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node's standing was withdrawn for good: nothing it seals after `since_us` counts."""

    node: NodeId
    spiffe_id: str
    node_key: Digest
    since_us: WallTime


class StateDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the fabric's store held at one moment: a Merkle root per bucket, so that loss or rot there is found."""

    at_us: WallTime
    buckets: dict[str, Digest]
    """Bucket -> RFC 6962 root over the canonical `StateRow` of each key, in key order."""
    entries: dict[str, int]
    """Bucket -> how many keys stood in it."""
    body: Digest
    """Of the `StateBody` in the blob store: every key with its revision and digest."""


class UserAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something a user did. Who it was is a digest of a record with a random salt, kept outside and erasable."""

    action: str
    """A verb, for example ``drain``."""
    target: str
    actor: Digest
    at_us: WallTime


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody was granted something for a time; who holds it is a digest of what he must show."""

    grant: str
    """What for, for example ``join``."""
    holder: Digest
    about: str
    """What it covers, in the domain's own names."""
    granted_us: WallTime
    expires_us: WallTime


class PolicyChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pack of rules came into force, changed or went; the rules themselves stay outside, under their digest."""

    pack: str
    before: Digest | None
    after: Digest | None
    as_of: str
    """The day that the pack says it describes."""
    at_us: WallTime


class AccountGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node's own sealed account: what workloads took, and what was decided on the request path, by rule. Counts and
    kinds only; who asked is not in it."""

    node: NodeId
    node_key: str
    """Base64 of the raw Ed25519 key that the controller holds for this node."""
    account: str
    """The envelope, as the node sealed it."""


class SecretRead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether work on a node was told a secret, and what that was decided on. Nothing here follows from the value."""

    secret: SecretId
    version: int
    workload: WorkloadId
    node: NodeId
    is_released: bool
    rules: tuple[str, ...]
    """Ids of the rules that decided."""
    reason: str
    """Of a refusal, in a sentence; empty for a release."""
    spec: Digest
    """Of the canonical secret as its owner declared it."""
    workload_spec: Digest
    facts: Digest
    """Of the node, its site and the operators as they were known, attestation included."""
    policies: Digest
    """Of the packs and layers in force."""
    order: InstanceId
    """Under which the work stands there."""
    sealing_key: Digest
    """Of the key that it was sealed to, which the node's SVID vouches for."""
    at_us: WallTime
    until_us: WallTime
    """End of the lease; `at_us` for a refusal."""


Predicate = (
    Decision
    | OrderIssued
    | ReceiptTaken
    | FactChange
    | SpecChange
    | NodeJoined
    | NodeRevoked
    | StateDigest
    | UserAction
    | Grant
    | PolicyChange
    | AccountGiven
    | SecretRead
)
P = TypeVar(
    "P",
    Decision,
    OrderIssued,
    ReceiptTaken,
    FactChange,
    SpecChange,
    NodeJoined,
    NodeRevoked,
    StateDigest,
    UserAction,
    Grant,
    PolicyChange,
    AccountGiven,
    SecretRead,
)

PREDICATE_TYPES: Mapping[type[Predicate], str] = {
    Decision: f"{PREDICATE_PREFIX}decision/v1",
    OrderIssued: f"{PREDICATE_PREFIX}order/v1",
    ReceiptTaken: f"{PREDICATE_PREFIX}receipt/v1",
    FactChange: f"{PREDICATE_PREFIX}fact-change/v1",
    SpecChange: f"{PREDICATE_PREFIX}spec-change/v1",
    NodeJoined: f"{PREDICATE_PREFIX}join/v1",
    NodeRevoked: f"{PREDICATE_PREFIX}revocation/v1",
    StateDigest: f"{PREDICATE_PREFIX}state-digest/v1",
    UserAction: f"{PREDICATE_PREFIX}user-action/v1",
    Grant: f"{PREDICATE_PREFIX}grant/v1",
    PolicyChange: f"{PREDICATE_PREFIX}policy-change/v1",
    AccountGiven: f"{PREDICATE_PREFIX}account/v1",
    SecretRead: f"{PREDICATE_PREFIX}secret-read/v1",
}
