"""Evidence of confidential guests, from recorded reports behind files laid out as configfs-tsm lays them out."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import UUID

import pytest
from evidence_kit import NOW, ForgedAmd, milan, needs_samples, sample

from hanse.adapters.tee import Tee, tee_of
from hanse.attest import Appraiser, EvidenceRefused, SnpEvidence, appraise
from hanse.attest.cert_table import NAMES, read_certificate_table
from hanse.attest.evidence import read_evidence
from hanse.attest.intel import read_body
from hanse.attest.snp import read_report
from hanse.core.errors import AttestorError

NONCE = b"\x5a" * 64


def table(entries: dict[str, bytes]) -> bytes:
    """A certificate table as a host writes it."""
    guids = {name: guid for guid, name in NAMES.items()}
    at, head, body = 24 * (len(entries) + 1), b"", b""
    for name, data in entries.items():
        head += guids[name].bytes + (at + len(body)).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        body += data
    return head + bytes(24) + body


def guest(folder: Path, *, provider: str, report: bytes, auxiliary: bytes = b"") -> Path:
    """What the kernel shows once the adapter has made its folder."""
    entry = folder / f"hanse-{os.getpid()}"
    entry.mkdir(parents=True)
    (entry / "provider").write_text(provider + "\n")
    (entry / "outblob").write_bytes(report)
    (entry / "auxblob").write_bytes(auxiliary)
    return folder


def amd_table(evidence: SnpEvidence, leaf: str = "vcek") -> bytes:
    parts = {leaf: evidence.certificate, "ask": evidence.issuers[0], "ark": evidence.issuers[1]}
    return table(parts | ({"crl": evidence.crls[0]} if evidence.crls else {}))


def given(tee: Tee, nonce: bytes = NONCE) -> tuple[str, bytes]:
    return asyncio.run(tee.evidence(nonce))


@needs_samples
def test_a_recorded_milan_report_is_given_whole_and_appraised(tmp_path: Path) -> None:
    recorded = milan()
    reports = guest(tmp_path, provider="sev_guest", report=recorded.report, auxiliary=amd_table(recorded))
    kind, body = given(Tee("snp", None, reports=reports))
    assert (kind, read_evidence(body)) == ("snp", recorded)
    assert (reports / f"hanse-{os.getpid()}" / "inblob").read_bytes() == NONCE
    found = appraise(body, read_report(recorded.report).report_data, Appraiser(), NOW)
    assert (found.kind, found.origin.value, found.claims["anchor"]) == ("snp", "hardware", "amd-milan")
    # The recorded report answers another challenge than the one just asked.
    with pytest.raises(EvidenceRefused) as refused:
        appraise(body, NONCE, Appraiser(), NOW)
    assert refused.value.code == "attest.wrong_nonce"


@needs_samples
def test_a_recorded_tdx_quote_is_given_with_the_collateral_of_the_file(tmp_path: Path) -> None:
    quote, collateral = sample("tdx/tdx_quote"), tmp_path / "collateral.json"
    collateral.write_bytes(sample("tdx/tdx_quote_collateral.json"))
    reports = guest(tmp_path / "tsm", provider="tdx_guest", report=quote)
    log = tmp_path / "CCEL"
    kind, body = given(Tee("tdx", collateral, reports=reports, event_log=log))
    assert kind == "tdx"
    found = appraise(body, read_body(quote).report_data, Appraiser(), NOW)
    assert (found.kind, found.origin.value) == ("tdx", "hardware")
    with pytest.raises(AttestorError, match="needs collateral"):
        given(Tee("tdx", None, reports=reports, event_log=log))
    with pytest.raises(AttestorError, match="cannot be read"):
        given(Tee("tdx", tmp_path / "none.json", reports=reports, event_log=log))


@pytest.mark.parametrize("is_vlek", [False, True])
def test_the_certificate_that_signed_is_chosen_and_a_list_of_revoked_keys_comes_along(
    tmp_path: Path, is_vlek: bool
) -> None:
    amd = ForgedAmd()
    evidence = amd.evidence(NONCE, is_vlek=is_vlek, crls=(amd.crl("ARK-Milan"),))
    parts = {"vcek": b"another", "vlek": b"another", "ask": evidence.issuers[0], "ark": evidence.issuers[1]}
    parts |= {"vlek" if is_vlek else "vcek": evidence.certificate, "crl": evidence.crls[0]}
    reports = guest(tmp_path, provider="sev_guest", report=evidence.report, auxiliary=table(parts))
    _, body = given(Tee("snp", None, reports=reports))
    assert read_evidence(body) == evidence
    assert appraise(body, NONCE, Appraiser(anchors=(amd.anchor,)), NOW).claims["signing-key"] == (
        "vlek" if is_vlek else "vcek"
    )


def test_a_revoked_vlek_authority_refuses_what_the_guest_gives(tmp_path: Path) -> None:
    amd = ForgedAmd()
    revoked = amd.crl("ARK-Milan", (amd.certificates["SEV-VLEK-Milan"].serial_number,))
    evidence = amd.evidence(NONCE, is_vlek=True, crls=(revoked,))
    reports = guest(tmp_path, provider="sev_guest", report=evidence.report, auxiliary=amd_table(evidence, leaf="vlek"))
    _, body = given(Tee("snp", None, reports=reports))
    with pytest.raises(EvidenceRefused) as refused:
        appraise(body, NONCE, Appraiser(anchors=(amd.anchor,)), NOW)
    assert refused.value.code == "attest.revoked"


def test_where_the_host_gives_no_certificates_a_file_does(tmp_path: Path) -> None:
    amd = ForgedAmd()
    evidence = amd.evidence(NONCE)
    reports = guest(tmp_path / "tsm", provider="sev_guest", report=evidence.report)
    with pytest.raises(AttestorError, match="no certificates"):
        given(Tee("snp", None, reports=reports))
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    chain = tmp_path / "chain.pem"
    ders = (evidence.certificate, *evidence.issuers)
    chain.write_bytes(b"".join(x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in ders))
    assert read_evidence(given(Tee("snp", chain, reports=reports))[1]) == evidence
    chain.write_bytes(b"nothing")
    with pytest.raises(AttestorError, match="holds no certificates"):
        given(Tee("snp", chain, reports=reports))


def test_another_provider_nonsense_and_no_platform_at_all_are_told_and_never_pretended(tmp_path: Path) -> None:
    amd = ForgedAmd()
    evidence = amd.evidence(NONCE)
    other = guest(tmp_path / "a", provider="tdx_guest", report=evidence.report, auxiliary=amd_table(evidence))
    with pytest.raises(AttestorError, match="reports as tdx_guest, not as snp"):
        given(Tee("snp", None, reports=other))
    for at, (report, auxiliary) in enumerate(
        ((b"", amd_table(evidence)), (evidence.report[:-1], amd_table(evidence)), (evidence.report, b"\1" * 30))
    ):
        broken = guest(tmp_path / f"b{at}", provider="sev_guest", report=report, auxiliary=auxiliary)
        with pytest.raises(AttestorError, match="cannot be read"):
            given(Tee("snp", None, reports=broken))
    with pytest.raises(AttestorError):
        given(Tee("snp", None, reports=tmp_path / "none"))
    if not Path("/dev/tdx_guest").exists() and not Path("/dev/sev-guest").exists():
        with pytest.raises(AttestorError, match="is no TDX or SEV-SNP guest"):
            tee_of(None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(23),
        UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes + bytes(8),
        b"\1" * 24 + bytes(24),
        table({"vcek": b"x"})[:24] * 2 + bytes(48),
        b"\1" * 16 + bytes(8) + b"\1" * 16 + bytes(8),
    ],
)
def test_a_table_without_an_end_or_with_an_entry_outside_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        read_certificate_table(data)
    assert refused.value.code == "attest.malformed"


def test_a_table_is_bounded_and_what_is_unknown_is_left_out() -> None:
    with pytest.raises(EvidenceRefused) as refused:
        read_certificate_table(bytes(70_000))
    assert refused.value.code == "attest.too_large"
    assert read_certificate_table(table({"vcek": b"v", "ark": b"a"})) == {"vcek": b"v", "ark": b"a"}
    unknown = b"\7" * 16 + (48).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(24) + b"x"
    assert read_certificate_table(unknown) == {}
