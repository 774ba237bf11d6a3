"""Appraise an Intel TDX or SGX quote with its collateral: DCAP, by `dcap-qvl`.

`IntelEvidence, report data, now -> Finding | EvidenceRefused`. The quote's frame and the guest's attributes are read
here (Intel TDX DCAP Quoting Library API, appendix 3; SGX ECDSA QuoteGeneration appendix A); signatures, chains, CRLs
and TCB levels are judged by `dcap-qvl`, a Rust library that is given the time and touches no network in `verify`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hanse.attest import certificates
from hanse.attest.errors import EvidenceRefused, refused
from hanse.attest.event_log import SHA384, read_log, replay
from hanse.attest.evidence import IntelEvidence
from hanse.attest.intel_collateral import next_updates
from hanse.attest.reading import Reader
from hanse.attest.result import AFFIRMING, WARNING, Finding
from hanse.core.time import US_PER_S, WallTime

MAX_QUOTE_BYTES = 32_768
MAX_COLLATERAL_BYTES = 262_144
MAX_PADDING_BYTES = 128
"""Guests hand out the whole buffer that the quoting service filled."""
INTEL_ROOT = "intel"
SGX, TDX = 0x00, 0x81
_SIZES = {(3, SGX): (384, "sgx"), (4, SGX): (384, "sgx"), (4, TDX): (584, "tdx")}
"""(version, TEE type) -> size of the report body. Version 5 says type and size itself."""
_BODIES_V5 = {1: (384, "sgx"), 2: (584, "tdx"), 3: (648, "tdx")}
_ECDSA_P256 = 2
_CERTIFIED_BY_QE_REPORT, _CERTIFIED_BY_CHAIN = 6, 5
_CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_TD_DEBUG = 0xFF
"""TD attributes 0..7 are the TUD group: one of them set means a debuggable TD (TDX module 1.5, table 3.22)."""
_SGX_DEBUG = 0x02
_MRS = ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr.0", "rtmr.1", "rtmr.2", "rtmr.3")
_STATUS = {
    "UpToDate": AFFIRMING,
    "SWHardeningNeeded": WARNING,
    "ConfigurationNeeded": WARNING,
    "ConfigurationAndSWHardeningNeeded": WARNING,
}
"""What a TCB status says about the hardware; those that are missing refuse."""
_FAILURES = (
    ("xpired", "collateral_expired"),
    ("not yet valid", "collateral_expired"),
    ("NotValidYet", "collateral_expired"),
    ("IssuedInFuture", "collateral_expired"),
    ("evoked", "revoked"),
    ("No matching TCB level", "old_tcb"),
    ("ebug", "debug"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What the quoted report says of the guest."""

    kind: str
    report_data: bytes
    is_debug: bool
    claims: Mapping[str, str]
    levels: Mapping[str, int]


def verify_intel(evidence: IntelEvidence, expected: bytes, now: WallTime) -> Finding:
    """Verify a quote whose report data must be `expected` (64 bytes), with collateral that is valid at `now`.

    Raises EvidenceRefused: ``attest.malformed``, ``.too_large``, ``.debug``, ``.wrong_nonce``, ``.old_tcb``,
    ``.revoked``, ``.collateral_expired``, ``.signature``, ``.log_mismatch``.
    """
    body = read_body(evidence.quote)
    if body.is_debug:
        raise refused("debug", "the guest is debuggable: its host can read it")
    if body.report_data != expected:
        raise refused("wrong_nonce", "the quote answers another challenge, or was made for another key")
    report = verify_quote(evidence.quote, evidence.collateral, now)
    status = str(report["status"])
    if status not in _STATUS:
        raise refused("revoked" if status == "Revoked" else "old_tcb", f"the platform's TCB is {status}")
    vector = {"instance-identity": AFFIRMING, "hardware": _STATUS[status], "runtime-opaque": AFFIRMING}
    if evidence.event_log:
        _check_log(evidence.event_log, body)
        vector["configuration"] = AFFIRMING
    claims = {**body.claims, "ppid": str(report["ppid"]), "tcb": status}
    return Finding(
        kind=body.kind, anchor=INTEL_ROOT, claims=dict(sorted(claims.items())), levels=body.levels, vector=vector,
        advisories=tuple(sorted(str(one) for one in report["advisory_ids"])),
        until_us=min(next_updates(evidence.collateral)),
    )  # fmt: skip


def verify_quote(quote: bytes, collateral: str, now: WallTime) -> dict[str, Any]:
    """Have `dcap-qvl` judge a quote at `now`; returns its report. Raises EvidenceRefused."""
    if len(collateral) > MAX_COLLATERAL_BYTES:
        raise refused("too_large", f"collateral takes {len(collateral)} bytes, over {MAX_COLLATERAL_BYTES}")
    _check_chains(collateral)
    # Loaded where it is used: a node imports this package for its records and verifies nothing.
    import dcap_qvl

    try:
        parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral)
        report = dcap_qvl.verify(quote, parsed, now // US_PER_S)
        found: dict[str, Any] = json.loads(report.to_json())
    except (ValueError, TypeError, RuntimeError) as error:
        raise _refusal(str(error)) from error
    return found


def read_body(quote: bytes) -> Body:
    """Read the frame of a quote and the report in it. Raises EvidenceRefused ``attest.malformed``."""
    r = Reader(quote, "quote", at_most=MAX_QUOTE_BYTES)
    version, key_type, tee = r.little(2), r.little(2), r.little(4)
    r.take(40)  # versions of the quoting enclave, its vendor, user data: covered by the signature
    if key_type != _ECDSA_P256:
        raise refused("unsupported_key", f"attestation keys of type {key_type} are not known")
    if version == 5:
        body_type, size = r.little(2), r.little(4)
        known = _BODIES_V5.get(body_type)
        if known is None or known[0] != size or (known[1] == "tdx") != (tee == TDX):
            raise refused("malformed", f"a quote body of type {body_type} and {size} bytes is not known")
        kind = known[1]
    else:
        if (version, tee) not in _SIZES:
            raise refused("malformed", f"a quote of version {version} for TEE {tee:#04x} is not known")
        size, kind = _SIZES[version, tee]
    body = r.take(size)
    _check_signature_data(r.take(r.little(4)), is_nested=version > 3)
    if r.left > MAX_PADDING_BYTES:
        raise refused("malformed", f"the quote is followed by {r.left} bytes")
    r.zeros(r.left)
    return _read_td(body) if kind == "tdx" else _read_enclave(body)


def _check_signature_data(data: bytes, *, is_nested: bool) -> None:
    """Read what signs the quote to its end: whatever is not covered by a signature must have one spelling."""
    r = Reader(data, "signature of a quote", at_most=MAX_QUOTE_BYTES)
    r.take(128)  # the quote's signature and the attestation key, which the quoting enclave's report covers
    if is_nested and (r.little(2) != _CERTIFIED_BY_QE_REPORT or r.little(4) != r.left):
        raise refused("malformed", "a quote is certified by the report of its quoting enclave")
    r.take(384 + 64)  # the report, and the signature of the platform's key over it
    r.take(r.little(2))  # authentication data: hashed into the report
    if r.little(2) != _CERTIFIED_BY_CHAIN or r.little(4) != r.left:
        raise refused("malformed", "a quoting enclave is certified by a chain of PCK certificates")
    certificates.load_chain(r.take(r.left), "the chain of PCK certificates")


@lru_cache(maxsize=64)
def _check_chains(collateral: str) -> None:
    """The chains that come with a collateral have one spelling, too; `dcap-qvl` reads what it needs of them.

    All platforms of one model share a collateral, so one that was read is kept.
    """
    try:
        given = json.loads(collateral)
        chains = [(name, given[name].encode()) for name in _CHAINS]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refused("malformed", f"collateral cannot be read: {error}") from error
    for name, text in chains:
        certificates.load_chain(text, name)


def _read_td(body: bytes) -> Body:
    """TDREPORT of a TD, version 1.0 (1.5 adds fields at the end)."""
    r = Reader(body, "TD report", at_most=1_024)
    svn, seam, seam_signer = r.take(16), r.take(48), r.take(48)
    r.take(8)
    attributes, xfam = r.take(8), r.take(8)
    registers = {name: r.take(48) for name in _MRS}
    report_data = r.take(64)
    claims = {name: value.hex() for name, value in registers.items() if any(value)}
    claims |= {"tee-tcb-svn": svn.hex(), "mrseam": seam.hex(), "attributes": attributes.hex(), "xfam": xfam.hex()}
    if any(seam_signer):
        claims["mrsignerseam"] = seam_signer.hex()
    is_debug = bool(attributes[0] & _TD_DEBUG)
    return Body(kind="tdx", report_data=report_data, is_debug=is_debug, claims=claims, levels={"tdx-module": svn[0]})


def _read_enclave(body: bytes) -> Body:
    """REPORT body of an enclave."""
    r = Reader(body, "enclave report", at_most=384)
    cpu_svn = r.take(16)
    r.take(32)
    attributes, enclave = r.take(16), r.take(32)
    r.take(32)
    signer = r.take(32)
    r.take(96)
    product, svn = r.little(2), r.little(2)
    r.take(60)
    report_data = r.take(64)
    r.end()
    claims = {
        "mrenclave": enclave.hex(), "mrsigner": signer.hex(), "attributes": attributes.hex(),
        "product": str(product), "cpu-svn": cpu_svn.hex(),
    }  # fmt: skip
    is_debug = bool(attributes[0] & _SGX_DEBUG)
    return Body(kind="sgx", report_data=report_data, is_debug=is_debug, claims=claims, levels={"isv-svn": svn})


def _check_log(log: bytes, body: Body) -> None:
    """A CC event log must explain the runtime registers; its index n is RTMR n-1, index 0 is the TD's build."""
    explained = replay(read_log(log), SHA384)
    for at in range(4):
        said = explained.get(at + 1, bytes(48)).hex()
        if said != body.claims.get(f"rtmr.{at}", bytes(48).hex()):
            raise refused("log_mismatch", f"RTMR {at} holds what the event log does not explain")


def _refusal(text: str) -> EvidenceRefused:
    code = next((code for word, code in _FAILURES if word in text), "signature")
    return refused(code, f"the quote does not verify: {text[:300]}")
