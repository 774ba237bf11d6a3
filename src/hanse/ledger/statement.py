"""Ledger entries: in-toto Statements v1 in DSSE envelopes, signed by the controller.

`plan, order, report ... -> entry bytes -> opened, typed entry`. An entry holds digests of bodies, never a body that may
have to be erased, and no personal data: users appear as digests of erasable records. Every constructor is a function of
its message alone (no clock), so that appending an act twice yields the same bytes and therefore the same index.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from hanse.core.errors import WireError
from hanse.core.ids import (
    Digest,
    InstanceId,
    is_digest,
)
from hanse.core.plan import Assignment, Candidate, Plan
from hanse.core.ports import Signer
from hanse.core.time import WallTime
from hanse.ledger import tree
from hanse.ledger.errors import EntryTooLarge, LedgerFormatError
from hanse.ledger.predicates import (
    PREDICATE_PREFIX,
    PREDICATE_TYPES,
    AccountGiven,
    Decision,
    FactChange,
    Grant,
    NodeJoined,
    NodeRevoked,
    OrderIssued,
    P,
    PolicyChange,
    Predicate,
    ReceiptTaken,
    SecretRead,
    SpecChange,
    StateDigest,
    UserAction,
)
from hanse.ledger.tiles import MAX_ENTRY_BYTES
from hanse.wire import canonical, envelope
from hanse.wire.messages import Account, NodeRecord, Order, Report, StateBody, StateRow

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a statement is about: a name and the SHA-256 of its bytes (in-toto ResourceDescriptor)."""

    name: str
    digest: dict[str, str]


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
        attested="" if message.attested is None else message.attested.label,
    )
    return seal_statement(f"order/{message.instance}/{message.generation}", digest, predicate, signer)


def receipt(sealed: bytes, node_key: bytes, signer: Signer) -> bytes:
    """State that a node's sealed `Report` was taken in. `node_key`: the raw Ed25519 key of the node's record.

    Raises WireError or SignatureError if the node's signature does not hold: what the node did not say is not logged.
    """
    message = envelope.open_sealed(sealed, Report, {envelope.key_id_of(node_key): node_key}).message
    predicate = ReceiptTaken(node=message.node, node_key=base64.b64encode(node_key).decode(), report=sealed.decode())
    return seal_statement(f"report/{message.instance}", canonical.digest_bytes(sealed), predicate, signer)


def account(sealed: bytes, node_key: bytes, signer: Signer) -> bytes:
    """State that a node's sealed `Account` was taken in. `node_key`: the raw Ed25519 key of the node's record.

    Raises WireError or SignatureError if the node's signature does not hold.
    """
    message = envelope.open_sealed(sealed, Account, {envelope.key_id_of(node_key): node_key}).message
    predicate = AccountGiven(node=message.node, node_key=base64.b64encode(node_key).decode(), account=sealed.decode())
    return seal_statement(f"account/{message.node}", canonical.digest_bytes(sealed), predicate, signer)


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
        evidence=record.evidence,
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


def grant(given: Grant, signer: Signer) -> bytes:
    """State that something was granted. Raises WireError if `holder` is not a digest: a secret must not get in."""
    if not is_digest(given.holder):
        raise WireError("the holder of a grant must be a digest", hint="hash what he must show")
    return seal_statement(f"grant/{given.grant}/{given.holder.removeprefix('sha256:')}", given.holder, given, signer)


def policy_change(change: PolicyChange, signer: Signer) -> bytes:
    """State that a pack of rules changed."""
    return seal_statement(f"policy/{change.pack}", change.after or change.before, change, signer)


def secret_read(read: SecretRead, signer: Signer) -> bytes:
    """State that a secret was released to a node, or refused."""
    return seal_statement(f"secret/{read.secret}/read/{read.node}/{read.workload}", read.spec, read, signer)


def facts_digest(order: Order) -> Digest:
    """Digest of the facts about place, control and platform that an order was decided on."""
    facts: tuple[object, ...] = (order.site, order.operators)
    return canonical.digest_of(facts if order.attested is None else (*facts, order.attested))


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
