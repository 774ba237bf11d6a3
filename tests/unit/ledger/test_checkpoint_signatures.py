"""Checkpoints and the signatures on them: bytes that are signed, and what is refused."""

from __future__ import annotations

import base64

import pytest
from ledger_kit import LOG_KEYS, LOG_SIGNERS, NOW, ORIGIN, EdSigner, PqSigner

from hanse.core.time import US_PER_S
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import cosign, cosigned_message, sign_checkpoint, verify_lines
from hanse.ledger.errors import LedgerFormatError, NoteError
from hanse.ledger.note import Note, SignatureType, VerifierKey, parse

ROOT = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
BEHIND = Checkpoint(origin="example.com/behind-the-sofa", size=20_852_163, root=ROOT)
W1 = VerifierKey(
    name="witness.example.com/w1", type=SignatureType.ED25519_COSIGNATURE, public_key=EdSigner(9).public_key
)


def test_the_checkpoint_of_the_standard() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert parse_checkpoint(text) == BEHIND
    assert BEHIND.text == text


def test_the_ed25519_message_of_the_standard() -> None:
    assert cosigned_message(W1, BEHIND, 1_679_315_147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_the_ml_dsa_44_message_is_the_structure_of_the_standard() -> None:
    key = VerifierKey(name="w", type=SignatureType.ML_DSA_44_COSIGNATURE, public_key=PqSigner(9).public_key)
    assert cosigned_message(key, BEHIND, 0x0102).hex(" ") == " ".join([
        b"subtree/v1\n\0".hex(" "), "01", b"w".hex(" "), "00 00 00 00 00 00 01 02",
        "1b", b"example.com/behind-the-sofa".hex(" "), "00 " * 7 + "00", "00 00 00 00 01 3e 2d c3", ROOT.hex(" "),
    ])  # fmt: skip


def test_the_log_signs_with_both_algorithms() -> None:
    checkpoint = Checkpoint(origin=ORIGIN, size=3, root=ROOT)
    note = parse(sign_checkpoint(checkpoint, LOG_SIGNERS, NOW))
    held = verify_lines(note, LOG_KEYS)
    assert [line.key for line in held] == list(LOG_KEYS)
    assert [line.at_us for line in held] == [None, NOW // US_PER_S * US_PER_S]
    assert [len(line.signature) for line in note.signatures] == [64, 8 + 2_420]


def test_an_ed25519_witness_is_verified() -> None:
    line = cosign(BEHIND, W1.name, EdSigner(9), NOW)
    note = Note(text=BEHIND.text, signatures=(line,))
    assert [held.key for held in verify_lines(note, [W1])] == [W1]


def test_an_unknown_key_is_ignored_even_under_a_known_name() -> None:
    line = cosign(BEHIND, W1.name, EdSigner(8), NOW)
    assert verify_lines(Note(text=BEHIND.text, signatures=(line,)), [W1]) == ()


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("byte", [0, 7, 8, 40, -1])
def test_a_known_key_whose_line_fails_condemns_the_note(at: int, byte: int) -> None:
    checkpoint = Checkpoint(origin=ORIGIN, size=3, root=ROOT)
    note = parse(sign_checkpoint(checkpoint, LOG_SIGNERS, NOW))
    line = note.signatures[at]
    changed = bytearray(line.signature)
    changed[byte] ^= 1
    bad = type(line)(name=line.name, key_id=line.key_id, signature=bytes(changed))
    lines = tuple(bad if other is line else other for other in note.signatures)
    with pytest.raises(NoteError, match=LOG_KEYS[at].id.hex()):
        verify_lines(Note(text=note.text, signatures=lines), LOG_KEYS)


def test_no_line_holds_for_another_checkpoint() -> None:
    note = parse(sign_checkpoint(Checkpoint(origin=ORIGIN, size=3, root=ROOT), LOG_SIGNERS, NOW))
    other = Checkpoint(origin=ORIGIN, size=4, root=ROOT)
    for key in LOG_KEYS:
        with pytest.raises(NoteError, match="does not hold"):
            verify_lines(Note(text=other.text, signatures=note.signatures), [key])


def test_an_ml_dsa_44_line_does_not_hold_under_another_name() -> None:
    checkpoint = Checkpoint(origin=ORIGIN, size=3, root=ROOT)
    line = cosign(checkpoint, "witness.example/a", PqSigner(9), NOW)
    other = VerifierKey(
        name="witness.example/b", type=SignatureType.ML_DSA_44_COSIGNATURE, public_key=PqSigner(9).public_key
    )
    renamed = type(line)(name=other.name, key_id=other.id, signature=line.signature)
    with pytest.raises(NoteError, match="does not hold"):
        verify_lines(Note(text=checkpoint.text, signatures=(renamed,)), [other])


@pytest.mark.parametrize(
    "text",
    [
        "", "a\n", "a\n1\n", "\n1\n" + "A" * 43 + "=\n", "a\n01\n" + "A" * 43 + "=\n", "a\n-1\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n", "a\n1\n" + "A" * 43 + "=\nextension\n", "a\n1\n" + "A" * 43 + "=",
        "a\n\u0661\n" + "A" * 43 + "=\n", "a\n9223372036854775808\n" + "A" * 43 + "=\n",
    ],
)  # fmt: skip
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(LedgerFormatError):
        parse_checkpoint(text)
