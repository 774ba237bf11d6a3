"""Judge a placement receipt offline: every signature, every inclusion proof, every link between its parts.

`receipt bytes + policy + now -> Verified | problems`. It needs no network, no fabric and no clock of its own. It says
in sentences what it checked and, as plainly, what a verified receipt does not prove.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from hanse.core.errors import HanseError
from hanse.core.ids import CountryCode, InstanceId, NodeId, OperatorId, PlanId, SiteId, WorkloadId, is_digest
from hanse.core.snapshot import Phase
from hanse.core.time import WallTime
from hanse.ledger import tree
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import unbase64
from hanse.ledger.predicates import Decision, OrderIssued, P, ReceiptTaken
from hanse.ledger.proof import TlogProof, parse_proof
from hanse.ledger.quorum import CLOCK_SKEW_US, Accepted, Policy, Refused, judge, spoken_time
from hanse.ledger.receipt import Logged, Receipt, placement_hashes, read_receipt
from hanse.ledger.statement import Placement, expect, facts_digest, open_statement
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that does not hold: the part of the receipt, and what is wrong with it."""

    part: str
    """``receipt``, ``checkpoint``, ``decision``, ``order``, ``report``, ``placement`` or ``policy``."""
    message: str

    def __str__(self) -> str:
        return f"{self.part}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A receipt that holds, whole."""

    origin: str
    size: int
    """Entries under the checkpoint."""
    plan: PlanId
    node: NodeId
    site: SiteId
    country: CountryCode
    operator: OperatorId | None
    instance: InstanceId
    workload: WorkloadId
    phase: Phase
    since_us: WallTime
    placement: Placement | None
    checks: tuple[str, ...]
    """Every check made, a sentence each."""
    caveats: tuple[str, ...]
    """What this does not prove, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """The three entries, opened."""

    decision: Decision
    order: OrderIssued
    taken: ReceiptTaken
    report: Report


class _Fault(Exception):
    """Ends a stage with the problems it found; never leaves this module."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def verify_receipt(data: bytes, policy: Policy, now: WallTime) -> Verified | tuple[Problem, ...]:
    """Verify a receipt against a policy. Total over all bytes: whatever does not hold comes back as named problems."""
    try:
        with _naming("receipt"):
            receipt = read_receipt(data)
        proofs = _read_proofs(receipt)
        accepted = _judge_checkpoint(policy, proofs, now)
        checks = list(accepted.sentences)
        checks += _check_inclusion(receipt, proofs, accepted)
        controllers = {envelope.key_id_of(key): key for key in policy.controllers}
        parts, opened = _open_parts(receipt, controllers)
        checks += opened
        checks += _check_links(parts, now)
        checks += _check_sealed_order(receipt, parts, controllers)
        placement, shown = _check_placement(receipt, parts)
        checks += shown
    except _Fault as fault:
        return fault.problems
    report = parts.report
    return Verified(
        origin=accepted.checkpoint.origin,
        size=accepted.checkpoint.size,
        plan=parts.decision.plan,
        node=report.node,
        site=parts.order.site,
        country=parts.order.country,
        operator=parts.order.operator,
        instance=report.instance,
        workload=report.workload,
        phase=report.phase,
        since_us=report.since_us,
        placement=placement,
        checks=tuple(checks),
        caveats=_caveats(receipt, proofs, accepted),
    )


def _read_proofs(receipt: Receipt) -> Mapping[str, TlogProof]:
    proofs = {}
    for part, logged in _logged(receipt).items():
        with _naming(part):
            proofs[part] = parse_proof(logged.proof.encode())
    notes = [proof.checkpoint for proof in proofs.values()]
    common = max(notes, key=notes.count)
    strays = [part for part, proof in proofs.items() if proof.checkpoint != common]
    if strays:
        raise _Fault(
            *(Problem(part=part, message="its proof carries another checkpoint than the rest") for part in strays)
        )
    return proofs


def _judge_checkpoint(policy: Policy, proofs: Mapping[str, TlogProof], now: WallTime) -> Accepted:
    if not policy.controllers:
        raise _Fault(Problem(part="policy", message="it names no controller (`#controller` line), so no entry counts"))
    judged = judge(policy, proofs["decision"].checkpoint, now)
    if isinstance(judged, Refused):
        raise _Fault(*(Problem(part="checkpoint", message=reason) for reason in judged.reasons))
    return judged


def _check_inclusion(receipt: Receipt, proofs: Mapping[str, TlogProof], accepted: Accepted) -> list[str]:
    checkpoint = accepted.checkpoint
    sentences, problems = [], []
    for part, logged in _logged(receipt).items():
        proof = proofs[part]
        leaf = tree.hash_leaf(logged.entry.encode())
        try:
            tree.verify_inclusion(proof.index, checkpoint.size, leaf, proof.hashes, checkpoint.root)
        except HanseError as error:
            problems.append(Problem(part=part, message=error.message))
        sentences.append(f"The {part} is entry {proof.index} of the {checkpoint.size} that {checkpoint.origin} holds.")
    if problems:
        raise _Fault(*problems)
    return sentences


def _open_parts(receipt: Receipt, controllers: Mapping[str, bytes]) -> tuple[_Parts, list[str]]:
    decision = _open(receipt.decision, "decision", Decision, controllers)
    order = _open(receipt.order, "order", OrderIssued, controllers)
    taken = _open(receipt.report, "report", ReceiptTaken, controllers)
    with _naming("report"):
        report = _open_report(taken)
    sentences = [
        f"A trusted controller signed decision {decision.plan}, the order and the intake of the report.",
        f"Node {report.node} signed the report with the key that the controller holds for it.",
    ]
    return _Parts(decision=decision, order=order, taken=taken, report=report), sentences


def _open(logged: Logged, part: str, kind: type[P], controllers: Mapping[str, bytes]) -> P:
    with _naming(part):
        return expect(open_statement(logged.entry.encode(), controllers), kind)


def _open_report(taken: ReceiptTaken) -> Report:
    key = unbase64(taken.node_key)
    if len(key) != 32:
        raise LedgerFormatError("the node's key is not an Ed25519 key")
    return envelope.open_sealed(taken.report.encode(), Report, {envelope.key_id_of(key): key}).message


def _check_links(parts: _Parts, now: WallTime) -> list[str]:
    decision, order, report = parts.decision, parts.order, parts.report
    equal = (
        ("order", "plan", order.plan, decision.plan, "decision"),
        ("report", "order_digest", report.order_digest, order.order, "order"),
        ("report", "node", report.node, order.node, "order"),
        ("report", "node", report.node, parts.taken.node, "controller's intake"),
        ("report", "instance", report.instance, order.instance, "order"),
        ("report", "workload", report.workload, order.workload, "order"),
        ("report", "generation", report.generation, order.generation, "order"),
        ("report", "artifact", report.artifact or order.artifact, order.artifact, "order"),
    )
    problems = [
        Problem(part=part, message=f"its {field} is {mine!r}, but the {other} says {theirs!r}")
        for part, field, mine, theirs, other in equal
        if mine != theirs
    ]
    if report.phase is Phase.RUNNING and report.since_us >= order.expires_us:
        problems.append(Problem(part="report", message="it says running under an order that had expired"))
    for part, at_us in (("decision", decision.created_us), ("order", order.issued_us), ("report", report.since_us)):
        if at_us > now + CLOCK_SKEW_US:
            problems.append(Problem(part=part, message=f"it is dated {spoken_time(at_us)}, which is in the future"))
    if problems:
        raise _Fault(*problems)
    return [
        f"The order names plan {order.plan}, which is the decision's.",
        f"The report answers order {order.order}, for the same node, instance, workload and generation.",
        f"The order puts the node at site {order.site} in {order.country}, run by {order.operator or 'nobody known'}.",
        f"The order was issued {spoken_time(order.issued_us)} and granted until {spoken_time(order.expires_us)}.",
    ]


def _check_sealed_order(receipt: Receipt, parts: _Parts, controllers: Mapping[str, bytes]) -> list[str]:
    if receipt.sealed_order is None:
        return []
    sealed = receipt.sealed_order.encode()
    if canonical.digest_bytes(sealed) != parts.order.order:
        raise _Fault(Problem(part="order", message="the sealed order is not the one whose digest was logged"))
    with _naming("order"):
        message = envelope.open_sealed(sealed, Order, controllers).message
    logged = parts.order
    if (
        (message.node, message.instance, message.generation, message.plan, message.wanted)
        != (logged.node, logged.instance, logged.generation, logged.plan, logged.wanted)
        or message.expires_us != logged.expires_us
        or canonical.digest_of(message.workload) != logged.spec
        or facts_digest(message) != logged.facts
        or (message.site.id, message.site.country) != (logged.site, logged.country)
    ):
        raise _Fault(Problem(part="order", message="the log describes the sealed order otherwise than it reads"))
    return ["The sealed order is included; digest, signature, fields and facts are those of the logged order."]


def _check_placement(receipt: Receipt, parts: _Parts) -> tuple[Placement | None, list[str]]:
    shown = receipt.placement
    if shown is None:
        return None, []
    if not is_digest(parts.decision.placements_root):
        raise _Fault(Problem(part="decision", message="its placements_root is not a digest"))
    root = bytes.fromhex(parts.decision.placements_root.removeprefix("sha256:"))
    leaf = tree.hash_leaf(shown.placement.encode())
    with _naming("placement"):
        tree.verify_inclusion(shown.index, parts.decision.placements, leaf, placement_hashes(shown), root)
        placement = canonical.decode(shown.placement.encode(), Placement)
    assignment = placement.assignment
    if (assignment.instance, assignment.node) != (parts.report.instance, parts.report.node):
        raise _Fault(Problem(part="placement", message=f"it is that of {assignment.instance} on {assignment.node}"))
    return placement, [
        f"The decision placed {assignment.instance} on {assignment.node} (placement {shown.index} of "
        f"{parts.decision.placements}), for the reasons shown."
    ]


def _caveats(receipt: Receipt, proofs: Mapping[str, TlogProof], accepted: Accepted) -> tuple[str, ...]:
    said = [
        "That the node told the truth: the report is its word, and the key is the one its controller holds for it.",
        "Where the node stands and who controls it: the facts are those the controller had, at the grade they had.",
        "That nothing else ran there, or that no other receipt for this instance exists.",
    ]
    if all(line.key.name == accepted.checkpoint.origin for line in accepted.held):
        said.append("That the log shows everyone the same: no witness outside the log's own keys has cosigned it.")
    if not proofs["decision"].index < proofs["order"].index < proofs["report"].index:
        said.append("That the decision came before the act: the log took the entries in in another order.")
    if receipt.sealed_order is None:
        said.append("What the order said beyond the logged fields: the sealed order is not included, only its digest.")
    if receipt.placement is None:
        said.append("Why this node was chosen: the placement's reasons are not included, only their Merkle root.")
    return tuple(said)


def _logged(receipt: Receipt) -> Mapping[str, Logged]:
    return {"decision": receipt.decision, "order": receipt.order, "report": receipt.report}


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Turn an operating failure into a problem of one part of the receipt."""
    try:
        yield
    except HanseError as error:
        raise _Fault(Problem(part=part, message=error.message)) from error
