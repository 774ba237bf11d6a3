"""Receipts and verdicts on them as text for people.

`receipt bytes -> text` (not judged), `Verified | problems -> text`. Takes no decisions.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanse.core.plan import Candidate
from hanse.ledger.gap import Unbroken
from hanse.ledger.predicates import Decision, OrderIssued, ReceiptTaken
from hanse.ledger.proof import parse_proof
from hanse.ledger.quorum import spoken_time
from hanse.ledger.receipt import Receipt, read_receipt
from hanse.ledger.statement import expect, peek_statement
from hanse.ledger.verify import Problem, Verified
from hanse.wire import envelope
from hanse.wire.messages import Report


def describe_receipt(data: bytes) -> str:
    """Tell what a receipt says, without judging whether it is true.

    Raises LedgerFormatError or WireError if it cannot be read.
    """
    receipt = read_receipt(data)
    decision = expect(peek_statement(receipt.decision.entry.encode()), Decision)
    order = expect(peek_statement(receipt.order.entry.encode()), OrderIssued)
    taken = expect(peek_statement(receipt.report.entry.encode()), ReceiptTaken)
    report = envelope.peek(taken.report.encode(), Report)
    return "\n".join([
        "This receipt says (not verified):",
        f"  decision  {decision.plan} of {spoken_time(decision.created_us)}, because of: {decision.trigger}",
        *(f"            read {name} {digest}" for name, digest in sorted(decision.inputs.items())),
        f"  order     {'run' if order.wanted else 'stop'} {order.instance} on {order.node}, "
        f"granted until {spoken_time(order.expires_us)}",
        f"            site {order.site} in {order.country}, operator {order.operator or 'unknown'}",
        f"            attested {order.attested or 'nothing'}",
        f"            artifact {order.artifact}",
        f"  report    {report.node}: {report.phase} since {spoken_time(report.since_us)}{_because(report.reason)}",
        f"  log       {_where(receipt)}",
    ])  # fmt: skip


def explain_verdict(verdict: Verified | Sequence[Problem]) -> str:
    """Tell what was checked and what it does not prove, or what does not hold."""
    if not isinstance(verdict, Verified):
        count = "1 problem" if len(verdict) == 1 else f"{len(verdict)} problems"
        return "\n".join([f"NOT VERIFIED: {count}", *(f"  - {problem}" for problem in verdict)])
    return "\n".join([
        f"VERIFIED: {verdict.instance} on {verdict.node} in {verdict.country}: "
        f"{verdict.phase} since {spoken_time(verdict.since_us)}",
        "Checked:",
        *(f"  - {sentence}" for sentence in verdict.checks),
        *_grounds(None if verdict.placement is None else verdict.placement.candidate),
        "Not proved:",
        *(f"  - {sentence}" for sentence in verdict.caveats),
    ])  # fmt: skip


def explain_gap(verdict: Unbroken | Sequence[str]) -> str:
    """Tell what a proof of no gap holds, or why it does not."""
    if not isinstance(verdict, Unbroken):
        return "\n".join(["NOT VERIFIED: the proof does not hold", *(f"  - {problem}" for problem in verdict)])
    kinds = ", ".join(f"{count} {kind}" for kind, count in verdict.kinds.items()) or "none"
    return "\n".join([
        f"VERIFIED: nothing is missing from {verdict.origin} between entry {verdict.first} and entry {verdict.size}",
        "Checked:",
        *(f"  - {sentence}" for sentence in verdict.checks),
        f"Entries between: {kinds}",
        "Not proved:",
        "  - that everything that happened was entered: nodes sign receipts for that",
    ])  # fmt: skip


def _grounds(candidate: Candidate | None) -> list[str]:
    if candidate is None or not candidate.reasons:
        return []
    return [
        "Grounds on which policy allowed this node:",
        *(f"  - {reason.message} [{reason.rule}; {reason.cite}]" for reason in candidate.reasons),
    ]


def _where(receipt: Receipt) -> str:
    proofs = [parse_proof(logged.proof.encode()) for logged in (receipt.decision, receipt.order, receipt.report)]
    origin = proofs[0].checkpoint.partition(b"\n")[0].decode(errors="replace")
    return f"{origin}, entries {', '.join(str(proof.index) for proof in proofs)}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
