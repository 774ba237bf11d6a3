"""Every parser of foreign bytes under mutation: it reads or refuses by name, never crashes, and has one spelling.

Samples are real; mutations flip, cut, double and splice them, so that they get past the first check. Bytes that once
broke a parser are kept in `FOUND` and run for ever. NATS JWTs are not here: we write them and only the server reads.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import LOG_KEYS, LOG_SIGNERS, NOW, ORIGIN, policy_bytes, sample, sealed_order, sealed_report, story

from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.identity import issue_svid, key_from_secret, make_csr, make_root, nkey_from_secret, node_id, verify_svid
from hanse.identity.authority import requested_key
from hanse.identity.nats_jwt import nkey_from_seed, public_bytes
from hanse.identity.verify import expiry_of
from hanse.ledger import LedgerFormatError, tree
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import sign_checkpoint, verify_lines
from hanse.ledger.note import parse as parse_note
from hanse.ledger.note import parse_lines, parse_vkey
from hanse.ledger.proof import TlogProof, parse_proof
from hanse.ledger.quorum import judge, load_policy
from hanse.ledger.receipt import read_receipt
from hanse.ledger.statement import peek_statement
from hanse.ledger.tiles import decode_bundle, encode_bundle, parse_path
from hanse.ledger.witness import Asked, judge_request, parse_request
from hanse.wire import canonical, envelope
from hanse.wire.messages import JoinRequest, JoinResponse, Order, Report, Revocations

Parser = Callable[[bytes], object]

CA_KEY = key_from_secret(b"\x01" * 48)
CA = make_root(CA_KEY, "hanse.local", NOW, 1)
NAME = node_id("hanse.local", NodeId("berlin-1"))
CSR = make_csr(key_from_secret(b"\x02" * 48))
CHAIN = issue_svid(CSR, NAME, ca_key=CA_KEY, ca_cert=CA, now=NOW, serial=7)
NKEY = nkey_from_secret("user", b"\x03" * 32)
LEAVES = [tree.hash_leaf(bytes([number])) for number in range(5)]
CHECKPOINT = Checkpoint(origin=ORIGIN, size=5, root=tree.root_of(LEAVES))
NOTE = sign_checkpoint(CHECKPOINT, LOG_SIGNERS, NOW)
PROOF = TlogProof(index=2, hashes=tuple(LEAVES[:3]), checkpoint=NOTE).encode()
ASKED = Asked(old=3, proof=tuple(LEAVES[:2]), note=NOTE).encode()
LINES = NOTE.rpartition(b"\n\n")[2]


@dataclass(frozen=True)
class Case:
    """One parser, bytes that it reads, and how what it read is spelled again (None: it is read, never written)."""

    read: Parser
    sample: bytes
    spell: Callable[[object], bytes] | None = None


def text(read: Callable[[str], object]) -> Parser:
    """A parser of text: its callers have decoded the bytes it gets, strictly."""

    def decoded(data: bytes) -> object:
        try:
            return read(data.decode())
        except UnicodeDecodeError as error:
            raise LedgerFormatError("not UTF-8") from error

    return decoded


@functools.cache
def bundle_pem() -> bytes:
    from cryptography.hazmat.primitives import serialization

    return CA.public_bytes(serialization.Encoding.PEM)


CASES: Mapping[str, Case] = {
    "note": Case(parse_note, NOTE, lambda note: note.encode()),  # type: ignore[attr-defined]
    "note lines": Case(lambda data: verify_lines(parse_note(data), LOG_KEYS), NOTE),
    "signature lines": Case(
        parse_lines,
        LINES,
        lambda lines: "".join(line.line for line in lines).encode(),  # type: ignore[attr-defined]
    ),
    "checkpoint": Case(text(parse_checkpoint), CHECKPOINT.text.encode(), lambda read: read.text.encode()),  # type: ignore[attr-defined]
    "judged checkpoint": Case(lambda data: judge(load_policy(policy_bytes()), data, NOW), NOTE),
    "verifier key": Case(text(parse_vkey), LOG_KEYS[1].vkey.encode(), lambda key: key.vkey.encode()),  # type: ignore[attr-defined]
    "policy": Case(load_policy, policy_bytes()),
    "proof": Case(parse_proof, PROOF, lambda proof: proof.encode()),  # type: ignore[attr-defined]
    "witness request": Case(parse_request, ASKED, lambda asked: asked.encode()),  # type: ignore[attr-defined]
    "judged request": Case(lambda data: judge_request(parse_request(data), LOG_KEYS, CHECKPOINT), ASKED),
    "entry bundle": Case(
        lambda data: decode_bundle(data, 3),
        encode_bundle([b"a", b"bc", b""]),
        encode_bundle,  # type: ignore[arg-type]
    ),
    "tile path": Case(text(parse_path), b"tile/0/x001/067.p/112", lambda name: name.path.encode()),  # type: ignore[attr-defined]
    "receipt": Case(read_receipt, sample()),
    "statement": Case(peek_statement, story()[0]),
    "order": Case(lambda data: envelope.peek(data, Order), sealed_order()),
    "report": Case(lambda data: envelope.peek(data, Report), sealed_report(sealed_order())),
    "envelope": Case(lambda data: envelope.open_sealed(data, Revocations, {}), sealed_order()),
    "join request": Case(
        lambda data: canonical.decode(data, JoinRequest), b'{"type":"join.v1","token":"t","csr_pem":"","public_key":""}'
    ),
    "join response": Case(lambda data: canonical.decode(data, JoinResponse), b'{"type":"joined.v1","nats_urls":[]}'),
    "svid chain": Case(lambda data: verify_svid(data, bundle_pem(), NOW, domain="hanse.local"), CHAIN),
    "trust bundle": Case(lambda data: verify_svid(CHAIN, data, NOW, domain="hanse.local"), bundle_pem()),
    "expiry of a chain": Case(expiry_of, CHAIN),
    "certificate request": Case(requested_key, CSR),
    "nkey seed": Case(text(nkey_from_seed), NKEY.seed.encode(), lambda key: key.seed.encode()),  # type: ignore[attr-defined]
    "public nkey": Case(text(lambda key: public_bytes(key, "user")), NKEY.public.encode()),
}

FOUND: tuple[tuple[str, bytes], ...] = ()
"""(parser, bytes) that once ended in anything but a value or a HanseError."""


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """The sample after one to four changes, half of the time inside its base64 or PEM payload's own bytes."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        upto = min(len(data), at + draw(st.integers(1, 40)))
        match draw(st.sampled_from(["flip", "cut", "drop", "double", "splice", "insert"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "drop":
                del data[at:upto]
            case "double":
                data[at:at] = data[at:upto]
            case "splice":
                data[at:upto] = original[-(upto - at) :]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


def check(case: Case, data: bytes) -> None:
    """Read or refuse by name; what was read has no other spelling."""
    try:
        found = case.read(data)
    except HanseError as error:
        assert error.code
        assert error.message
        return
    if case.spell is not None:
        assert case.spell(found) == data


@pytest.mark.parametrize("name", CASES)
def test_the_sample_is_read(name: str) -> None:
    case = CASES[name]
    if name not in ("envelope", "join request", "join response"):
        case.read(case.sample)
    check(case, case.sample)


@pytest.mark.parametrize("name", CASES)
def test_no_mutation_crashes_a_parser_or_is_read_as_something_it_does_not_spell(name: str) -> None:
    case = CASES[name]

    @settings(max_examples=150, deadline=None)
    @given(st.one_of(mutated(case.sample), st.binary(max_size=200)))
    def fuzz(data: bytes) -> None:
        check(case, data)

    fuzz()


@pytest.mark.parametrize("name", ["svid chain", "trust bundle", "certificate request"])
def test_no_mutation_inside_the_der_of_a_certificate_crashes(name: str) -> None:
    """Base64 stops most mutations of a PEM file; these change the DER beneath it."""
    case = CASES[name]
    head, *body, tail = case.sample.strip().split(b"\n")
    der = base64.b64decode(b"".join(body))

    @settings(max_examples=300, deadline=None)
    @given(mutated(der))
    def fuzz(changed: bytes) -> None:
        check(case, head + b"\n" + base64.encodebytes(changed) + tail + b"\n")

    fuzz()


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_stays_mended(name: str, data: bytes) -> None:
    check(CASES[name], data)
