"""TDX and SGX quotes: the outcomes that the samples' origins assert, with the time as an argument."""

from __future__ import annotations

import json

import msgspec
import pytest
from evidence_kit import NOW, SHARED, TODAY, flipped, needs_samples, sample

from hanse.attest import Appraiser, EvidenceRefused, IntelEvidence, Reference, appraise
from hanse.attest.event_log import SHA384, read_log, replay
from hanse.attest.intel import read_body, verify_intel
from hanse.core.fabric import Trust
from hanse.core.time import US_PER_S, WallTime
from hanse.wire import canonical

pytestmark = needs_samples
PARTS = (
    "tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature", "root_ca_crl", "pck_crl",
    "pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain",
)  # fmt: skip
FEBRUARY = WallTime(1_772_000_000 * US_PER_S)


def evidence(name: str) -> IntelEvidence:
    collateral = (SHARED / f"{name}_collateral.json").read_text()
    return IntelEvidence(quote=sample(name), collateral=collateral)


def asked_of(given: IntelEvidence) -> bytes:
    return read_body(given.quote).report_data


def refusal(given: IntelEvidence, asked: bytes, now: WallTime = NOW) -> str:
    with pytest.raises(EvidenceRefused) as caught:
        verify_intel(given, asked, now)
    return caught.value.code


def test_a_tdx_quote_of_a_platform_that_is_up_to_date_is_affirmed() -> None:
    given = evidence("tdx/tdx_quote")
    found = verify_intel(given, asked_of(given), NOW)
    assert (found.kind, found.claims["tcb"], found.advisories) == ("tdx", "UpToDate", ())
    assert found.vector["hardware"] == 2
    assert found.until_us == 1_752_919_235_000_000


def test_expired_collateral_refuses() -> None:
    given = evidence("tdx/tdx_quote")
    assert refusal(given, asked_of(given), TODAY) == "attest.collateral_expired"


def test_collateral_of_the_future_refuses() -> None:
    given = evidence("tdx/tdx_quote")
    with pytest.raises(EvidenceRefused):
        verify_intel(given, asked_of(given), WallTime(1_600_000_000 * US_PER_S))


def test_advisories_are_facts_and_policy_decides() -> None:
    given = evidence("sgx/sgx_quote")
    body = canonical.encode(given)
    result = appraise(body, asked_of(given), Appraiser(), NOW)
    assert result.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert (result.kind, result.origin, result.status) == ("sgx", "hardware", Trust.WARNING)


def test_an_old_tcb_refuses() -> None:
    given = evidence("tdx/tdx_quote_outdated")
    assert refusal(given, asked_of(given), FEBRUARY) == "attest.old_tcb"


def test_a_debuggable_guest_refuses() -> None:
    for name in ("tdx/trustee/tdx_quote_4.dat", "sgx/occlum_quote.dat"):
        given = IntelEvidence(quote=sample(name), collateral="{}")
        assert refusal(given, asked_of(given)) == "attest.debug"


def test_another_nonce_refuses() -> None:
    assert refusal(evidence("tdx/tdx_quote"), bytes(64)) == "attest.wrong_nonce"


def test_claims_are_those_that_the_origin_expects() -> None:
    expected = json.loads((SHARED / "tdx/trustee/parse_tdx_claims_expected.json").read_text())
    body = read_body(sample("tdx/trustee/tdx_quote_4.dat"))
    assert body.claims["mrtd"] == expected["quote"]["body"]["mr_td"]
    assert body.report_data.hex() == expected["report_data"]
    enclave = read_body(sample("sgx/occlum_quote.dat"))
    assert enclave.claims["mrenclave"].startswith("8f173e4613ff05c5")
    assert enclave.claims["mrsigner"].startswith("83d719e77deaca14")
    assert enclave.report_data == b"test".ljust(64, b"\0")


def test_a_cc_event_log_replays_to_the_registers_that_its_origin_gives() -> None:
    registers = replay(read_log(sample("tdx/trustee/CCEL_data_ovmf")), SHA384)
    assert [registers.get(at, bytes(48)).hex()[:8] for at in (1, 2, 3, 4)] == [
        "8566f998",
        "775b9f6b",
        "94eaf7a7",
        "0" * 8,
    ]


def test_a_log_of_another_guest_refuses() -> None:
    given = msgspec.structs.replace(evidence("tdx/tdx_quote"), event_log=sample("tdx/trustee/CCEL_data_ovmf"))
    assert refusal(given, asked_of(given)) == "attest.log_mismatch"


@pytest.mark.parametrize("name", ["tdx/tdx-quote.hex", "tdx/quote-from-tappd.hex", "tdx/trustee/tdx_quote_6.dat"])
def test_other_samples_are_read_and_need_collateral(name: str) -> None:
    given = IntelEvidence(quote=sample(name), collateral="{}")
    assert read_body(given.quote).kind == "tdx"
    assert refusal(given, asked_of(given)) == "attest.malformed"


@pytest.mark.parametrize("name", ["tdx/tdx_quote", "sgx/sgx_quote"])
def test_no_field_of_a_quote_can_be_changed(name: str) -> None:
    given = evidence(name)
    asked = asked_of(given)
    accepted = []
    # Every 13th byte and every byte of the header: each field of frame, body, signature and certificates is hit.
    for at in [*range(48), *range(48, len(given.quote), 13)]:
        try:
            verify_intel(msgspec.structs.replace(given, quote=flipped(given.quote, at)), asked, NOW)
        except EvidenceRefused:
            continue
        accepted.append(at)
    assert accepted == []


@pytest.mark.parametrize("field", PARTS)
def test_no_part_of_the_collateral_can_be_changed_or_missing(field: str) -> None:
    given = evidence("tdx/tdx_quote")
    whole = json.loads(given.collateral)
    text = whole[field]
    at = len(text) // 2
    changed = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
    for collateral in ({**whole, field: changed}, {**whole, field: ""}, {k: v for k, v in whole.items() if k != field}):
        with pytest.raises(EvidenceRefused):
            verify_intel(msgspec.structs.replace(given, collateral=json.dumps(collateral)), asked_of(given), NOW)


@pytest.mark.parametrize("cut", [0, 7, 47, 48, 400, 632, 700, 4_000])
def test_truncated_quotes_are_refused(cut: int) -> None:
    given = evidence("tdx/tdx_quote")
    short = msgspec.structs.replace(given, quote=given.quote[:cut])
    assert refusal(short, asked_of(given)) == "attest.malformed"


def test_oversized_parts_are_refused() -> None:
    given = evidence("tdx/tdx_quote")
    assert refusal(msgspec.structs.replace(given, quote=bytes(40_000)), bytes(64)) == "attest.too_large"
    large = msgspec.structs.replace(given, collateral=" " * 300_000)
    assert refusal(large, asked_of(given)) == "attest.too_large"
    followed = msgspec.structs.replace(given, quote=given.quote + bytes(200))
    assert refusal(followed, asked_of(given)) == "attest.malformed"


def test_a_reference_says_what_should_have_been_measured() -> None:
    given = evidence("tdx/tdx_quote")
    mrtd = read_body(given.quote).claims["mrtd"]
    for claims, status in (({"mrtd": mrtd}, Trust.AFFIRMING), ({"mrtd": "00" * 48}, Trust.CONTRAINDICATED)):
        by = Appraiser(references=(Reference(name="image-7", kind="tdx", claims=claims),))
        assert appraise(canonical.encode(given), asked_of(given), by, NOW).status is status
