"""TPM 2.0 quotes: the right one is believed, and with anything changed none is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from evidence_kit import NOW, SHARED, flipped, needs_samples, tpm
from tpm_kit import PCR, SimulatedTpm, open_credential

from hanse.attest import (
    Appraiser,
    EvidenceRefused,
    PcrValue,
    TpmEvidence,
    appraise,
    binding,
    continued,
    make_credential,
    read_platform,
    reconsider,
    reference_from,
)
from hanse.attest.event_log import SHA256, Event, read_log, replay, write_log
from hanse.attest.tpm import check_registers, check_signature, verify_tpm
from hanse.attest.tpm_structs import PublicArea, read_public, read_quote, read_signature
from hanse.core.fabric import Trust
from hanse.core.ids import NodeId
from hanse.identity import key_from_secret
from hanse.wire import canonical

MAKER, CHIP = tpm()
ANCHORS = {MAKER.anchor.fingerprint: MAKER.anchor.name}
PLATFORM = read_platform(CHIP.identity_now(), ANCHORS, NOW)
NONCE = binding(b"n" * 32, b"s" * 32, NodeId("fra-1"), b"k" * 32, b"spki")
QUOTE = CHIP.quote(NONCE)


def refusal(evidence: TpmEvidence, nonce: bytes = NONCE) -> str:
    with pytest.raises(EvidenceRefused) as caught:
        verify_tpm(evidence, PLATFORM, nonce)
    return caught.value.code


def test_a_quote_over_the_nonce_tells_registers_events_and_the_machine() -> None:
    found = verify_tpm(QUOTE, PLATFORM, NONCE)
    assert found.kind == "tpm"
    assert found.claims[f"pcr.sha256.{PCR}"] == CHIP.registers[PCR].hex()
    assert set(found.claims) >= {"ek", "event.engine", "event.agent", "resets", "firmware"}
    assert found.claims["ek"] == PLATFORM.ek_digest


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": b"m" * 32},
        {"secret": b"t" * 32},
        {"node": NodeId("fra-2")},
        {"node_key": b"l" * 32},
        {"svid_key": b"other"},
    ],
)
def test_evidence_never_counts_for_another_challenge_node_or_key(changed: dict[str, object]) -> None:
    bound = {"nonce": b"n" * 32, "secret": b"s" * 32, "node": NodeId("fra-1"), "node_key": b"k" * 32}
    other = binding(**{**bound, "svid_key": b"spki", **changed})  # type: ignore[arg-type]
    assert refusal(QUOTE, other) == "attest.wrong_nonce"


@pytest.mark.parametrize("at", range(len(QUOTE.attest)))
def test_no_byte_of_the_quote_can_be_changed(at: int) -> None:
    code = refusal(msgspec.structs.replace(QUOTE, attest=flipped(QUOTE.attest, at)))
    assert code in ("attest.malformed", "attest.signature")


@pytest.mark.parametrize("at", range(len(QUOTE.signature)))
def test_no_byte_of_the_signature_can_be_changed(at: int) -> None:
    code = refusal(msgspec.structs.replace(QUOTE, signature=flipped(QUOTE.signature, at)))
    assert code in ("attest.malformed", "attest.signature", "attest.unsupported_key")


@pytest.mark.parametrize("at", range(0, len(QUOTE.event_log), 3))
def test_no_byte_of_the_log_that_was_measured_can_be_changed(at: int) -> None:
    changed = msgspec.structs.replace(QUOTE, event_log=flipped(QUOTE.event_log, at))
    try:
        found = verify_tpm(changed, PLATFORM, NONCE)
    except EvidenceRefused as error:
        assert error.code in ("attest.malformed", "attest.log_mismatch", "attest.too_large")
        return
    # Names and types of events are not measured, digests and registers are: no digest may differ.
    true = verify_tpm(QUOTE, PLATFORM, NONCE).claims
    assert {v for k, v in found.claims.items() if k.startswith("event.")} <= set(true.values())
    assert found.claims[f"pcr.sha256.{PCR}"] == true[f"pcr.sha256.{PCR}"]


WRONG: dict[str, tuple[Callable[[], TpmEvidence], str]] = {
    "registers": (lambda: _pcrs((PcrValue(bank=SHA256, index=PCR, value=b"\1" * 32),)), "attest.wrong_digest"),
    "another register": (
        lambda: _pcrs((PcrValue(bank=SHA256, index=1, value=CHIP.registers[PCR]),)),
        "attest.wrong_digest",
    ),
    "no registers": (lambda: _pcrs(()), "attest.wrong_digest"),
    "a short register": (lambda: _pcrs((PcrValue(bank=SHA256, index=PCR, value=b"\1"),)), "attest.wrong_digest"),
    "an empty log": (lambda: msgspec.structs.replace(QUOTE, event_log=write_log(())), ""),
    "a cut quote": (lambda: msgspec.structs.replace(QUOTE, attest=QUOTE.attest[:-1]), "attest.malformed"),
    "a longer quote": (lambda: msgspec.structs.replace(QUOTE, attest=QUOTE.attest + b"\0"), "attest.malformed"),
    "a huge quote": (lambda: msgspec.structs.replace(QUOTE, attest=QUOTE.attest * 99), "attest.too_large"),
    "a huge log": (lambda: msgspec.structs.replace(QUOTE, event_log=bytes(300_000)), "attest.too_large"),
    "a cut log": (lambda: msgspec.structs.replace(QUOTE, event_log=QUOTE.event_log[:-1]), "attest.malformed"),
    "no signature": (lambda: msgspec.structs.replace(QUOTE, signature=b""), "attest.malformed"),
    "an older quote": (lambda: CHIP.quote(bytes(64)), "attest.wrong_nonce"),
    "another chip's quote": (lambda: tpm(2)[1].quote(NONCE), "attest.signature"),
}


def _pcrs(pcrs: tuple[PcrValue, ...]) -> TpmEvidence:
    return msgspec.structs.replace(QUOTE, pcrs=pcrs)


@pytest.mark.parametrize("name", [name for name, (_, code) in WRONG.items() if code])
def test_what_is_wrong_is_refused_with_its_code(name: str) -> None:
    make, code = WRONG[name]
    assert refusal(make()) == code


def test_a_register_that_no_log_explains_refuses() -> None:
    _, chip = tpm()
    chip.extend(b"\7" * 32)
    assert refusal(chip.quote(NONCE)) == "attest.log_mismatch"


def test_a_log_without_events_says_nothing_about_the_configuration() -> None:
    found = verify_tpm(msgspec.structs.replace(QUOTE, event_log=b""), PLATFORM, NONCE)
    assert "configuration" not in found.vector
    assert not any(name.startswith("event.") for name in found.claims)


def test_a_reboot_shows() -> None:
    _, chip = tpm()
    before = verify_tpm(chip.quote(NONCE), PLATFORM, NONCE).claims
    chip.reboot()
    after = verify_tpm(chip.quote(NONCE), PLATFORM, NONCE).claims
    assert (before["resets"], after["resets"]) == ("1", "2")
    assert {k: v for k, v in before.items() if k != "resets"} == {k: v for k, v in after.items() if k != "resets"}


def test_a_tpm_of_an_unknown_maker_is_refused() -> None:
    with pytest.raises(EvidenceRefused) as caught:
        read_platform(CHIP.identity_now(), {}, NOW)
    assert caught.value.code == "attest.unknown_anchor"


def test_a_key_that_signs_anything_is_refused() -> None:
    free = bytearray(CHIP.ak_public)
    free[5] &= ~0x01  # restricted
    identity = msgspec.structs.replace(CHIP.identity_now(), ak_public=bytes(free))
    with pytest.raises(EvidenceRefused) as caught:
        read_platform(identity, ANCHORS, NOW)
    assert caught.value.code == "attest.wrong_key"


def test_only_the_tpm_that_holds_both_keys_opens_a_credential() -> None:
    ek_key = CHIP._ek
    blob, seed = make_credential(CHIP.ek, PLATFORM.ak.name, b"q" * 32, b"e" * 48)
    assert open_credential(ek_key, PLATFORM.ak.name, blob, seed) == b"q" * 32
    for key, name, data in (
        (key_from_secret(b"\5" * 48), PLATFORM.ak.name, blob),
        (ek_key, tpm(2)[1].ak_public[:34], blob),
        (ek_key, PLATFORM.ak.name, flipped(blob, 40)),
        (ek_key, PLATFORM.ak.name, flipped(blob, len(blob) - 1)),
    ):
        with pytest.raises(EvidenceRefused):
            open_credential(key, name, data, seed)


def test_a_quote_without_a_challenged_platform_is_refused() -> None:
    with pytest.raises(EvidenceRefused) as caught:
        appraise(canonical.encode(QUOTE), NONCE, Appraiser(), NOW)
    assert caught.value.code == "attest.wrong_key"


def test_logs_are_written_as_they_are_read() -> None:
    log = QUOTE.event_log
    assert write_log(read_log(log)) == log
    assert replay(read_log(log), SHA256) == {PCR: CHIP.registers[PCR]}


def test_the_locality_of_startup_is_where_register_0_begins() -> None:
    locality = Event(register=0, type=3, digests={SHA256: bytes(32)}, data=b"StartupLocality\0\3")
    assert replay((locality,), SHA256) == {0: bytes(31) + b"\3"}


@needs_samples
def test_a_real_quote_of_24_registers_verifies_and_each_flip_of_it_does_not() -> None:
    given = json.loads((SHARED / "tpm/tpm_evidence.json").read_text())
    quote = given["tpm_quote"]
    message, signature = base64.b64decode(quote["message"]), base64.b64decode(quote["signature"])
    key = serialization.load_der_public_key(base64.b64decode(given["ak_public"]))
    assert isinstance(key, rsa.RSAPublicKey)
    area = PublicArea(name=b"", attributes=0, key=key)
    signed = read_signature(_tpmt(signature))
    check_signature(area, signed, message)
    read = read_quote(message)
    assert (read.reset_count, read.restart_count, read.extra_data[:4].hex()) == (2, 0, "a04182b5")
    pcrs = _real_pcrs(quote["pcrs"])
    check_registers(read, signed, pcrs)
    for at in range(len(message)):
        with pytest.raises(EvidenceRefused):
            changed = flipped(message, at)
            read_quote(changed)
            check_signature(area, signed, changed)
    for at in range(24):
        wrong = list(pcrs)
        wrong[at] = PcrValue(bank=SHA256, index=at, value=flipped(pcrs[at].value, 5))
        with pytest.raises(EvidenceRefused):
            check_registers(read, signed, tuple(wrong))


def _tpmt(signature: bytes) -> bytes:
    """The sample gives either the structure or the bare RSA signature."""
    if signature[:4] == b"\0\x14\0\x0b":
        return signature
    return b"\0\x14\0\x0b" + len(signature).to_bytes(2, "big") + signature


def _real_pcrs(values: list[object]) -> tuple[PcrValue, ...]:
    raw = [bytes.fromhex(str(value)) for value in values]
    return tuple(PcrValue(bank=SHA256, index=at, value=value) for at, value in enumerate(raw))


@pytest.mark.parametrize("cut", range(0, len(CHIP.ak_public), 4))
def test_a_cut_public_area_is_refused(cut: int) -> None:
    with pytest.raises(EvidenceRefused):
        read_public(CHIP.ak_public[:cut])


def test_a_simulated_chip_is_labelled_and_never_passes_for_hardware() -> None:
    by = Appraiser(anchors=(MAKER.anchor,))
    result = appraise(canonical.encode(QUOTE), NONCE, by, NOW, platform=PLATFORM)
    assert (result.origin, result.status) == ("simulated", Trust.AFFIRMING)
    assert isinstance(CHIP, SimulatedTpm)


def test_a_reference_taken_from_a_node_is_matched_by_it_and_by_its_like_and_drift_is_told() -> None:
    by = Appraiser(anchors=(MAKER.anchor,))
    first = appraise(canonical.encode(QUOTE), NONCE, by, NOW, platform=PLATFORM)
    golden = reference_from("golden", "tpm", first.claims)
    by = Appraiser(anchors=(MAKER.anchor,), references=(golden,))
    _, twin = tpm(1)
    twin.reboot()
    for chip in (CHIP, twin):
        found = appraise(canonical.encode(chip.quote(NONCE)), NONCE, by, NOW, platform=PLATFORM)
        assert (found.references, found.vector["executables"]) == (("golden",), 2)
    assert reconsider(first, by, NOW).references == ("golden",)
    twin.boot["agent"] = b"agent 2"
    twin.reboot()
    drifted = appraise(canonical.encode(twin.quote(NONCE)), NONCE, by, NOW, platform=PLATFORM)
    assert drifted.status is Trust.CONTRAINDICATED
    assert drifted.reason == (
        f"not as reference golden says: event.agent is {drifted.claims['event.agent'][:12]}..., "
        f"not {golden.claims['event.agent'][:12]}...; pcr.sha256.13 is {drifted.claims['pcr.sha256.13'][:12]}..., "
        f"not {golden.claims['pcr.sha256.13'][:12]}..."
    )
    assert reconsider(drifted, Appraiser(anchors=(MAKER.anchor,)), NOW).status is Trust.AFFIRMING


def test_another_machine_in_the_place_of_a_known_one_is_refused() -> None:
    by = Appraiser(anchors=(MAKER.anchor,))
    known = appraise(canonical.encode(QUOTE), NONCE, by, NOW, platform=PLATFORM)
    other = replace(known, claims={**known.claims, "ek": "00" * 32})
    with pytest.raises(EvidenceRefused) as caught:
        continued(other, known)
    assert caught.value.code == "attest.other_platform"
    assert continued(replace(known, since_us=NOW + 5), known).since_us == NOW
