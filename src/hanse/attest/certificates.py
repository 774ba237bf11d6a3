"""Certificates of makers: read with bounds, and a path from a leaf to an anchor at one moment.

`DER or PEM, anchors, CRLs, now -> certificate | EvidenceRefused`. Makers of hardware do not issue by the rules of the
web: AMD's leaves carry serial number 0, endorsement keys have neither names nor usages that RFC 5280 knows. So the
path is checked here step by step, with pyca/cryptography for every signature: issuer, signature, authority, validity,
revocation. A chain is at most four long and every certificate in it is used.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning

from hanse.attest.errors import refused
from hanse.core.time import WallTime, from_datetime, rfc3339, to_datetime

MAX_CERTIFICATE_BYTES = 8_192
MAX_CRL_BYTES = 262_144
MAX_CHAIN = 4
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""All that pyca/cryptography raises on foreign bytes; what it only warns of is refused, too."""


def load_der(data: bytes, what: str) -> x509.Certificate:
    """Read one DER certificate, in its one spelling. Raises EvidenceRefused ``.malformed``, ``.too_large``."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise refused("too_large", f"{what} takes {len(data)} bytes, over the limit of {MAX_CERTIFICATE_BYTES}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # AMD issues VCEKs with serial number 0: the number is not used for anything here.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = x509.load_der_x509_certificate(data)
            # Read lazily otherwise: what cannot be read is refused here and nowhere else.
            _ = (found.extensions, found.subject, found.issuer, found.public_key())
            _ = (found.signature_algorithm_parameters, found.not_valid_before_utc, found.not_valid_after_utc)
    except _UNREADABLE as error:
        raise refused("malformed", f"{what} is not a certificate: {error}") from error
    if found.public_bytes(serialization.Encoding.DER) != data or not _is_outside_canonical(found, data):
        raise refused("malformed", f"{what} has another spelling than its own")
    return found


def load_chain(text: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Read a PEM chain up to a root that signed itself, each issued by the next, in the one spelling of PEM.

    A trailing newline or NUL may be there or not. Raises EvidenceRefused ``.malformed``, ``.too_large``, ``.chain``.
    """
    found = load_pem(text, what)
    spelled = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)
    if spelled.rstrip() != text.removesuffix(b"\0").removesuffix(b"\n"):
        raise refused("malformed", f"{what} is not spelled as PEM is")
    for subject, issuer in zip(found, (*found[1:], found[-1]), strict=True):
        check_issued(subject, issuer)
    return found


def load_pem(text: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Read PEM certificates, one to `MAX_CHAIN`."""
    if len(text) > MAX_CHAIN * MAX_CERTIFICATE_BYTES * 2:
        raise refused("too_large", f"{what} takes {len(text)} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = x509.load_pem_x509_certificates(text)
            ders = [one.public_bytes(serialization.Encoding.DER) for one in found]
    except _UNREADABLE as error:
        raise refused("malformed", f"{what} holds no certificates: {error}") from error
    if len(ders) > MAX_CHAIN:
        raise refused("too_large", f"{what} holds {len(ders)} certificates")
    return tuple(load_der(der, what) for der in ders)


def fingerprint(certificate: x509.Certificate) -> str:
    """Lower-case hex SHA-256 of a certificate's public key (SubjectPublicKeyInfo): what an anchor is known by."""
    return hashlib.sha256(public_key_der(certificate)).hexdigest()


def public_key_der(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo of a certificate."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def verify_path(
    leaf: x509.Certificate,
    issuers: Sequence[x509.Certificate],
    anchors: Mapping[str, str],
    now: WallTime,
    *,
    crls: Sequence[bytes] = (),
) -> tuple[str, WallTime, bool]:
    """Check the path from `leaf` over `issuers` (in order) to one of `anchors` (fingerprint -> name).

    The last issuer is the anchor. Returns the anchor's name, when the path or a CRL ends, and whether a CRL of the
    anchor vouched for the path. Raises EvidenceRefused: ``attest.unknown_anchor``, ``attest.chain``,
    ``attest.certificate_expired``, ``attest.collateral_expired``, ``attest.revoked``.
    """
    if not issuers or len(issuers) >= MAX_CHAIN:
        raise refused("chain", f"a path has one to {MAX_CHAIN - 1} issuers, not {len(issuers)}")
    name = anchors.get(fingerprint(issuers[-1]))
    if name is None:
        raise refused("unknown_anchor", f"{_name(issuers[-1])} is not an anchor of this domain")
    path = (leaf, *issuers)
    # The anchor is believed for its key; the rest of its certificate because it signed itself.
    for subject, issuer in zip(path, (*issuers, issuers[-1]), strict=True):
        check_issued(subject, issuer)
    for one in path:
        _check_time(one, now)
    until = min(from_datetime(one.not_valid_after_utc) for one in path)
    ends, is_vouched = _check_crls(path, crls, now)
    return name, WallTime(min(until, ends) if ends is not None else until), is_vouched


def check_issued(subject: x509.Certificate, issuer: x509.Certificate) -> None:
    """Check one step of a path. Raises EvidenceRefused ``attest.chain``."""
    if _is_authority(subject):
        _check_authority(subject, issuer)
    else:
        _check_step(subject, issuer)


@lru_cache(maxsize=256)
def _check_authority(subject: x509.Certificate, issuer: x509.Certificate) -> None:
    """Authorities are few and stand above every leaf of a maker, so what was once found valid is kept.

    Nothing here depends on the time: validity and revocation are asked anew each time. A failure is not kept.
    """
    _check_step(subject, issuer)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_step(subject: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _is_authority(issuer):
        raise refused("chain", f"{_name(issuer)} is no authority")
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise refused("chain", f"{_name(subject)} was not issued by {_name(issuer)}: {error}") from error


def _is_outside_canonical(found: x509.Certificate, data: bytes) -> bool:
    """What lies outside the signed part must repeat it: the algorithm as it is signed, whole bytes of signature.

    Otherwise one certificate has several spellings (RFC 5280 section 4.1.1.2).
    """
    signed = found.tbs_certificate_bytes
    rest = data[data.index(signed) + len(signed) :]
    algorithm = rest[: 2 + rest[1]]
    return algorithm in signed and data.endswith(b"\0" + found.signature)


def _check_time(one: x509.Certificate, now: WallTime) -> None:
    if not one.not_valid_before_utc <= to_datetime(now) <= one.not_valid_after_utc:
        raise refused(
            "certificate_expired",
            f"{_name(one)} is valid from {one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d}, "
            f"now is {rfc3339(now)}",
        )


def _check_crls(path: Sequence[x509.Certificate], crls: Sequence[bytes], now: WallTime) -> tuple[WallTime | None, bool]:
    """Hold the path against the lists; each list must be of an issuer in the path, and fresh."""
    ends: list[WallTime] = []
    has_anchors_list = False
    for data in crls:
        listed = _load_crl(data)
        issuer = next((one for one in path[1:] if one.subject == listed.issuer), None)
        if issuer is None or not _is_signed_by(listed, issuer):
            raise refused("chain", "a revocation list is not of any issuer in the path")
        until = listed.next_update_utc
        if until is None or to_datetime(now) > until or to_datetime(now) < listed.last_update_utc:
            raise refused("collateral_expired", f"the revocation list of {_name(issuer)} is not current")
        for one in path:
            if one.issuer == listed.issuer and _is_listed(listed, one):
                raise refused("revoked", f"{_name(one)} was revoked by {_name(issuer)}")
        ends.append(from_datetime(until))
        has_anchors_list |= issuer is path[-1]
    return (WallTime(min(ends)) if ends else None), has_anchors_list


def _load_crl(data: bytes) -> x509.CertificateRevocationList:
    if len(data) > MAX_CRL_BYTES:
        raise refused("too_large", f"a revocation list takes {len(data)} bytes")
    try:
        found = x509.load_der_x509_crl(data)
        _ = (found.issuer, found.next_update_utc, found.last_update_utc, found.extensions)
    except _UNREADABLE as error:
        raise refused("malformed", f"not a revocation list: {error}") from error
    return found


def _is_signed_by(listed: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        key = issuer.public_key()
        return bool(listed.is_signature_valid(key))  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _is_listed(listed: x509.CertificateRevocationList, one: x509.Certificate) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return listed.get_revoked_certificate_by_serial_number(one.serial_number) is not None


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a subject"
