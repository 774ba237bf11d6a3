"""Appraise a TPM 2.0 quote: whose key, which moment, which registers, which events.

`TpmIdentity, TpmEvidence, nonce -> Finding | EvidenceRefused`. That the key lives in the TPM of the endorsement
certificate is not shown here but by the nonce: it holds a secret that only that TPM could unseal
(`hanse.attest.tpm_credential`). Registers that the log does not explain refuse the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from hanse.attest import certificates
from hanse.attest.errors import refused
from hanse.attest.event_log import EV_NO_ACTION, Event, read_log, replay
from hanse.attest.evidence import PcrValue, TpmEvidence, TpmIdentity
from hanse.attest.result import AFFIRMING, Finding
from hanse.attest.tpm_structs import (
    AK_FORBIDDEN,
    AK_WANTED,
    CRYPTO_HASHES,
    ECDSA,
    HASHES,
    RSASSA,
    SHA256,
    PublicArea,
    Quote,
    Signature,
    read_public,
    read_quote,
    read_signature,
)
from hanse.core.time import WallTime

NONCE_BYTES = 32
"""What of the binding a quote carries: the qualifying data of a TPM is as long as its largest digest."""
_BANKS = {0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_UNUSED = (bytes(1), b"\xff")
"""A register that nothing was measured into is all zeros, or all ones (17 to 22, before a dynamic launch)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A TPM whose endorsement leads to an anchor, and the key that it says it will sign with."""

    anchor: str
    ek: x509.Certificate
    ek_digest: str
    """Hex SHA-256 of the endorsement key: what names this machine."""
    ak: PublicArea
    until_us: WallTime


def read_platform(identity: TpmIdentity, anchors: Mapping[str, str], now: WallTime) -> Platform:
    """Check which TPM a node has. `anchors`: fingerprint of a maker's root key -> its name.

    Raises EvidenceRefused.
    """
    ek = certificates.load_der(identity.ek_certificate, "the endorsement certificate")
    issuers = tuple(certificates.load_der(one, "an issuer of the endorsement") for one in identity.ek_issuers)
    anchor, until, _ = certificates.verify_path(ek, issuers, anchors, now)
    ak = read_public(identity.ak_public)
    if ak.attributes & AK_WANTED != AK_WANTED or ak.attributes & AK_FORBIDDEN:
        raise refused("wrong_key", "the attestation key is not restricted to what its TPM says")
    digest = hashlib.sha256(certificates.public_key_der(ek)).hexdigest()
    return Platform(anchor=anchor, ek=ek, ek_digest=digest, ak=ak, until_us=until)


def verify_tpm(evidence: TpmEvidence, platform: Platform, nonce: bytes) -> Finding:
    """Verify a quote of `platform` over `nonce` (at least 32 bytes; the first 32 count).

    Raises EvidenceRefused: ``attest.malformed``, ``.signature``, ``.wrong_nonce``, ``.wrong_digest``,
    ``.log_mismatch``, ``.unsupported_key``.
    """
    quote, signature = read_quote(evidence.attest), read_signature(evidence.signature)
    check_signature(platform.ak, signature, evidence.attest)
    if quote.extra_data != nonce[:NONCE_BYTES]:
        raise refused("wrong_nonce", "the quote answers another challenge, or was made for another key")
    check_registers(quote, signature, evidence.pcrs)
    events = read_log(evidence.event_log) if evidence.event_log else ()
    if events:
        _check_log(events, evidence.pcrs)
    vector = {"instance-identity": AFFIRMING, "hardware": AFFIRMING}
    if events:
        vector["configuration"] = AFFIRMING
    return Finding(
        kind="tpm", anchor=platform.anchor, claims=_claims(quote, evidence.pcrs, events, platform),
        levels={"firmware": quote.firmware_version}, vector=vector, until_us=platform.until_us,
    )  # fmt: skip


def check_signature(ak: PublicArea, signature: Signature, message: bytes) -> None:
    """Check the attestation key's signature. Raises EvidenceRefused ``attest.signature``."""
    algorithm = CRYPTO_HASHES[signature.hash_alg]
    try:
        if signature.scheme == ECDSA and isinstance(ak.key, ec.EllipticCurvePublicKey):
            ak.key.verify(utils.encode_dss_signature(signature.r, signature.s), message, ec.ECDSA(algorithm))
        elif signature.scheme != ECDSA and isinstance(ak.key, rsa.RSAPublicKey):
            salted = padding.PSS(padding.MGF1(algorithm), padding.PSS.AUTO)
            plain = padding.PKCS1v15()
            ak.key.verify(signature.value, message, plain if signature.scheme == RSASSA else salted, algorithm)
        else:
            raise refused("signature", "the signature is of another kind than the key")
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise refused("signature", "the attestation key did not sign this quote") from error


def check_registers(quote: Quote, signature: Signature, pcrs: tuple[PcrValue, ...]) -> None:
    """Check that the values given are those quoted. Raises EvidenceRefused ``attest.wrong_digest``."""
    given = tuple((one.bank, one.index) for one in pcrs)
    has_right_sizes = all(one.bank in HASHES and len(one.value) == HASHES[one.bank]().digest_size for one in pcrs)
    if given != quote.selection or not has_right_sizes:
        raise refused("wrong_digest", "the registers given are not those that the quote covers")
    digest = HASHES[signature.hash_alg](b"".join(one.value for one in pcrs)).digest()
    if digest != quote.pcr_digest:
        raise refused("wrong_digest", "the values of the registers are not those quoted")


def _check_log(events: tuple[Event, ...], pcrs: tuple[PcrValue, ...]) -> None:
    for bank in sorted({one.bank for one in pcrs}):
        explained = replay(events, bank)
        for one in pcrs:
            if one.bank != bank:
                continue
            said = explained.get(one.index)
            if said is None and one.value.strip(one.value[:1]) == b"" and one.value[:1] in _UNUSED:
                continue
            if said != one.value:
                raise refused("log_mismatch", f"PCR {one.index} holds what the event log does not explain")


def _claims(quote: Quote, pcrs: tuple[PcrValue, ...], events: tuple[Event, ...], platform: Platform) -> dict[str, str]:
    claims = {
        "ek": platform.ek_digest,
        "firmware": f"{quote.firmware_version:016x}",
        "resets": str(quote.reset_count),
        "restarts": str(quote.restart_count),
    }
    claims |= {f"pcr.{_BANKS[one.bank]}.{one.index}": one.value.hex() for one in pcrs if any(one.value)}
    for event in events:
        name = event_name(event)
        if name is not None and SHA256 in event.digests:
            claims[f"event.{name}"] = event.digests[SHA256].hex()
    return dict(sorted(claims.items()))


EVENT_PREFIX = b"hanse/"


def event_name(event: Event) -> str | None:
    """The name of an event that hanse measured itself (``engine``, ``agent`` ...); None for those of others."""
    if event.type == EV_NO_ACTION or not event.data.startswith(EVENT_PREFIX) or len(event.data) > 64:
        return None
    name = event.data.removeprefix(EVENT_PREFIX)
    is_plain = name.isascii() and name.replace(b"-", b"").isalnum()
    return name.decode() if is_plain else None
