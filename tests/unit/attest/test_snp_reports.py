"""SEV-SNP reports under VCEK and VLEK: what a processor signed for this guest counts, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from evidence_kit import NOW, TODAY, ForgedAmd, azure, ders, flipped, milan, needs_samples, sample

from hanse.attest import Appraiser, EvidenceRefused, Reference, SnpEvidence, appraise, certificates
from hanse.attest.reference import AMD_ARKS
from hanse.attest.snp import read_report, verify_snp
from hanse.core.fabric import Trust
from hanse.core.time import WallTime
from hanse.wire import canonical

AMD = ForgedAmd()
ANCHORS = {AMD.anchor.fingerprint: AMD.anchor.name}
REAL_ANCHORS = {one.fingerprint: one.name for one in AMD_ARKS}
ASKED = b"\x09" * 64


def refusal(evidence: SnpEvidence, asked: bytes = ASKED, now: WallTime = NOW, anchors: dict[str, str] = ANCHORS) -> str:
    with pytest.raises(EvidenceRefused) as caught:
        verify_snp(evidence, asked, anchors, now)
    return caught.value.code


@pytest.mark.parametrize("is_vlek", [False, True])
def test_a_report_under_vcek_or_vlek_is_believed(is_vlek: bool) -> None:
    found = verify_snp(AMD.evidence(ASKED, is_vlek=is_vlek), ASKED, ANCHORS, NOW)
    assert found.claims["signing-key"] == ("vlek" if is_vlek else "vcek")
    assert found.levels["snp"] == 8
    assert found.claims["measurement"] == "21" * 48


def test_without_a_list_of_revoked_keys_the_hardware_is_a_warning() -> None:
    with_list = AMD.evidence(ASKED, crls=(AMD.crl("ARK-Milan"),))
    assert verify_snp(AMD.evidence(ASKED), ASKED, ANCHORS, NOW).vector["hardware"] == 32
    assert verify_snp(with_list, ASKED, ANCHORS, NOW).vector["hardware"] == 2


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "debug guest": ({"policy": 0x30000 | 1 << 19}, "attest.debug"),
    "policy without its fixed bit": ({"policy": 0x10000}, "attest.malformed"),
    "lower privilege level": ({"vmpl": 1}, "attest.wrong_vmpl"),
    "wrong nonce": ({"report_data": bytes(64)}, "attest.wrong_nonce"),
    "certificate of an older firmware": ({"certified_tcb": (3, 0, 7, 115)}, "attest.wrong_tcb"),
    "certificate of a newer microcode": ({"certified_tcb": (3, 0, 8, 200)}, "attest.wrong_tcb"),
    "another chip": ({"certified_chip": b"\x18" * 64}, "attest.wrong_chip"),
    "a chip that hides": ({"flags": 1 << 1}, "attest.wrong_chip"),
    "a VLEK certificate for a VCEK report": ({"is_vlek": True, "flags": 0}, "attest.wrong_key"),
    "no signing key": ({"flags": 7 << 2}, "attest.wrong_key"),
    "unknown version": ({"version": 9}, "attest.malformed"),
    "expired certificate": ({"end": datetime(2025, 1, 1, tzinfo=UTC)}, "attest.certificate_expired"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_each_wrong_report_is_refused_with_its_code(name: str) -> None:
    given, code = WRONG[name]
    assert refusal(AMD.evidence(**{"report_data": ASKED, **given})) == code  # type: ignore[arg-type]


def test_a_revoked_authority_refuses() -> None:
    revoked = AMD.crl("ARK-Milan", (AMD.certificates["SEV-Milan"].serial_number,))
    assert refusal(AMD.evidence(ASKED, crls=(revoked,))) == "attest.revoked"
    of_leaf = AMD.crl("SEV-Milan", (7,))
    assert refusal(AMD.evidence(ASKED, crls=(of_leaf,))) == "attest.revoked"


def test_an_expired_or_foreign_list_of_revoked_keys_refuses() -> None:
    stale = AMD.crl("ARK-Milan", days=0)
    assert (
        refusal(AMD.evidence(ASKED, crls=(stale,)), now=WallTime(NOW + 86_400_000_000)) == "attest.collateral_expired"
    )
    other = ForgedAmd()
    other.keys["ARK-Milan"] = other.keys["SEV-Milan"]
    assert refusal(AMD.evidence(ASKED, crls=(other.crl("ARK-Milan"),))) == "attest.chain"


def test_a_chain_must_lead_to_an_anchor_in_order() -> None:
    right = AMD.evidence(ASKED)
    assert refusal(right, anchors={}) == "attest.unknown_anchor"
    for issuers in ((), right.issuers[1:], right.issuers[::-1], (*right.issuers, *right.issuers)):
        code = refusal(msgspec.structs.replace(right, issuers=issuers))
        assert code in ("attest.chain", "attest.unknown_anchor")


def test_no_signed_byte_can_be_changed() -> None:
    right = AMD.evidence(ASKED)
    codes = {
        refusal(msgspec.structs.replace(right, report=flipped(right.report, at, 0x10)))
        for at in range(len(right.report))
    }
    assert codes <= {"attest.malformed", "attest.signature", "attest.wrong_nonce", "attest.debug", "attest.wrong_vmpl"}


@pytest.mark.parametrize("size", [0, 1, 671, 672, 1_183])
def test_truncated_reports_are_refused(size: int) -> None:
    right = AMD.evidence(ASKED)
    assert refusal(msgspec.structs.replace(right, report=right.report[:size])) == "attest.malformed"


def test_oversized_parts_are_refused() -> None:
    right = AMD.evidence(ASKED)
    assert refusal(msgspec.structs.replace(right, report=right.report + b"\0")) == "attest.too_large"
    assert refusal(msgspec.structs.replace(right, certificate=bytes(9_000))) == "attest.too_large"
    assert refusal(msgspec.structs.replace(right, crls=(bytes(300_000),))) == "attest.too_large"


def test_a_floor_refuses_an_old_tcb_and_a_reference_what_was_not_measured() -> None:
    body = canonical.encode(AMD.evidence(ASKED, crls=(AMD.crl("ARK-Milan"),)))
    wanted = {"measurement": "21" * 48}
    by = Appraiser(
        anchors=(AMD.anchor,), references=(Reference(name="v1", kind="snp", claims=wanted, floors={"snp": 8}),)
    )
    held = appraise(body, ASKED, by, NOW)
    assert (held.references, held.status) == (("v1",), Trust.AFFIRMING)
    higher = Reference(name="v2", kind="snp", claims=wanted, floors={"snp": 24})
    with pytest.raises(EvidenceRefused) as caught:
        appraise(body, ASKED, Appraiser(anchors=(AMD.anchor,), references=(higher,)), NOW)
    assert caught.value.code == "attest.old_tcb"
    assert "snp is 8, not 24 or more" in caught.value.message
    other = Reference(name="v3", kind="snp", claims={"measurement": "22" * 48})
    drifted = appraise(body, ASKED, Appraiser(anchors=(AMD.anchor,), references=(other,)), NOW)
    assert drifted.status is Trust.CONTRAINDICATED
    assert drifted.reason == "not as reference v3 says: measurement is 212121212121..., not 222222222222..."


@needs_samples
def test_the_real_milan_report_verifies_and_no_flip_of_it_does() -> None:
    evidence = milan()
    asked = read_report(evidence.report).report_data
    found = verify_snp(evidence, asked, REAL_ANCHORS, NOW)
    assert (found.anchor, found.levels["ucode"]) == ("amd-milan", 0x73)
    for at in range(0, len(evidence.report), 7):
        changed = msgspec.structs.replace(evidence, report=flipped(evidence.report, at, 0x40))
        with pytest.raises(EvidenceRefused):
            verify_snp(changed, asked, REAL_ANCHORS, NOW)


@needs_samples
@pytest.mark.parametrize("which", ["certificate", "issuers"])
def test_no_byte_of_the_real_chain_can_be_changed(which: str) -> None:
    evidence = milan()
    asked = read_report(evidence.report).report_data
    data = evidence.certificate if which == "certificate" else evidence.issuers[0]
    for at in range(0, len(data), 11):
        changed = flipped(data, at)
        given = {"certificate": changed} if which == "certificate" else {"issuers": (changed, evidence.issuers[1])}
        with pytest.raises(EvidenceRefused):
            verify_snp(msgspec.structs.replace(evidence, **given), asked, REAL_ANCHORS, NOW)


@needs_samples
def test_reports_of_azure_guests_on_milan_and_genoa_verify() -> None:
    for name, chain, anchor in (
        ("evidence-v0.json", "snp/milan_ask_ark_asvk.pem", "amd-milan"),
        ("evidence-genoa.json", "snp/genoa_ask_ark_asvk.pem", "amd-genoa"),
    ):
        evidence = azure(name, chain)
        asked = read_report(evidence.report).report_data
        assert verify_snp(evidence, asked, REAL_ANCHORS, NOW).anchor == anchor


@needs_samples
def test_a_tcb_field_of_zero_is_another_version() -> None:
    hcl = bytearray(sample("az/az-snp-vtpm/hcl-report.bin"))
    chain = ders(sample("snp/cert_chain_milan"))
    leaf = ders(sample("az/az-snp-vtpm/vcek.pem"))[0]
    for at, codes in ((None, ()), (0x01A6, ("attest.signature", "attest.wrong_tcb"))):
        if at is not None:
            hcl[at] = 0
        evidence = SnpEvidence(report=bytes(hcl[32 : 32 + 1_184]), certificate=leaf, issuers=chain)
        asked = read_report(evidence.report).report_data
        if at is None:
            assert verify_snp(evidence, asked, REAL_ANCHORS, NOW).kind == "snp"
        else:
            assert refusal(evidence, asked, anchors=REAL_ANCHORS) in codes


@needs_samples
@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_amds_published_authorities_lead_to_the_roots_built_in(product: str) -> None:
    ask, ark, asvk = certificates.load_pem(sample(f"snp/{product}_ask_ark_asvk.pem"), product)
    for authority in (ask, asvk):
        anchor, _, _ = certificates.verify_path(authority, (ark,), REAL_ANCHORS, TODAY)
        assert anchor == f"amd-{product}"


@needs_samples
def test_the_real_turin_certificate_leads_to_its_root() -> None:
    leaf = certificates.load_der(sample("snp/vcek_turin.der"), "vcek")
    chain = certificates.load_pem(sample("snp/cert_chain_turin"), "chain")
    assert certificates.verify_path(leaf, chain, REAL_ANCHORS, TODAY)[0] == "amd-turin"
