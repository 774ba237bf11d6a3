"""Appraise an AMD SEV-SNP attestation report, signed by a VCEK or a VLEK.

`SnpEvidence, report data, anchors, now -> Finding | EvidenceRefused`. SEV Secure Nested Paging Firmware ABI (AMD 56860,
rev. 1.58), section 7.3 and table 22; VCEK certificate and KDS interface (AMD 57230), table 8. That the certificate is
of the version that signed is checked, because a VCEK of an older firmware stays valid for years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from hanse.attest import certificates
from hanse.attest.errors import refused
from hanse.attest.evidence import SnpEvidence
from hanse.attest.reading import Reader
from hanse.attest.result import AFFIRMING, WARNING, Finding
from hanse.core.time import WallTime

REPORT_BYTES = 1_184
SIGNED_BYTES = 0x2A0
VERSIONS = (2, 3, 4, 5)
SIGN_ECDSA_P384_SHA384 = 1
POLICY_DEBUG = 1 << 19
POLICY_MUST_BE_ONE = 1 << 17
VCEK, VLEK = 0, 1
MASKED_CHIP = 1 << 1
_OID = "1.3.6.1.4.1.3704.1."
_TCB_OIDS = {"bl": "3.1", "tee": "3.2", "snp": "3.3", "ucode": "3.8", "fmc": "3.9"}
_LAYOUTS: Mapping[str, Mapping[str, int]] = {
    "Milan": {"bl": 0, "tee": 1, "snp": 6, "ucode": 7},
    "Genoa": {"bl": 0, "tee": 1, "snp": 6, "ucode": 7},
    "Turin": {"fmc": 0, "bl": 1, "tee": 2, "snp": 3, "ucode": 7},
}
"""Byte of each component in TCB_VERSION, per product line (tables 3 and 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The fields of a report that anything here reads."""

    version: int
    guest_svn: int
    policy: int
    vmpl: int
    platform_info: int
    flags: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    reported_tcb: bytes
    chip_id: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    r: int
    s: int

    @property
    def signing_key(self) -> int:
        """`VCEK` or `VLEK`, else none."""
        return self.flags >> 2 & 7


def read_report(data: bytes) -> Report:
    """Read an ATTESTATION_REPORT. Raises EvidenceRefused ``attest.malformed``."""
    r = Reader(data, "SNP report", at_most=REPORT_BYTES)
    version, svn, policy = r.little(4), r.little(4), r.little(8)
    r.take(32)  # family and image id: names that the guest's owner gives
    vmpl, algorithm = r.little(4), r.little(4)
    r.take(8)  # current TCB: what the firmware could be, not what is reported
    platform, flags = r.little(8), r.little(4)
    r.zeros(4)
    report_data, measurement, host = r.take(64), r.take(48), r.take(32)
    id_key, author_key = r.take(48), r.take(48)
    r.take(64)  # report id of the guest and of its migration agent
    reported = r.take(8)
    r.take(24)  # family, model, stepping from version 3 on; reserved before
    chip, committed = r.take(64), r.take(8)
    r.take(8)  # builds of the firmware
    launch = r.take(8)
    r.take(SIGNED_BYTES - 0x1F8)
    # The signature's numbers are 384 bits long, in 72 bytes each.
    first = r.little(48)
    r.zeros(24)
    second = r.little(48)
    r.zeros(24)
    r.zeros(REPORT_BYTES - SIGNED_BYTES - 144)
    r.end()
    if version not in VERSIONS or algorithm != SIGN_ECDSA_P384_SHA384:
        raise refused("malformed", f"a report of version {version}, signed by algorithm {algorithm}, is not known")
    return Report(
        version=version, guest_svn=svn, policy=policy, vmpl=vmpl, platform_info=platform, flags=flags,
        report_data=report_data, measurement=measurement, host_data=host, id_key_digest=id_key,
        author_key_digest=author_key, reported_tcb=reported, chip_id=chip, committed_tcb=committed, launch_tcb=launch,
        r=first, s=second,
    )  # fmt: skip


def verify_snp(
    evidence: SnpEvidence, expected: bytes, anchors: Mapping[str, str], now: WallTime, *, max_vmpl: int = 0
) -> Finding:
    """Verify a report whose report data must be `expected` (64 bytes).

    Raises EvidenceRefused: ``attest.malformed``, ``.debug``, ``.wrong_vmpl``, ``.wrong_nonce``, ``.wrong_tcb``,
    ``.wrong_chip``, ``.wrong_key``, ``.signature``, ``.chain``, ``.unknown_anchor``, ``.revoked`` and more of the path.
    """
    report = read_report(evidence.report)
    check_guest(report, max_vmpl)
    if report.report_data != expected:
        raise refused("wrong_nonce", "the report answers another challenge, or was made for another key")
    leaf = certificates.load_der(evidence.certificate, "the signing certificate")
    issuers = tuple(certificates.load_der(one, "an issuer") for one in evidence.issuers)
    anchor, until, is_vouched = certificates.verify_path(leaf, issuers, anchors, now, crls=evidence.crls)
    check_signature(report, evidence.report, leaf)
    product = product_of(leaf)
    levels = tcb_levels(report.reported_tcb, product)
    _check_leaf(report, leaf, product, levels)
    vector = {
        "instance-identity": AFFIRMING,
        "configuration": AFFIRMING,
        # Without a list of revoked keys nobody can say that this one is not on it.
        "hardware": AFFIRMING if is_vouched else WARNING,
        "runtime-opaque": AFFIRMING,
    }
    return Finding(
        kind="snp", anchor=anchor, claims=_claims(report, product), levels={**levels, "guest-svn": report.guest_svn},
        vector=vector, until_us=until,
    )  # fmt: skip


def check_guest(report: Report, max_vmpl: int) -> None:
    """Refuse a guest that its host can read, or that asked from too low a privilege level."""
    if report.policy & POLICY_DEBUG:
        raise refused("debug", "the guest's policy allows debugging: its host can read it")
    if not report.policy & POLICY_MUST_BE_ONE:
        raise refused("malformed", "the guest's policy lacks the bit that is always set")
    if report.vmpl > max_vmpl:
        raise refused("wrong_vmpl", f"the report was asked for at VMPL {report.vmpl}, at most {max_vmpl} counts")


def check_signature(report: Report, data: bytes, leaf: x509.Certificate) -> None:
    """Check the processor's signature. Raises EvidenceRefused ``attest.signature``."""
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise refused("unsupported_key", "reports are signed with ECDSA P-384")
    try:
        encoded = utils.encode_dss_signature(report.r, report.s)
        key.verify(encoded, data[:SIGNED_BYTES], ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise refused("signature", "the processor did not sign this report") from error


def product_of(leaf: x509.Certificate) -> str:
    """``Milan``, ``Genoa`` or ``Turin``, as the certificate's issuer says. Raises EvidenceRefused."""
    name = leaf.issuer.rfc4514_string()
    found = [product for product in _LAYOUTS if f"SEV-{product}" in name or f"SEV-VLEK-{product}" in name]
    if len(found) != 1:
        raise refused("unsupported_key", f"{name} is no product line that is known")
    return found[0]


def tcb_levels(tcb: bytes, product: str) -> dict[str, int]:
    """Security versions of the components of a TCB_VERSION; all other bytes must be zero."""
    layout = _LAYOUTS[product]
    if any(value for at, value in enumerate(tcb) if at not in layout.values()):
        raise refused("malformed", "a TCB version has something in reserved bytes")
    return {name: tcb[at] for name, at in layout.items()}


def _check_leaf(report: Report, leaf: x509.Certificate, product: str, levels: Mapping[str, int]) -> None:
    """The certificate must be of the firmware, and a VCEK of the chip, that the report names."""
    is_vlek = f"SEV-VLEK-{product}" in leaf.issuer.rfc4514_string()
    if report.signing_key != (VLEK if is_vlek else VCEK):
        raise refused("wrong_key", "the report names another kind of signing key than the certificate's")
    for name, level in levels.items():
        if _number(leaf, _TCB_OIDS[name]) != level:
            raise refused("wrong_tcb", f"the certificate is for another version of {name} than the report's {level}")
    if is_vlek:
        return
    chip = _extension(leaf, "4")
    # Turin names a chip by 8 bytes, the rest of the field is zero.
    if chip is None or report.chip_id != chip.ljust(64, b"\0") or report.flags & MASKED_CHIP:
        raise refused("wrong_chip", "the certificate is for another chip than the report's")


def _number(leaf: x509.Certificate, oid: str) -> int | None:
    """A DER INTEGER of one or two bytes."""
    value = _extension(leaf, oid)
    if value is None or len(value) not in (3, 4) or value[0] != 2 or value[1] != len(value) - 2:
        return None
    return int.from_bytes(value[2:], "big")


def _extension(leaf: x509.Certificate, oid: str) -> bytes | None:
    for extension in leaf.extensions:
        if extension.oid.dotted_string == _OID + oid:
            value = extension.value
            return value.value if isinstance(value, x509.UnrecognizedExtension) else None
    return None


def _claims(report: Report, product: str) -> dict[str, str]:
    claims = {
        "product": product,
        "measurement": report.measurement.hex(),
        "policy": f"{report.policy:016x}",
        "vmpl": str(report.vmpl),
        "reported-tcb": report.reported_tcb.hex(),
        "signing-key": "vlek" if report.signing_key == VLEK else "vcek",
        "host-data": report.host_data.hex(),
    }
    optional = {
        "chip": report.chip_id,
        "id-key": report.id_key_digest,
        "author-key": report.author_key_digest,
    }
    return dict(sorted({**claims, **{name: value.hex() for name, value in optional.items() if any(value)}}.items()))
