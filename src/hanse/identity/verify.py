"""Verify an X.509-SVID: whose it is, or the one rule it breaks.

`chain PEM + trust bundle PEM + now + expected name -> SpiffeId`. The SPIFFE rules (X509-SVID.md sections 3 to 5) are
checked here, one code each; the path to the bundle is validated by pyca/cryptography (RFC 5280). No revocation: an
SVID lives an hour, and a revoked node is refused by name (`hanse.wire.messages.Revocations`).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hanse.core.time import WallTime, rfc3339, to_datetime
from hanse.identity import spiffe
from hanse.identity.authority import UNREADABLE, is_signature_canonical
from hanse.identity.errors import IdentityError
from hanse.identity.spiffe import SpiffeId, domain_id

MAX_CHAIN_BYTES = 65_536
MAX_CHAIN_LENGTH = 4


def verify_svid(
    chain_pem: bytes, bundle_pem: bytes, now: WallTime, *, domain: str, path: str | None = None
) -> SpiffeId:
    """Verify a chain (leaf first) against the bundle of `domain` and return the leaf's name.

    `path` is the exact path to expect; None takes any member of the domain. Raises IdentityError with one of
    ``identity.malformed_chain``, ``.malformed_id``, ``.ca_as_leaf``, ``.no_uri``, ``.two_uris``, ``.no_path``,
    ``.wrong_domain``, ``.wrong_path``, ``.bad_usage``, ``.san_not_critical``, ``.not_yet_valid``, ``.expired``,
    ``.mixed_bundle``, ``.untrusted``.
    """
    leaf, intermediates = _parse_chain(chain_pem)
    found = _name_of(leaf)
    if found.domain != domain:
        raise _refused("wrong_domain", f"{found} is not of trust domain {domain}")
    if path is not None and found.path != path:
        raise _refused("wrong_path", f"{found} is not {domain_id(domain)}{path}")
    _check_usage(leaf)
    _check_time(leaf, now)
    _check_path(leaf, intermediates, _parse_bundle(bundle_pem, domain), now, domain)
    return found


def expiry_of(chain_pem: bytes) -> WallTime:
    """When the leaf of a chain ends, in microseconds. Raises IdentityError ``identity.malformed_chain``."""
    leaf, _ = _parse_chain(chain_pem)
    return WallTime(int(leaf.not_valid_after_utc.timestamp()) * 1_000_000)


def name_of_leaf(der: bytes) -> SpiffeId:
    """The name in a leaf whose chain was verified elsewhere (by a TLS library). Raises IdentityError."""
    try:
        leaf = x509.load_der_x509_certificate(der)
        found = _name_of(leaf)
    except UNREADABLE as error:
        raise _refused("malformed_chain", f"not a certificate: {error}") from error
    _check_usage(leaf)
    return found


def check_bundle(bundle_pem: bytes, domain: str) -> list[x509.Certificate]:
    """Read a trust bundle, all of whose authorities must be of `domain` and say so. Raises IdentityError."""
    roots = _parse_bundle(bundle_pem, domain)
    for root in roots:
        if _alternative_names(root) is None:
            raise _refused("mixed_bundle", "an authority of another domain has to carry its SPIFFE ID")
    return roots


def _name_of(leaf: x509.Certificate) -> SpiffeId:
    if _is_authority(leaf):
        raise _refused("ca_as_leaf", "a signing certificate must not authenticate")
    extension = _alternative_names(leaf)
    uris = [] if extension is None else extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    if extension is None or not uris:
        raise _refused("no_uri", "the certificate carries no SPIFFE ID")
    if len(uris) > 1:
        raise _refused("two_uris", f"the certificate carries {len(uris)} URIs; an SVID has exactly one")
    if not list(leaf.subject) and not extension.critical:
        raise _refused("san_not_critical", "the subject is empty and the alternative name is not critical")
    name = spiffe.parse(uris[0])
    if name.is_domain:
        raise _refused("no_path", f"{name} names a trust domain, not a member of it")
    return name


def _check_usage(leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        raise _refused("bad_usage", "key usage is missing") from None
    if not usage.critical or not usage.value.digital_signature:
        raise _refused("bad_usage", "key usage must be critical and allow digital signatures")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise _refused("bad_usage", "a leaf must not sign certificates or revocation lists")
    try:
        extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return
    for wanted in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH):
        if wanted not in extended.value:
            raise _refused("bad_usage", "extended key usage must name both server and client authentication")


def _check_time(leaf: x509.Certificate, now: WallTime) -> None:
    at = to_datetime(now)
    if at < leaf.not_valid_before_utc:
        raise _refused(
            "not_yet_valid", f"valid from {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}, now {rfc3339(now)}"
        )
    if at > leaf.not_valid_after_utc:
        raise _refused("expired", f"valid until {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, now {rfc3339(now)}")


def _check_path(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    roots: list[x509.Certificate],
    now: WallTime,
    domain: str,
) -> None:
    try:
        verifier = PolicyBuilder().store(Store(roots)).time(to_datetime(now)).build_client_verifier()
        chain = verifier.verify(leaf, intermediates).chain
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        raise _refused("untrusted", f"no path to the bundle of {domain}: {error}") from error
    for authority in chain[1:]:
        _check_authority_name(authority, domain, code="wrong_domain")


def _parse_chain(chain_pem: bytes) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if len(chain_pem) > MAX_CHAIN_BYTES:
        raise _refused("malformed_chain", f"certificate chain over {MAX_CHAIN_BYTES} bytes")
    chain = _parse_pem(chain_pem)
    if len(chain) > MAX_CHAIN_LENGTH:
        raise _refused("malformed_chain", f"certificate chain longer than {MAX_CHAIN_LENGTH}")
    return chain[0], chain[1:]


def _parse_bundle(bundle_pem: bytes, domain: str) -> list[x509.Certificate]:
    roots = _parse_pem(bundle_pem)
    for root in roots:
        if not _is_authority(root):
            raise _refused("mixed_bundle", "the trust bundle holds a certificate that is no authority")
        # SPIFFE Federation section 4: bundles of different trust domains must not be merged.
        _check_authority_name(root, domain, code="mixed_bundle")
    return roots


def _parse_pem(pem: bytes) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            # Extensions and keys are parsed lazily: read them now, so that every later read is safe.
            _ = (certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key())
    except UNREADABLE as error:
        raise _refused("malformed_chain", f"not a certificate chain: {error}") from error
    for certificate in certificates:
        der = certificate.public_bytes(serialization.Encoding.DER)
        if certificate.serial_number <= 0 or not is_signature_canonical(der, certificate.signature):
            raise _refused("malformed_chain", "a serial number or signature is not spelled as RFC 5280 asks")
    return certificates


def _check_authority_name(authority: x509.Certificate, domain: str, *, code: str) -> None:
    extension = _alternative_names(authority)
    uris = [] if extension is None else extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    if uris not in ([], [str(domain_id(domain))]):
        raise _refused(code, f"authority {', '.join(uris)} is not that of {domain}")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _alternative_names(certificate: x509.Certificate) -> x509.Extension[x509.SubjectAlternativeName] | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None


def _refused(code: str, message: str) -> IdentityError:
    return IdentityError(message, code=f"identity.{code}", hint=_HINTS.get(code, ""))


_HINTS = {
    "expired": "the node renews at half life; check its link to the controller and both clocks",
    "not_yet_valid": "check the clocks of both sides",
    "untrusted": "check that both sides belong to the same domain (`hanse node list`)",
    "wrong_domain": "a peer of another domain needs its own trust bundle",
    "mixed_bundle": "keep one bundle file per trust domain",
}
