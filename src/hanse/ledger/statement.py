"""Ledger entries: in-toto Statements v1 in DSSE envelopes, signed by the controller.

`plan, order, report ... -> entry bytes -> opened, typed entry`. An entry holds digests of bodies, never a body that may
have to be erased, and no personal data: users appear as digests of erasable records. Every constructor is a function of
its message alone (no clock), so that appending an act twice yields the same bytes and therefore the same index.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from hanse.core.errors import WireError
from hanse.core.ids import (
    CountryCode,
    Digest,
    InstanceId,
    NodeId,
    OperatorId,
    PlanId,
    SiteId,
    WorkloadId,
    is_digest,
)
from hanse.core.plan import Assignment, Candidate, Plan
from hanse.core.ports import Signer
from hanse.core.time import WallTime
from hanse.ledger import tree
from hanse.ledger.errors import EntryTooLarge, LedgerFormatError
from hanse.ledger.tiles import MAX_ENTRY_BYTES
from hanse.wire import canonical, envelope
from hanse.wire.messages import NodeRecord, Order, Report, StateBody, StateRow

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_PREFIX = "https://hanse.dev/ledger/"


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a statement is about: a name and the SHA-256 of its bytes (in-toto ResourceDescriptor)."""

    name: str
    digest: dict[str, str]


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


class OrderIssued(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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


class ReceiptTaken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node's own sealed report: its signature lies under the log, too."""

    node: NodeId
    node_key: str
    """Base64 of the raw Ed25519 key that the controller holds for this node."""
    report: str
    """The envelope, as the node sealed it."""


class FactChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fact about a node, site or operator changed; before and after are digests of its canonical records."""

    subject: str
    """For example ``operator/nimbus``."""
    before: Digest | None
    after: Digest | None
    grade: int
    """How well the new fact is founded, 0..4."""
    effective_us: WallTime


class SpecChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An accepted manifest; before and after are digests of its canonical specs, None where there is none."""

    kind: str
    name: str
    generation: int
    before: Digest | None
    after: Digest | None
    accepted_us: WallTime


class NodeJoined(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A node was enrolled: from here on its seal counts."""

    node: NodeId
    spiffe_id: str
    site: SiteId
    operator: OperatorId
    node_key: Digest
    """Of the raw Ed25519 key that it seals with."""
    joined_us: WallTime


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
)
P = TypeVar(
    "P", Decision, OrderIssued, ReceiptTaken, FactChange, SpecChange, NodeJoined, NodeRevoked, StateDigest, UserAction
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
}
_KINDS = {name: kind for kind, name in PREDICATE_TYPES.items()}


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    type: str = msgspec.field(name="_type")
    subject: tuple[Subject, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One leaf of a decision's placement tree: where a replica went, and why there."""

    assignment: Assignment
    candidate: Candidate | None
    """The chosen node as it was weighed, with the rules that permit it; None where the plan kept no explanation."""
    replicas_why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementEntry:
    """An entry read from the log; `key_id` is the controller key that signed it, None if that was not asked."""

    subject: Subject
    predicate: Predicate
    key_id: str | None


def decision(plan: Plan, body: Digest, signer: Signer) -> bytes:
    """State that a plan was committed. `body`: digest of its `PlanBody` in the blob store."""
    leaves = placement_leaves(plan)
    predicate = Decision(
        plan=plan.id,
        parent=plan.parent,
        generation=plan.generation,
        created_us=plan.created_us,
        trigger=plan.trigger,
        inputs=dict(sorted(plan.inputs.items())),
        body=body,
        placements=len(leaves),
        placements_root=Digest("sha256:" + tree.root_of([tree.hash_leaf(leaf) for leaf in leaves]).hex()),
        unplaced=sum(item.missing for item in plan.unplaced),
        objective_microeur=plan.objective_microeur,
        bound_microeur=plan.bound_microeur,
    )
    return seal_statement(f"plan/{plan.id}", body, predicate, signer)


def order(sealed: bytes, signer: Signer) -> bytes:
    """State that a sealed `Order` was issued. Raises WireError if the bytes are no order."""
    message = envelope.peek(sealed, Order)
    digest = canonical.digest_bytes(sealed)
    predicate = OrderIssued(
        order=digest,
        plan=message.plan,
        node=message.node,
        instance=message.instance,
        workload=message.workload.id,
        generation=message.generation,
        wanted=message.wanted,
        site=message.site.id,
        country=message.site.country,
        operator=message.operators[0].id if message.operators else None,
        facts=facts_digest(message),
        spec=canonical.digest_of(message.workload),
        artifact=message.workload.artifact,
        issued_us=message.issued_us,
        expires_us=message.expires_us,
        reason=message.reason,
    )
    return seal_statement(f"order/{message.instance}/{message.generation}", digest, predicate, signer)


def receipt(sealed: bytes, node_key: bytes, signer: Signer) -> bytes:
    """State that a node's sealed `Report` was taken in. `node_key`: the raw Ed25519 key of the node's record.

    Raises WireError or SignatureError if the node's signature does not hold: what the node did not say is not logged.
    """
    message = envelope.open_sealed(sealed, Report, {envelope.key_id_of(node_key): node_key}).message
    predicate = ReceiptTaken(node=message.node, node_key=base64.b64encode(node_key).decode(), report=sealed.decode())
    return seal_statement(f"report/{message.instance}", canonical.digest_bytes(sealed), predicate, signer)


def fact_change(change: FactChange, signer: Signer) -> bytes:
    """State that a fact changed."""
    return seal_statement(change.subject, change.after or change.before, change, signer)


def spec_change(change: SpecChange, signer: Signer) -> bytes:
    """State that a manifest was accepted, changed or withdrawn."""
    return seal_statement(f"{change.kind}/{change.name}", change.after or change.before, change, signer)


def node_joined(record: NodeRecord, signer: Signer) -> bytes:
    """State that a node was enrolled."""
    joined = NodeJoined(
        node=record.node.id,
        spiffe_id=record.spiffe_id,
        site=record.node.site,
        operator=record.node.operator,
        node_key=canonical.digest_bytes(record.public_key),
        joined_us=record.enrolled_us,
    )
    return seal_statement(f"node/{joined.node}/joined", joined.node_key, joined, signer)


def node_revoked(record: NodeRecord, signer: Signer) -> bytes:
    """State that a node's standing was withdrawn."""
    revoked = NodeRevoked(
        node=record.node.id,
        spiffe_id=record.spiffe_id,
        node_key=canonical.digest_bytes(record.public_key),
        since_us=record.enrolled_us if record.revoked_us is None else record.revoked_us,
    )
    return seal_statement(f"node/{revoked.node}/revoked", revoked.node_key, revoked, signer)


def state_digest(body: StateBody, digest: Digest, at: WallTime, signer: Signer) -> bytes:
    """State what the store held. `digest`: of the body in the blob store."""
    statement = StateDigest(
        at_us=at,
        buckets={bucket: state_root(rows) for bucket, rows in sorted(body.buckets.items())},
        entries={bucket: len(rows) for bucket, rows in sorted(body.buckets.items())},
        body=digest,
    )
    return seal_statement("state", digest, statement, signer)


def state_root(rows: Sequence[StateRow]) -> Digest:
    """The RFC 6962 root over one bucket's rows."""
    return Digest("sha256:" + tree.root_of([tree.hash_leaf(canonical.encode(row)) for row in rows]).hex())


def user_action(action: UserAction, signer: Signer) -> bytes:
    """State what a user did. Raises WireError if `actor` is not a digest: a name must not get into the log."""
    if not is_digest(action.actor):
        raise WireError("the actor of a user action must be a digest", hint="hash the user's record with its salt")
    return seal_statement(action.target, action.actor, action, signer)


def facts_digest(order: Order) -> Digest:
    """Digest of the facts about place and control that an order was decided on."""
    return canonical.digest_of((order.site, order.operators))


def placement_leaves(plan: Plan) -> tuple[bytes, ...]:
    """The leaves of a decision's placement tree: canonical JSON of each placement, in instance order."""
    chosen = {
        (workload, candidate.node): candidate
        for workload, explanation in plan.explanations.items()
        for candidate in explanation.candidates
        if candidate.is_chosen
    }
    return tuple(
        canonical.encode(
            Placement(
                assignment=item,
                candidate=chosen.get((item.workload, item.node)),
                replicas_why=plan.explanations[item.workload].replicas_why
                if item.workload in plan.explanations
                else "",
            )
        )
        for item in sorted(plan.assignments, key=_instance_of)
    )


def seal_statement(name: str, digest: Digest | None, predicate: Predicate, signer: Signer) -> bytes:
    """Wrap a predicate as a signed in-toto statement. Raises EntryTooLarge over 65,535 bytes."""
    subject = Subject(name=name, digest={} if digest is None else {"sha256": digest.removeprefix("sha256:")})
    statement = _Statement(
        type=STATEMENT_TYPE,
        subject=(subject,),
        predicate_type=PREDICATE_TYPES[type(predicate)],
        predicate=msgspec.Raw(canonical.encode(predicate)),
    )
    entry = envelope.wrap(canonical.encode(statement), PAYLOAD_TYPE, signer)
    if len(entry) > MAX_ENTRY_BYTES:
        raise EntryTooLarge(f"the statement about {name} takes {len(entry)} bytes, over the limit of {MAX_ENTRY_BYTES}")
    return entry


def open_statement(entry: bytes, controllers: Mapping[str, bytes]) -> StatementEntry:
    """Verify an entry against controllers (key id -> raw Ed25519 key) and read it.

    Raises WireError, SignatureError or LedgerFormatError.
    """
    payload, key_id = envelope.unwrap(entry, PAYLOAD_TYPE, controllers)
    return _read(payload, key_id)


def peek_statement(entry: bytes) -> StatementEntry:
    """Read an entry without judging its signature: for lists and for people. Raises like `open_statement`."""
    parsed = envelope.parse(entry)
    if parsed.payloadType != PAYLOAD_TYPE:
        raise WireError(f"envelope holds {parsed.payloadType}, expected {PAYLOAD_TYPE}")
    return _read(envelope.payload_of(parsed), None)


def expect(entry: StatementEntry, kind: type[P]) -> P:
    """The predicate, if it is of this kind. Raises LedgerFormatError."""
    if not isinstance(entry.predicate, kind):
        found = PREDICATE_TYPES[type(entry.predicate)].removeprefix(PREDICATE_PREFIX)
        wanted = PREDICATE_TYPES[kind].removeprefix(PREDICATE_PREFIX)
        raise LedgerFormatError(f"the entry is of kind {found}, not {wanted}")
    return entry.predicate


def _read(payload: bytes, key_id: str | None) -> StatementEntry:
    statement = canonical.decode(payload, _Statement)
    if statement.type != STATEMENT_TYPE or len(statement.subject) != 1:
        raise LedgerFormatError("the entry is not an in-toto Statement v1 about one subject")
    kind = _KINDS.get(statement.predicate_type)
    if kind is None:
        raise LedgerFormatError(f"unknown kind of entry: {statement.predicate_type[:100]!r}")
    predicate = canonical.decode(bytes(statement.predicate), kind)
    return StatementEntry(subject=statement.subject[0], predicate=predicate, key_id=key_id)


def _instance_of(assignment: Assignment) -> InstanceId:
    return assignment.instance
