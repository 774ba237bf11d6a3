"""Parsers of evidence under mutation: they read or refuse by name, never crash, and never accept what was changed.

Bytes that once got through a parser are kept in `FOUND` and run for ever.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from evidence_kit import NOW, ForgedAmd, flipped, tpm
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.attest import EvidenceRefused, SnpEvidence, binding, certificates, read_platform
from hanse.attest.event_log import read_log, write_log
from hanse.attest.evidence import read_evidence, read_identity
from hanse.attest.intel import read_body
from hanse.attest.snp import read_report, verify_snp
from hanse.attest.tpm import verify_tpm
from hanse.attest.tpm_structs import read_public, read_quote, read_signature
from hanse.core.ids import NodeId
from hanse.wire import canonical

AMD = ForgedAmd()
MAKER, CHIP = tpm()
NONCE = binding(b"n", b"s", NodeId("n"), b"k", b"v")
QUOTE = CHIP.quote(NONCE)
PLATFORM = read_platform(CHIP.identity_now(), {MAKER.anchor.fingerprint: "maker"}, NOW)
REPORT = AMD.evidence(NONCE, crls=(AMD.crl("ARK-Milan"),))
TD = (4).to_bytes(2, "little") + (2).to_bytes(2, "little") + (0x81).to_bytes(4, "little") + bytes(40 + 584 + 4)

PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "quote": (read_quote, QUOTE.attest),
    "signature": (read_signature, QUOTE.signature),
    "public area": (read_public, CHIP.ak_public),
    "event log": (read_log, QUOTE.event_log),
    "report": (read_report, REPORT.report),
    "td quote": (read_body, TD),
    "certificate": (lambda data: certificates.load_der(data, "it"), REPORT.certificate),
    "chain": (
        lambda data: certificates.load_chain(data, "it"),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ),
    "evidence": (read_evidence, canonical.encode(QUOTE)),
    "identity": (read_identity, canonical.encode(CHIP.identity_now())),
}
FOUND: dict[str, list[bytes]] = {
    # An event that claims four billion bytes, and a header that is cut off.
    "event log": [QUOTE.event_log[:-15] + b"\xff\xff\xff\xff" + QUOTE.event_log[-11:], QUOTE.event_log[:60]],
    # The outer algorithm of a certificate is not signed: another one was another spelling of the same certificate.
    "certificate": [flipped(REPORT.certificate, len(REPORT.certificate) - 110)],
    "evidence": [b'{"type":"tpm.v1"}', b"[" * 100_000, b"\xff"],
}


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """Flip, cut, double and splice."""
    places = st.integers(0, len(data) - 1)
    return st.one_of(
        st.builds(lambda at, mask: flipped(data, at, mask), places, st.integers(1, 255)),
        st.builds(lambda at: data[:at], places),
        st.builds(lambda at, more: data[:at] + more + data[at:], places, st.binary(min_size=1, max_size=8)),
        st.builds(lambda a, b: data[:a] + data[b:], places, places),
        st.binary(max_size=200),
    )


@pytest.mark.parametrize("name", list(PARSERS))
@settings(max_examples=120, deadline=None)
@given(draw=st.data())
def test_no_bytes_break_a_parser(name: str, draw: st.DataObject) -> None:
    read, sample = PARSERS[name]
    try:
        read(draw.draw(mutations(sample)))
    except EvidenceRefused as error:
        assert error.code.startswith("attest.")


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, found in FOUND.items() for data in found])
def test_bytes_that_were_once_found_are_refused(name: str, data: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        PARSERS[name][0](data)


@settings(max_examples=150, deadline=None)
@given(changed=mutations(QUOTE.attest))
def test_never_accepts_a_quote_that_the_tpm_did_not_sign(changed: bytes) -> None:
    if changed == QUOTE.attest:
        return
    with pytest.raises(EvidenceRefused):
        verify_tpm(msgspec.structs.replace(QUOTE, attest=changed), PLATFORM, NONCE)


@settings(max_examples=150, deadline=None)
@given(draw=st.data(), part=st.sampled_from(["report", "certificate", "issuer", "root", "crl"]))
def test_never_accepts_a_report_of_which_any_part_was_changed(draw: st.DataObject, part: str) -> None:
    parts = {
        "report": REPORT.report,
        "certificate": REPORT.certificate,
        "issuer": REPORT.issuers[0],
        "root": REPORT.issuers[1],
        "crl": REPORT.crls[0],
    }
    changed = draw.draw(mutations(parts[part]))
    if changed == parts[part]:
        return
    parts[part] = changed
    forged = SnpEvidence(
        report=parts["report"],
        certificate=parts["certificate"],
        issuers=(parts["issuer"], parts["root"]),
        crls=(parts["crl"],),
    )
    with pytest.raises(EvidenceRefused):
        verify_snp(forged, NONCE, {AMD.anchor.fingerprint: AMD.anchor.name}, NOW)


@settings(max_examples=60, deadline=None)
@given(changed=mutations(QUOTE.event_log))
def test_a_log_that_is_read_has_one_spelling(changed: bytes) -> None:
    try:
        events = read_log(changed)
    except EvidenceRefused:
        return
    assert read_log(write_log(events)) == events
