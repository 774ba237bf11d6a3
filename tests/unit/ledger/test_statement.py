"""Ledger entries: in-toto statements in DSSE, what gets in and what must not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from ledger_kit import CONTROLLER, INSTANCE, NODE, NOW, STRANGER, plan, sealed_order, sealed_report, story

from hanse.core.errors import SignatureError, WireError
from hanse.core.ids import Digest
from hanse.ledger import EntryTooLarge, LedgerFormatError, statement
from hanse.ledger.predicates import Decision, FactChange, OrderIssued, ReceiptTaken, SpecChange, UserAction
from hanse.ledger.statement import expect, open_statement, peek_statement
from hanse.wire import canonical, envelope

TRUSTED = {CONTROLLER.key_id: CONTROLLER.public_key}
DIGEST = Digest("sha256:" + "cd" * 32)


def test_an_entry_is_an_in_toto_statement_in_dsse() -> None:
    sealed = sealed_order()
    outer = json.loads(statement.order(sealed, CONTROLLER))
    assert outer["payloadType"] == "application/vnd.in-toto+json"
    inner = json.loads(base64.b64decode(outer["payload"]))
    assert inner["_type"] == "https://in-toto.io/Statement/v1"
    assert inner["predicateType"] == "https://hanse.dev/ledger/order/v1"
    digest = canonical.digest_bytes(sealed)
    assert inner["subject"] == [{"name": f"order/{INSTANCE}/1", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    assert inner["predicate"]["order"] == digest


def test_each_kind_is_read_back() -> None:
    facts = FactChange(subject="operator/nimbus", before=None, after=DIGEST, grade=2, effective_us=NOW)
    spec = SpecChange(kind="Function", name="clinic.triage", generation=2, before=DIGEST, after=None, accepted_us=NOW)
    action = UserAction(action="drain", target="node/berlin-0", actor=DIGEST, at_us=NOW)
    entries = [
        *story(),
        statement.fact_change(facts, CONTROLLER),
        statement.spec_change(spec, CONTROLLER),
        statement.user_action(action, CONTROLLER),
    ]
    read = [open_statement(entry, TRUSTED) for entry in entries]
    kinds = [Decision, OrderIssued, ReceiptTaken, FactChange, SpecChange, UserAction]
    assert [type(item.predicate) for item in read] == kinds
    assert {item.key_id for item in read} == {CONTROLLER.key_id}
    assert [item.predicate for item in read[3:]] == [facts, spec, action]
    assert [peek_statement(entry).predicate for entry in entries] == [item.predicate for item in read]


def test_the_same_act_yields_the_same_bytes() -> None:
    """What lets a controller append again after a crash without a second entry."""
    assert story() == story()


def test_a_strangers_signature_does_not_count() -> None:
    with pytest.raises(SignatureError):
        open_statement(statement.order(sealed_order(), STRANGER), TRUSTED)


def test_a_report_that_the_node_did_not_sign_is_not_logged() -> None:
    forged = sealed_report(sealed_order(), STRANGER)
    with pytest.raises(SignatureError):
        statement.receipt(forged, NODE.public_key, CONTROLLER)


def test_an_entry_of_another_kind_is_named() -> None:
    with pytest.raises(LedgerFormatError, match="of kind order/v1, not decision/v1"):
        expect(open_statement(story()[1], TRUSTED), Decision)


def test_another_payload_type_is_no_entry() -> None:
    with pytest.raises(WireError, match="order"):
        open_statement(sealed_order(), TRUSTED)


def test_an_unknown_predicate_is_refused() -> None:
    payload = b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"x","subject":[{"name":"a","digest":{}}]}'
    entry = envelope.wrap(payload, statement.PAYLOAD_TYPE, CONTROLLER)
    with pytest.raises(LedgerFormatError, match="unknown kind of entry: 'x'"):
        open_statement(entry, TRUSTED)


def test_a_users_name_cannot_get_into_the_log() -> None:
    action = UserAction(action="drain", target="node/berlin-0", actor=Digest("erika.mustermann"), at_us=NOW)
    with pytest.raises(WireError, match="digest"):
        statement.user_action(action, CONTROLLER)


def test_an_entry_holds_nothing_of_the_workloads_environment() -> None:
    assert all(b"MODE" not in base64.b64decode(json.loads(entry)["payload"]) for entry in story())


def test_a_decision_does_not_grow_with_its_plan() -> None:
    small, large = (statement.decision(plan(count), DIGEST, CONTROLLER) for count in (1, 500))
    assert abs(len(large) - len(small)) < 16


def test_an_entry_over_the_limit_is_refused() -> None:
    huge = replace(plan(), trigger="x" * 65_535)
    with pytest.raises(EntryTooLarge, match="65535"):
        statement.decision(huge, DIGEST, CONTROLLER)
