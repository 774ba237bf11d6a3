"""TPM 2.0 structures, read strictly: quote, signature, public area.

`bytes -> Quote, Signature, PublicArea`. TCG TPM 2.0 Library specification, part 2 (structures), rev. 1.59. Algorithms
that are broken (SHA-1) or that no attestation key uses are refused, not parsed around.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hanse.attest.errors import refused
from hanse.attest.reading import Reader

MAGIC = 0xFF544347
ST_ATTEST_QUOTE = 0x8018
SHA256, SHA384, SHA512 = 0x000B, 0x000C, 0x000D
ALG_RSA, ALG_ECC, ALG_NULL = 0x0001, 0x0023, 0x0010
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018
HASHES = {SHA256: hashlib.sha256, SHA384: hashlib.sha384, SHA512: hashlib.sha512}
CRYPTO_HASHES: dict[int, hashes.HashAlgorithm] = {
    SHA256: hashes.SHA256(),
    SHA384: hashes.SHA384(),
    SHA512: hashes.SHA512(),
}
CURVES: dict[int, ec.EllipticCurve] = {0x0003: ec.SECP256R1(), 0x0004: ec.SECP384R1()}
PCRS = 24
MAX_STRUCT_BYTES = 4_096
AK_WANTED = 0x00050032
"""TPMA_OBJECT: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign: a key that signs what the TPM says."""
AK_FORBIDDEN = 0x00020000
"""TPMA_OBJECT decrypt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """TPMS_ATTEST of type quote."""

    extra_data: bytes
    """The nonce that was asked for."""
    signer: bytes
    """Qualified name of the key."""
    clock: int
    reset_count: int
    """Grows at each boot."""
    restart_count: int
    is_clock_safe: bool
    firmware_version: int
    selection: tuple[tuple[int, int], ...]
    """(bank, index) in the order in which the values are hashed."""
    pcr_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """TPMT_SIGNATURE: `r` and `s` for ECDSA, else `value`."""

    scheme: int
    hash_alg: int
    value: bytes = b""
    r: int = 0
    s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicArea:
    """TPMT_PUBLIC of a signing key."""

    name: bytes
    """nameAlg and digest of the area: what the TPM calls the key."""
    attributes: int
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def read_quote(data: bytes) -> Quote:
    """Read a TPMS_ATTEST. Raises EvidenceRefused ``attest.malformed``, also where it is no quote of a TPM."""
    r = Reader(data, "TPMS_ATTEST", at_most=MAX_STRUCT_BYTES)
    if r.big(4) != MAGIC or r.big(2) != ST_ATTEST_QUOTE:
        raise refused("malformed", "TPMS_ATTEST is not a quote made by a TPM")
    signer, extra = r.sized(68), r.sized(64)
    clock, resets, restarts, safe, firmware = r.big(8), r.big(4), r.big(4), r.big(1), r.big(8)
    if safe > 1:
        raise refused("malformed", "TPMS_CLOCK_INFO.safe is neither yes nor no")
    selection = _selection(r)
    digest = r.sized(64)
    r.end()
    return Quote(
        extra_data=extra, signer=signer, clock=clock, reset_count=resets, restart_count=restarts,
        is_clock_safe=bool(safe), firmware_version=firmware, selection=selection, pcr_digest=digest,
    )  # fmt: skip


def read_signature(data: bytes) -> Signature:
    """Read a TPMT_SIGNATURE. Raises EvidenceRefused ``attest.malformed``, ``attest.unsupported_key``."""
    r = Reader(data, "TPMT_SIGNATURE", at_most=MAX_STRUCT_BYTES)
    scheme, hash_alg = r.big(2), r.big(2)
    if hash_alg not in CRYPTO_HASHES:
        raise refused("unsupported_key", f"signatures over hash {hash_alg:#06x} are not believed")
    if scheme in (RSASSA, RSAPSS):
        found = Signature(scheme=scheme, hash_alg=hash_alg, value=r.sized(512))
    elif scheme == ECDSA:
        found = Signature(
            scheme=scheme, hash_alg=hash_alg, r=int.from_bytes(r.sized(66), "big"), s=int.from_bytes(r.sized(66), "big")
        )
    else:
        raise refused("unsupported_key", f"signature scheme {scheme:#06x} is not known")
    r.end()
    return found


def read_public(data: bytes) -> PublicArea:
    """Read the TPMT_PUBLIC of an attestation key. Raises EvidenceRefused ``.malformed``, ``.unsupported_key``."""
    r = Reader(data, "TPMT_PUBLIC", at_most=MAX_STRUCT_BYTES)
    kind, name_alg, attributes = r.big(2), r.big(2), r.big(4)
    if name_alg not in HASHES:
        raise refused("unsupported_key", f"keys named by hash {name_alg:#06x} are not believed")
    r.sized(64)  # authorisation policy: who may use the key is the node's business
    key = _rsa(r) if kind == ALG_RSA else _ecc(r) if kind == ALG_ECC else None
    if key is None:
        raise refused("unsupported_key", f"keys of type {kind:#06x} are not known")
    r.end()
    name = name_alg.to_bytes(2, "big") + HASHES[name_alg](data).digest()
    return PublicArea(name=name, attributes=attributes, key=key)


def _selection(r: Reader) -> tuple[tuple[int, int], ...]:
    banks = r.big(4)
    if not 1 <= banks <= len(HASHES):
        raise refused("malformed", f"a quote selects 1 to {len(HASHES)} banks, not {banks}")
    selected: list[tuple[int, int]] = []
    for _ in range(banks):
        bank, size = r.big(2), r.big(1)
        if bank not in HASHES or size != PCRS // 8 or any(known == bank for known, _ in selected):
            raise refused("malformed", f"bank {bank:#06x} with {size} bytes of selection is not believed")
        bits = int.from_bytes(r.take(size), "little")
        selected += [(bank, index) for index in range(PCRS) if bits >> index & 1]
    if not selected:
        raise refused("malformed", "the quote covers no register")
    return tuple(selected)


def _rsa(r: Reader) -> rsa.RSAPublicKey:
    _no_symmetric(r)
    _scheme(r, (RSASSA, RSAPSS))
    bits, exponent = r.big(2), r.big(4)
    modulus = int.from_bytes(r.sized(512), "big")
    if bits not in (2048, 3072, 4096) or modulus.bit_length() != bits or exponent not in (0, 65_537):
        raise refused("unsupported_key", f"an RSA key of {bits} bits with exponent {exponent} is not believed")
    try:
        return rsa.RSAPublicNumbers(65_537, modulus).public_key()
    except ValueError as error:
        raise refused("malformed", f"not an RSA key: {error}") from error


def _ecc(r: Reader) -> ec.EllipticCurvePublicKey:
    _no_symmetric(r)
    _scheme(r, (ECDSA,))
    curve_id, kdf = r.big(2), r.big(2)
    x, y = int.from_bytes(r.sized(48), "big"), int.from_bytes(r.sized(48), "big")
    curve = CURVES.get(curve_id)
    if curve is None or kdf != ALG_NULL:
        raise refused("unsupported_key", f"curve {curve_id:#06x} is not known")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError as error:
        raise refused("malformed", f"not a point of the curve: {error}") from error


def _no_symmetric(r: Reader) -> None:
    if r.big(2) != ALG_NULL:
        raise refused("unsupported_key", "a storage key does not sign quotes")


def _scheme(r: Reader, allowed: tuple[int, ...]) -> None:
    scheme = r.big(2)
    if scheme not in allowed or r.big(2) not in HASHES:
        raise refused("unsupported_key", f"signing scheme {scheme:#06x} is not fixed to one that is believed")
