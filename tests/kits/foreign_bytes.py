"""Every parser of foreign bytes, with bytes that it reads: for hypothesis in the suite, for atheris under `make fuzz`.

One rule for all: bytes are read or refused by name (a HanseError), never anything else; and what was read has no other
spelling. NATS JWTs are not here: we write them and only the server reads.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from evidence_kit import NOW as QUOTED
from evidence_kit import SHARED, milan, tpm
from evidence_kit import sample as evidence_sample
from ledger_kit import LOG_KEYS, LOG_SIGNERS, NOW, ORIGIN, policy_bytes, sample, sealed_order, sealed_report, story
from oidc_kit import ISSUER, claims, key_set, ring, rsa_key, signed
from oidc_kit import NOW as SIGNED

from hanse.attest import certificates, event_log, intel, snp, tpm_structs
from hanse.attest import tpm as tpm_verifier
from hanse.attest.evidence import read_evidence, read_identity
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.identity import issue_svid, key_from_secret, make_csr, make_root, nkey_from_secret, node_id, verify_svid
from hanse.identity.api_token import api_token_name
from hanse.identity.authority import requested_key
from hanse.identity.nats_jwt import nkey_from_seed, public_bytes
from hanse.identity.oidc import parse_keys, parse_provider, verify_token
from hanse.identity.pkcs11_uri import parse_pkcs11_uri
from hanse.identity.sealing import seal_to, sealing_key
from hanse.identity.spiffe import parse as parse_spiffe
from hanse.identity.verify import expiry_of
from hanse.ledger import LedgerFormatError, tree
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import sign_checkpoint, verify_lines
from hanse.ledger.gap import verify_gap_proof, write_gap_proof
from hanse.ledger.mirror import MirrorInfo, Package, Upload, parse_info, read_package, read_upload
from hanse.ledger.note import parse as parse_note
from hanse.ledger.note import parse_lines, parse_vkey
from hanse.ledger.proof import TlogProof, parse_proof
from hanse.ledger.quorum import judge, load_policy
from hanse.ledger.receipt import read_receipt
from hanse.ledger.statement import peek_statement
from hanse.ledger.tiles import decode_bundle, encode_bundle, parse_path
from hanse.ledger.witness import Asked, judge_request, parse_cosignatures, parse_request
from hanse.wire import canonical, envelope, messages
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


TOKEN = signed(claims())
SEALING = sealing_key(b"\x07" * 96)
PACKAGE = Package(entries=(b"one", b"two"), proof=(LEAVES[0],))
MAKER, CHIP = tpm()
QUOTE = CHIP.quote(b"n" * 32)
IDENTITY = CHIP.identity_now()
ANCHORS = {MAKER.anchor.fingerprint: MAKER.anchor.name}
PLATFORM = tpm_verifier.read_platform(IDENTITY, ANCHORS, QUOTED)
PROVIDER = json.dumps({"issuer": ISSUER.issuer, "jwks_uri": "https://id.example.org/jwks"}).encode()
FRAMES = tuple(
    kind
    for _, kind in sorted(vars(messages).items())
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag
)
"""Every message that has a tag of its own: all that the substrate carries."""


def _decode(kind: type[msgspec.Struct], data: bytes) -> object:
    return canonical.decode(data, kind)


def _blank(kind: type[msgspec.Struct]) -> bytes:
    """The beginning of such a message: its tag and its fields, all null."""
    names = dict.fromkeys(kind.__struct_encode_fields__)
    return json.dumps({"type": kind.__struct_config__.tag, **names}, separators=(",", ":")).encode()


MORE: Mapping[str, Case] = {
    "cosignatures": Case(parse_cosignatures, LINES),
    "mirror upload": Case(read_upload, Upload(origin=ORIGIN, start=3, end=5, ticket=b"t").encode()),
    "mirror package": Case(lambda data: read_package(data, 2), PACKAGE.encode()),
    "mirror info": Case(parse_info, MirrorInfo(size=5, next_entry=3, ticket=b"t").encode()),
    "gap proof": Case(
        lambda data: verify_gap_proof(data, load_policy(policy_bytes()), NOW),
        write_gap_proof(b"", NOTE, [], [b"a", b"b"]),
    ),
    "api token": Case(text(api_token_name), b"hanse-api-ci.c2VjcmV0"),
    "user token": Case(text(lambda token: verify_token(token, ISSUER, ring(), SIGNED)), TOKEN.encode()),
    "key set": Case(parse_keys, key_set(rsa_key())),
    "discovery document": Case(lambda data: parse_provider(data, ISSUER.issuer), PROVIDER),
    "SPIFFE ID": Case(text(parse_spiffe), b"spiffe://hanse.local/node/berlin-1"),
    "PKCS#11 URI": Case(
        text(parse_pkcs11_uri), b"pkcs11:token=hanse;object=root?module-path=/usr/lib/x.so&pin-source=/p"
    ),
    "sealed value": Case(lambda data: SEALING.open(data, b"info"), seal_to(SEALING.public, b"value", b"info")),
    "evidence": Case(read_evidence, msgspec.json.encode(QUOTE)),
    "TPM identity": Case(read_identity, canonical.encode(IDENTITY)),
    "TPM platform": Case(
        lambda data: tpm_verifier.read_platform(read_identity(data), ANCHORS, QUOTED), canonical.encode(IDENTITY)
    ),
    "TPM quote": Case(tpm_structs.read_quote, QUOTE.attest),
    "TPM signature": Case(tpm_structs.read_signature, QUOTE.signature),
    "TPM public area": Case(tpm_structs.read_public, IDENTITY.ak_public),
    "TPM event log": Case(event_log.read_log, QUOTE.event_log),
    "TPM evidence": Case(
        lambda data: tpm_verifier.verify_tpm(msgspec.structs.replace(QUOTE, attest=data), PLATFORM, b"n" * 32),
        QUOTE.attest,
    ),
    "DER certificate": Case(lambda data: certificates.load_der(data, "a certificate"), IDENTITY.ek_certificate),
    **{f"frame {kind.__name__}": Case(functools.partial(_decode, kind), _blank(kind)) for kind in FRAMES},
}

NEEDS_SHARED: Mapping[str, Callable[[], Case]] = {
    "SNP report": lambda: Case(snp.read_report, milan().report),
    "SNP evidence": lambda: Case(
        lambda data: snp.verify_snp(msgspec.structs.replace(milan(), report=data), b"\0" * 64, {}, QUOTED),
        milan().report,
    ),
    "Intel quote": lambda: Case(intel.read_body, evidence_sample("tdx/tdx_quote")),
    "SGX quote": lambda: Case(intel.read_body, evidence_sample("sgx/sgx_quote")),
    "Intel quote and collateral": lambda: Case(
        lambda data: intel.verify_quote(data, (SHARED / "tdx/tdx_quote_collateral.json").read_text(), QUOTED),
        evidence_sample("tdx/tdx_quote"),
    ),
    "Intel collateral": lambda: Case(
        text(lambda given: intel.verify_quote(evidence_sample("tdx/tdx_quote"), given, QUOTED)),
        (SHARED / "tdx/tdx_quote_collateral.json").read_bytes(),
    ),
    "TEE event log": lambda: Case(event_log.read_log, evidence_sample("tdx/trustee/CCEL_data_ovmf")),
}


def every_case() -> dict[str, Case]:
    """All of them, those whose samples are shared only where these are at hand."""
    shared = {name: make() for name, make in NEEDS_SHARED.items()} if SHARED.is_dir() else {}
    return {**CASES, **MORE, **shared}


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
