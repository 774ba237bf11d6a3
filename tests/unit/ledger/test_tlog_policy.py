"""tlog-policy files and what they demand of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_kit import CONTROLLER, LOG_KEYS, LOG_SIGNERS, NOW, ORIGIN, EdSigner, policy, policy_bytes

from hanse.core.ports import Signer
from hanse.core.time import HOUR_US, WallTime
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import cosign, sign_checkpoint
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import Note, SignatureType, VerifierKey, parse
from hanse.ledger.quorum import Accepted, Refused, judge, load_policy

CHECKPOINT = Checkpoint(origin=ORIGIN, size=3, root=b"r" * 32)
NOTE = sign_checkpoint(CHECKPOINT, LOG_SIGNERS, NOW)
LOG = f"log {LOG_KEYS[0].vkey}\n"


def witness(seed: int, signer: Callable[[int], Signer] = EdSigner) -> VerifierKey:
    made = signer(seed)
    kind = SignatureType.ED25519_COSIGNATURE if signer is EdSigner else SignatureType.ML_DSA_44_COSIGNATURE
    return VerifierKey(name=f"witness.example/{seed}", type=kind, public_key=made.public_key)


def cosigned(*seeds: int) -> bytes:
    note = parse(NOTE)
    lines = tuple(cosign(CHECKPOINT, f"witness.example/{seed}", EdSigner(seed), NOW) for seed in seeds)
    return Note(text=note.text, signatures=(*note.signatures, *lines)).encode()


def test_the_written_policy_is_read_back() -> None:
    read = policy()
    assert read.logs == LOG_KEYS[:1]
    assert read.witnesses == {f"{ORIGIN}:ml-dsa-44": LOG_KEYS[1]}
    assert read.quorum == f"{ORIGIN}:ml-dsa-44"
    assert read.controllers == (CONTROLLER.public_key,)


def test_both_lines_of_the_log_are_demanded() -> None:
    assert isinstance(judge(policy(), NOTE, NOW), Accepted)
    for kept, lacking in ((0, "ML-DSA-44"), (1, "Ed25519")):
        alone = sign_checkpoint(CHECKPOINT, LOG_SIGNERS[kept : kept + 1], NOW)
        judged = judge(policy(), alone, NOW)
        assert isinstance(judged, Refused)
        assert f"{lacking} key {LOG_KEYS[1 - kept].id.hex()}" in judged.reasons[0]


def test_a_classical_policy_needs_one_line_only() -> None:
    assert isinstance(judge(load_policy(policy_bytes(LOG_KEYS[:1])), NOTE, NOW), Accepted)


def test_the_groups_of_the_standard() -> None:
    """Two of three X-witnesses and any Y-witness, as in the standard's example."""
    lines = "".join(f"witness w{seed} {witness(seed).vkey} https://w.example/\n" for seed in range(10, 15))
    text = f"# comment\n\n\t{LOG}{lines}group X 2 w10 w11 w12\ngroup Y any w13 w14\ngroup both all X Y\nquorum both\n"
    read = load_policy(text.encode())
    assert isinstance(judge(read, cosigned(10, 12, 14), NOW), Accepted)
    judged = judge(read, cosigned(10, 13, 14), NOW)
    assert isinstance(judged, Refused)
    assert judged.reasons[:2] == ("group both needs 2 of 2 and has 1", "group X needs 2 of 3 and has 1")
    assert any("w11" in reason for reason in judged.reasons)


def test_another_log_is_not_believed() -> None:
    other = Checkpoint(origin="hanse.example/other", size=3, root=b"r" * 32)
    judged = judge(policy(), sign_checkpoint(other, LOG_SIGNERS, NOW), NOW)
    assert isinstance(judged, Refused)
    assert "'hanse.example/other', which the policy does not name" in judged.reasons[0]


def test_a_checkpoint_from_the_future_is_refused() -> None:
    judged = judge(policy(), NOTE, WallTime(NOW - HOUR_US))
    assert isinstance(judged, Refused)
    assert "in the future" in judged.reasons[0]


def test_a_timestamp_beyond_all_calendars_is_refused_not_a_crash() -> None:
    late = sign_checkpoint(CHECKPOINT, LOG_SIGNERS, WallTime((2**63 - 1) * 1_000_000))
    assert isinstance(judge(policy(), late, NOW), Refused)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no quorum"),
        (LOG, "no quorum"),
        ("quorum none", "does not end"),
        ("quorum none\nquorum none\n", "line 2: a second quorum"),
        ("quorum w\n", "not defined"),
        ("group g all w\nquorum g\n", "which no line before defines"),
        (f"witness none {witness(1).vkey}\nquorum none\n", "is taken"),
        (f"witness w {witness(1).vkey}\nwitness v {witness(1).vkey}\nquorum none\n", "given twice"),
        (f"witness w {witness(1).vkey}\ngroup g 2 w\nquorum g\n", "asks for '2' of 1"),
        (f"witness w {witness(1).vkey}\ngroup g 0 w\nquorum g\n", "asks for '0' of 1"),
        (f"witness w {witness(1).vkey}\ngroup g any w\ngroup h any w\nquorum h\n", "member of a group already"),
        (LOG + LOG + "quorum none\n", "line 2: the key of log"),
        (f"log {witness(1).vkey}\nquorum none\n", "cannot take this part"),
        (f"witness w {LOG_KEYS[0].vkey}\nquorum w\n", "cannot take this part"),
        ("quorum none\r\n", "control character"),
        ("quorom none\n", "line 1: not understood"),
        ("#controller\nquorum none\n", "takes one key"),
        ("#controller AAAA\nquorum none\n", "32 bytes"),
    ],
)
def test_what_is_not_a_policy_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(LedgerFormatError, match=why):
        load_policy(text.encode())
