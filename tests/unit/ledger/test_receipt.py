"""Receipts of one placement: a true one verifies and reads well; each lie is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ledger_kit import (
    CONTROLLER,
    INSTANCE,
    LOG_KEYS,
    NODE,
    NOW,
    ORIGIN,
    STRANGER,
    bundle,
    plan,
    policy,
    policy_bytes,
    sample,
    sealed_order,
    sealed_report,
    story,
)

from hanse.core.ids import Digest, NodeId, PlanId
from hanse.core.snapshot import Phase
from hanse.core.time import HOUR_US, WallTime
from hanse.ledger import Problem, Verified, describe_receipt, explain_verdict, policy_text, statement, verify_receipt
from hanse.ledger.predicates import ReceiptTaken
from hanse.ledger.proof import parse_proof
from hanse.ledger.quorum import load_policy
from hanse.ledger.receipt import read_receipt

GOLDEN = """\
VERIFIED: clinic.triage.0.7 on berlin-0 in DE: running since 2026-11-18T11:06:00.000Z
Checked:
  - hanse.example/ledger signed the checkpoint with its Ed25519 key 2540cd48.
  - hanse.example/ledger signed the checkpoint with its ML-DSA-44 key 9659175b at 2026-11-18T11:06:40.000Z.
  - The decision is entry 10 of the 23 that hanse.example/ledger holds.
  - The order is entry 11 of the 23 that hanse.example/ledger holds.
  - The report is entry 12 of the 23 that hanse.example/ledger holds.
  - A trusted controller signed decision plan-7, the order and the intake of the report.
  - Node berlin-0 signed the report with the key that the controller holds for it.
  - The order names plan plan-7, which is the decision's.
  - The report answers order {order}, for the same node, instance, workload and generation.
  - The order puts the node at site berlin in DE, run by hansecloud.
  - The order was issued 2026-11-18T11:05:50.000Z and granted until 2026-11-19T11:06:40.000Z.
  - The sealed order is included; digest, signature, fields and facts are those of the logged order.
  - The decision placed clinic.triage.0.7 on berlin-0 (placement 0 of 3), for the reasons shown.
Grounds on which policy allowed this node:
  - health data of EEA subjects stays in the EEA here [gdpr.location; GDPR Art. 44]
Not proved:
  - That the node told the truth: the report is its word, and the key is the one its controller holds for it.
  - Where the node stands and who controls it: the facts are those the controller had, at the grade they had.
  - That nothing else ran there, or that no other receipt for this instance exists.
  - That the log shows everyone the same: no witness outside the log's own keys has cosigned it."""


def problems(data: bytes, now: WallTime = NOW) -> tuple[Problem, ...]:
    verdict = verify_receipt(data, policy(), now)
    assert not isinstance(verdict, Verified)
    return verdict


def only(data: bytes) -> str:
    (problem,) = problems(data)
    return str(problem)


def edited(**changes: Any) -> bytes:
    """The sample with whole fields replaced, in canonical spelling."""
    record = json.loads(sample())
    record.update(changes)
    return (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def test_the_verdict_on_a_true_receipt_reads_like_this() -> None:
    from hanse.wire.canonical import digest_bytes

    verdict = verify_receipt(sample(), policy(), NOW)
    assert explain_verdict(verdict) == GOLDEN.format(order=digest_bytes(sealed_order()))


def test_what_was_verified_is_there_to_use() -> None:
    verdict = verify_receipt(sample(), policy(), NOW)
    assert isinstance(verdict, Verified)
    assert (verdict.origin, verdict.size, verdict.plan, verdict.node) == (ORIGIN, 23, "plan-7", "berlin-0")
    assert (verdict.site, verdict.country, verdict.operator) == ("berlin", "DE", "hansecloud")
    assert (verdict.instance, verdict.phase) == (INSTANCE, Phase.RUNNING)
    assert verdict.placement is not None
    assert verdict.placement.assignment == plan().assignments[0]


def test_a_receipt_holds_for_years() -> None:
    assert isinstance(verify_receipt(sample(), policy(), WallTime(NOW + 30 * 8_766 * HOUR_US)), Verified)


def test_a_receipt_can_be_described_without_being_believed() -> None:
    text = describe_receipt(sample())
    assert text.startswith("This receipt says (not verified):")
    assert "because of: operator nimbus came under US control" in text
    assert "berlin-0: running since 2026-11-18T11:06:00.000Z" in text


def test_each_part_is_a_tlog_proof_of_its_own() -> None:
    receipt = read_receipt(sample())
    for at, part in enumerate((receipt.decision, receipt.order, receipt.report)):
        proof = parse_proof(part.proof.encode())
        assert proof.index == 10 + at
        assert len(proof.encode()) - len(proof.checkpoint) < 700


def test_erased_bodies_leave_the_proof_intact_and_are_told() -> None:
    verdict = verify_receipt(bundle(story(), is_whole=False), policy(), NOW)
    assert isinstance(verdict, Verified)
    assert "the sealed order is not included, only its digest" in verdict.caveats[-2]
    assert "the placement's reasons are not included" in verdict.caveats[-1]


def test_entries_in_another_order_are_told() -> None:
    decision, order, report = story()
    data = bundle((order, decision, report))
    record = json.loads(data)
    record["decision"], record["order"] = record["order"], record["decision"]
    swapped = (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    verdict = verify_receipt(swapped, policy(), NOW)
    assert isinstance(verdict, Verified)
    assert any("came before the act" in caveat for caveat in verdict.caveats)


def test_a_reformatted_receipt_is_refused() -> None:
    assert edited() == sample()
    assert "canonical spelling" in only(sample()[:-1])
    assert "canonical spelling" in only(json.dumps(json.loads(sample())).encode())


@pytest.mark.parametrize(
    ("order", "report", "why"),
    [
        ({"plan": PlanId("plan-6")}, {}, "order: its plan is 'plan-6', but the decision says 'plan-7'"),
        ({}, {"order_digest": "sha256:" + "0" * 64}, "report: its order_digest is"),
        ({}, {"node": NodeId("lyon-1")}, "report: its node is 'lyon-1', but the order says 'berlin-0'"),
        ({}, {"instance": "clinic.triage.1.7"}, "report: its instance is"),
        ({}, {"generation": 2}, "report: its generation is 2, but the order says 1"),
        ({}, {"artifact": "sha256:" + "0" * 64}, "report: its artifact is"),
        ({}, {"since_us": NOW + 24 * HOUR_US}, "running under an order that had expired"),
        ({"issued_us": NOW + HOUR_US}, {}, "order: it is dated 2026-11-18T12:06:40.000Z, which is in the future"),
    ],
)
def test_links_that_do_not_hold_are_named(order: dict[str, Any], report: dict[str, Any], why: str) -> None:
    sealed = sealed_order(**order)
    entries = story(sealed, sealed_report(sealed, **report))
    found = problems(bundle(entries, order=sealed))
    assert any(why in str(problem) for problem in found), found


def test_a_stopped_instance_may_outlive_its_order() -> None:
    sealed = sealed_order(expires_us=WallTime(NOW - HOUR_US))
    entries = story(sealed, sealed_report(sealed, phase=Phase.STOPPED))
    assert isinstance(verify_receipt(bundle(entries, order=sealed), policy(), NOW), Verified)


def test_a_controller_that_the_policy_does_not_name_counts_for_nothing() -> None:
    stranger = load_policy(policy_text(LOG_KEYS[0], LOG_KEYS[1:], [STRANGER.public_key]))
    verdict = verify_receipt(sample(), stranger, NOW)
    assert explain_verdict(verdict).startswith("NOT VERIFIED: 1 problem\n  - decision: no trusted signature")


def test_a_policy_without_controllers_verifies_nothing() -> None:
    nobody = load_policy(policy_text(LOG_KEYS[0], LOG_KEYS[1:], []))
    verdict = verify_receipt(sample(), nobody, NOW)
    assert "it names no controller" in explain_verdict(verdict)


def test_a_report_that_the_node_did_not_sign_is_caught() -> None:
    """A controller could log a forged report; the node's own signature is checked all the same."""
    import base64

    forged = ReceiptTaken(
        node=NodeId("berlin-0"),
        node_key=base64.b64encode(NODE.public_key).decode(),
        report=sealed_report(sealed_order(), STRANGER).decode(),
    )
    entry = statement.seal_statement("report/x", Digest("sha256:" + "0" * 64), forged, CONTROLLER)
    decision, order, _ = story()
    assert "report: no trusted signature on application/vnd.hanse.report.v1+json" in only(
        bundle((decision, order, entry))
    )


def test_another_sealed_order_is_caught() -> None:
    assert only(edited(sealed_order=sealed_order(generation=2).decode())) == (
        "order: the sealed order is not the one whose digest was logged"
    )


def test_the_placement_of_another_instance_is_caught() -> None:
    record = json.loads(sample())
    shown = json.loads(bundle(story()))["placement"]
    assert record["placement"] == shown
    from hanse.ledger import show_placement

    other = show_placement(plan(), plan().assignments[1].instance)
    moved = {"placement": other.placement, "index": other.index, "hashes": list(other.hashes)}
    assert only(edited(placement=moved)) == "placement: it is that of clinic.triage.1.7 on berlin-1"


def test_parts_from_two_checkpoints_are_caught() -> None:
    other = json.loads(bundle(story(), filler=30))
    assert only(edited(order=other["order"])) == "order: its proof carries another checkpoint than the rest"


def test_a_classical_policy_is_enough_where_the_auditor_says_so() -> None:
    classical = load_policy(policy_bytes(LOG_KEYS[:1]))
    verdict = verify_receipt(sample(), classical, NOW)
    assert isinstance(verdict, Verified)
    assert not any("ML-DSA" in sentence for sentence in verdict.checks)
