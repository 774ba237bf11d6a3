"""Signed notes: published examples, strict parsing, and key IDs."""

from __future__ import annotations

import pytest
from ledger_kit import EdSigner

from hanse.ledger.errors import NoteError
from hanse.ledger.note import Note, SignatureType, VerifierKey, parse, parse_vkey, sign, verify

# The verifier key of C2SP signed-note, and the example of golang.org/x/mod/sumdb/note.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
SALVATORE = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)


def test_the_verifier_key_of_the_standard() -> None:
    key = parse_vkey(C2SP_VKEY)
    assert (key.name, key.id.hex(), key.type) == ("example.com/foo", "530d903a", SignatureType.ED25519)
    assert key.vkey == C2SP_VKEY


def test_the_signature_of_the_go_example_holds() -> None:
    note, key = parse(GO_NOTE.encode()), parse_vkey(GO_VKEY)
    (line,) = note.signatures
    assert line.is_by(key)
    verify(note.text, line, key)
    with pytest.raises(NoteError, match="PeterNeumann"):
        verify(note.text.replace("answer", "Answer"), line, key)


def test_the_text_may_hold_empty_lines() -> None:
    note = parse(SALVATORE.encode())
    assert note.text.endswith("ed è subito sera.\n")
    assert note.encode() == SALVATORE.encode()


def test_sixteen_signatures_are_accepted() -> None:
    lines = tuple(sign("text\n", f"example.com/{at}", EdSigner(at)) for at in range(16))
    note = Note(text="text\n", signatures=lines)
    assert parse(note.encode()) == note


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no signature"),
        (b"text\n", "no signature"),
        (b"text\n\n", "no signature"),
        (b"\n\n\xe2\x80\x94 a AAAAAAA=\n", "no signature"),
        ("text\n\n— a AAAAAAA=".encode(), "no signature"),
        (b"text\n\n- a AAAAAAA=\n", "not a signature line"),
        ("text\n\n— a  AAAAAAA=\n".encode(), "not base64"),
        ("text\n\n— a AAAAAAB=\n".encode(), "not canonical"),
        ("text\n\n— a AAAAAAA\n".encode(), "not base64"),
        ("text\n\n— a AAAAAA==\n".encode(), "too short"),
        ("text\n\n— a+b AAAAAAA=\n".encode(), "key name"),
        ("text\n\n— a\u00a0b AAAAAAA=\n".encode(), "key name"),
        ("te\txt\n\n— a AAAAAAA=\n".encode(), "control"),
        ("text\r\n\n— a AAAAAAA=\n".encode(), "control"),
        (b"te\xff\n\n\xe2\x80\x94 a AAAAAAA=\n", "UTF-8"),
        (("text\n\n" + "— a AAAAAAA=\n" * 65).encode(), "65 signatures"),
        (b"x" * (256 * 1024 + 1), "limit"),
    ],
)
def test_what_is_not_a_note_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        parse(data)


@pytest.mark.parametrize(
    ("vkey", "why"),
    [
        (C2SP_VKEY.replace("530d903a", "530d903b"), "key ID"),
        (C2SP_VKEY.replace("530d903a", "530D903A"), "key ID"),
        ("example.com/foo+530d903a+AqkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "unknown signature type"),
        ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv", "bytes instead of 32"),
        ("example.com/foo", "unknown signature type"),
        ("+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "key name"),
    ],
)
def test_what_is_not_a_verifier_key_is_refused(vkey: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        parse_vkey(vkey)


def test_one_key_has_another_id_in_each_of_its_parts() -> None:
    public_key = EdSigner(1).public_key
    kinds = (SignatureType.ED25519, SignatureType.ED25519_COSIGNATURE)
    ids = {VerifierKey(name="example.com/a", type=kind, public_key=public_key).id for kind in kinds}
    assert len(ids) == 2
