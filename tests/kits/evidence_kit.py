"""Evidence for tests: real samples where they are shared, and platforms forged from keys of our own where none is.

A forged platform is as good as its root: tests name that root as an anchor. Nothing of the samples is copied here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID
from tpm_kit import SimulatedTpm, TpmMaker

from hanse.attest import Anchor, SnpEvidence, certificates
from hanse.attest.snp import SIGNED_BYTES
from hanse.core.time import US_PER_S, WallTime

NOW = WallTime(1_750_500_000 * US_PER_S)
"""2025-06-21: inside the window of the shared collateral."""
TODAY = WallTime(1_795_000_000 * US_PER_S)
SHARED = Path(os.environ.get("HANSE_SHARED", "/nonexistent")) / "data" / "evidence"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared evidence samples (HANSE_SHARED)")


def sample(name: str) -> bytes:
    """One shared file; hex text is decoded."""
    data = (SHARED / name).read_bytes()
    return bytes.fromhex(data.decode().strip().removeprefix("0x")) if name.endswith(".hex") else data


def ders(pem: bytes) -> tuple[bytes, ...]:
    return tuple(one.public_bytes(serialization.Encoding.DER) for one in certificates.load_pem(pem, "a sample"))


def milan() -> SnpEvidence:
    """The Milan report of virtee/sev with its whole chain."""
    return SnpEvidence(
        report=sample("snp/report_milan.hex"),
        certificate=sample("snp/vcek_milan.der"),
        issuers=ders(sample("snp/cert_chain_milan")),
    )


def azure(name: str, chain: str) -> SnpEvidence:
    """The report inside an Azure paravisor's hardware report (offset 32 of the HCL blob)."""
    given = json.loads((SHARED / "az/az-snp-vtpm" / name).read_text())
    return SnpEvidence(
        report=bytes(given["report"])[32 : 32 + 1_184],
        certificate=ders(given["vcek"].encode())[0],
        issuers=ders(sample(chain))[:2],
    )


def tpm(seed: int = 1, boot: dict[str, bytes] | None = None) -> tuple[TpmMaker, SimulatedTpm]:
    draw = _Draw(seed)
    maker = TpmMaker(draw)
    return maker, SimulatedTpm(maker, draw, {"engine": b"engine 1", "agent": b"agent 1"} if boot is None else boot)


class _Draw:
    """Bytes that look random and repeat."""

    def __init__(self, seed: int) -> None:
        self._count = seed * 1_000

    def __call__(self, count: int) -> bytes:
        self._count += 1
        digest = hashes.Hash(hashes.SHAKE256(count))
        digest.update(self._count.to_bytes(8, "big"))
        return digest.finalize()


@dataclass
class ForgedAmd:
    """A pretended AMD: ARK, ASK and ASVK for Milan, and processors that they endorse."""

    begin: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    end: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    certificates: dict[str, x509.Certificate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for at, name in enumerate(("ARK-Milan", "SEV-Milan", "SEV-VLEK-Milan")):
            self.keys[name] = ec.derive_private_key(10_007 + at, ec.SECP384R1())
            self.certificates[name] = self.issue(name, "ARK-Milan", self.keys[name], serial=100 + at, is_authority=True)

    @property
    def anchor(self) -> Anchor:
        return Anchor(
            name="forged-amd", kind="snp", fingerprint=certificates.fingerprint(self.certificates["ARK-Milan"])
        )

    def issue(
        self,
        name: str,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        serial: int,
        is_authority: bool = False,
        extensions: dict[str, bytes] | None = None,
        end: datetime | None = None,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            _named(issuer), _named(name), key.public_key(), serial, self.begin, end or self.end
        ).add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        for oid, value in (extensions or {}).items():
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.3704.1." + oid), value)
            builder = builder.add_extension(unknown, critical=False)
        return builder.sign(self.keys[issuer], hashes.SHA384(), ecdsa_deterministic=True)

    def crl(self, issuer: str, revoked: tuple[int, ...] = (), *, days: int = 30) -> bytes:
        at = datetime.fromtimestamp(NOW / 1e6, UTC)
        builder = x509.CertificateRevocationListBuilder(
            _named(issuer), at - timedelta(days=1), at + timedelta(days=days)
        )
        for serial in revoked:
            one = x509.RevokedCertificateBuilder(serial, at - timedelta(days=1)).build()
            builder = builder.add_revoked_certificate(one)
        signed = builder.sign(self.keys[issuer], hashes.SHA384(), ecdsa_deterministic=True)
        return signed.public_bytes(serialization.Encoding.DER)

    def evidence(
        self,
        report_data: bytes = bytes(64),
        *,
        is_vlek: bool = False,
        policy: int = 0x30000,
        vmpl: int = 0,
        tcb: tuple[int, int, int, int] = (3, 0, 8, 115),
        certified_tcb: tuple[int, int, int, int] | None = None,
        chip: bytes = b"\x17" * 64,
        certified_chip: bytes | None = None,
        measurement: bytes = b"\x21" * 48,
        flags: int | None = None,
        version: int = 2,
        crls: tuple[bytes, ...] = (),
        end: datetime | None = None,
    ) -> SnpEvidence:
        """A report and its certificate, wrong in exactly what is asked for."""
        issuer = "SEV-VLEK-Milan" if is_vlek else "SEV-Milan"
        key = ec.derive_private_key(20_011, ec.SECP384R1())
        oids = dict(zip(("3.1", "3.2", "3.3", "3.8"), certified_tcb or tcb, strict=True))
        extensions = {oid: _integer(value) for oid, value in oids.items()}
        if not is_vlek:
            extensions["4"] = certified_chip or chip
        leaf = self.issue("SEV-VLEK" if is_vlek else "SEV-VCEK", issuer, key, serial=7, extensions=extensions, end=end)
        flags = (1 << 2 if is_vlek else 0) if flags is None else flags
        body = _report(version, policy, vmpl, flags, report_data, measurement, tcb, chip)
        return SnpEvidence(
            report=body + _signature(key, body),
            certificate=leaf.public_bytes(serialization.Encoding.DER),
            issuers=tuple(
                self.certificates[name].public_bytes(serialization.Encoding.DER) for name in (issuer, "ARK-Milan")
            ),
            crls=crls,
        )


def _report(
    version: int,
    policy: int,
    vmpl: int,
    flags: int,
    report_data: bytes,
    measurement: bytes,
    tcb: tuple[int, int, int, int],
    chip: bytes,
) -> bytes:
    level = bytes([tcb[0], tcb[1], 0, 0, 0, 0, tcb[2], tcb[3]])
    body = bytearray(SIGNED_BYTES)
    for at, value in (
        (0x00, version.to_bytes(4, "little")), (0x08, policy.to_bytes(8, "little")), (0x30, vmpl.to_bytes(4, "little")),
        (0x34, (1).to_bytes(4, "little")), (0x38, level), (0x48, flags.to_bytes(4, "little")), (0x50, report_data),
        (0x90, measurement), (0x180, level), (0x1A0, chip), (0x1E0, level), (0x1F0, level),
    ):  # fmt: skip
        body[at : at + len(value)] = value
    return bytes(body)


def _signature(key: ec.EllipticCurvePrivateKey, body: bytes) -> bytes:
    der = key.sign(body, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    r, s = (number.to_bytes(72, "little") for number in utils.decode_dss_signature(der))
    return (r + s).ljust(1_184 - SIGNED_BYTES, b"\0")


def _integer(value: int) -> bytes:
    body = value.to_bytes(1 if value < 128 else 2, "big")
    return b"\x02" + bytes([len(body)]) + body


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def flipped(data: bytes, at: int, mask: int = 0x01) -> bytes:
    """`data` with one bit changed."""
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


__all__ = [
    "NOW", "SHARED", "TODAY", "ForgedAmd", "azure", "ders", "flipped", "milan",
    "needs_samples", "sample", "tpm",
]  # fmt: skip
