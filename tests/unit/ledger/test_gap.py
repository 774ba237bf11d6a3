"""Proofs that nothing is missing: any stretch of a log is shown whole, and no entry can be left out of it unseen."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import CONTROLLER, LOG_SIGNERS, NOW, ORIGIN, STRANGER, policy

from hanse.core.ids import Digest
from hanse.ledger import LedgerFormatError, Unbroken, explain_gap, is_gap_proof, statement, tree, verify_gap_proof
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import sign_checkpoint
from hanse.ledger.gap import MAX_GAP_ENTRIES, write_gap_proof
from hanse.ledger.predicates import FactChange
from hanse.wire import canonical


def changes(count: int) -> list[bytes]:
    """The story of one fact: each change begins where the last one ended."""
    digests: list[Digest | None] = [None, *(canonical.digest_of(at) for at in range(count))]
    return [
        statement.fact_change(
            FactChange(subject="site/berlin", before=before, after=after, grade=1, effective_us=NOW), CONTROLLER
        )
        for before, after in itertools.pairwise(digests)
    ]


STORY = changes(40)


def note(size: int, entries: list[bytes] | None = None) -> bytes:
    leaves = [tree.hash_leaf(entry) for entry in (entries or STORY)[:size]]
    return sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=tree.root_of(leaves)), LOG_SIGNERS, NOW)


def proof(old: int, new: int, entries: list[bytes] | None = None) -> bytes:
    story = entries or STORY
    read = tree.reader_of([tree.hash_leaf(entry) for entry in story])
    left = [read(*node) for node in tree.nodes_of((0, old))]
    return write_gap_proof(note(old, story) if old else b"", note(new, story), left, story[old:new])


@given(st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_any_stretch_is_proved(one: int, other: int) -> None:
    old, new = sorted((one, other))
    found = verify_gap_proof(proof(old, new), policy(), NOW)
    assert isinstance(found, Unbroken), found
    assert (found.first, found.size, found.kinds) == (old, new, {"FactChange": new - old} if new > old else {})


def edited(first: int, last: int, **parts: Any) -> bytes:
    held = json.loads(proof(first, last))
    return json.dumps({**held, **parts}, sort_keys=True, separators=(",", ":")).encode()


@given(st.integers(0, 30), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_an_entry_left_out_doubled_swapped_or_changed_is_never_accepted(old: int, at: int) -> None:
    entries = [entry.decode() for entry in STORY[old : old + 10]]
    swapped = [*entries]
    swapped[at], swapped[at - 1] = swapped[at - 1], swapped[at]
    wrong = [
        entries[:at] + entries[at + 1 :],
        [*entries[:at], entries[at], *entries[at:]],
        swapped,
        [*entries[:at], entries[at] + " ", *entries[at + 1 :]],
    ]
    for shown in wrong:
        assert isinstance(verify_gap_proof(edited(old, old + 10, entries=shown), policy(), NOW), tuple)


def test_a_rewritten_log_does_not_follow_from_the_checkpoint_that_was_kept() -> None:
    rewritten = [*STORY[:5], *changes(50)[45:], *STORY[10:]]
    data = edited(8, 20, new=note(20, rewritten).decode(), entries=[entry.decode() for entry in rewritten[8:20]])
    found = verify_gap_proof(data, policy(), NOW)
    assert isinstance(found, tuple)
    assert "do not lead to the newer checkpoint" in found[0]


def test_a_chain_with_a_link_missing_is_named() -> None:
    entries = [*STORY[:5], *STORY[6:20]]
    found = verify_gap_proof(proof(0, 19, entries), policy(), NOW)
    assert found == ("entry 5: the change of site/berlin begins from what the log does not say",)


def test_an_entry_that_no_controller_signed_is_named() -> None:
    change = FactChange(subject="site/rome", before=None, after=None, grade=1, effective_us=NOW)
    entries = [*STORY[:3], statement.fact_change(change, STRANGER)]
    found = verify_gap_proof(proof(0, 4, entries), policy(), NOW)
    assert isinstance(found, tuple)
    assert found[0].startswith("entry 3: ")


def test_an_older_checkpoint_that_the_log_did_not_sign_is_refused() -> None:
    leaves = [tree.hash_leaf(entry) for entry in STORY[:5]]
    foreign = sign_checkpoint(Checkpoint(origin=ORIGIN, size=5, root=tree.root_of(leaves)), (STRANGER,), NOW)
    found = verify_gap_proof(edited(5, 9, old=foreign.decode()), policy(), NOW)
    assert found == (f"the older checkpoint is not signed by {ORIGIN}",)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_with_a_sentence(data: bytes) -> None:
    assert isinstance(verify_gap_proof(data, policy(), NOW), tuple)


def test_a_stretch_too_long_for_one_file_is_refused() -> None:
    with pytest.raises(LedgerFormatError, match="too many"):
        write_gap_proof(b"", note(1), (), [b""] * (MAX_GAP_ENTRIES + 1))


def test_it_is_explained() -> None:
    data = proof(10, 12)
    assert is_gap_proof(data)
    assert not is_gap_proof(b'{\n "decision"')
    assert explain_gap(verify_gap_proof(data, policy(), NOW)) == (
        "VERIFIED: nothing is missing from hanse.example/ledger between entry 10 and entry 12\n"
        "Checked:\n"
        "  - the newer checkpoint of 12 entries is signed as the policy asks\n"
        "  - the first 10 entries are those of the older checkpoint, unchanged\n"
        "  - between them stand exactly the 2 entries shown, none more and none less\n"
        "  - each decision names the plan before it, each change of a fact or spec what stood before it\n"
        "Entries between: 2 FactChange\n"
        "Not proved:\n"
        "  - that everything that happened was entered: nodes sign receipts for that"
    )
