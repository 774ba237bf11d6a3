"""The domain's certificate authority: issue X.509-SVIDs.

`key + CSR + SPIFFE ID + now + serial -> certificate chain`. Keys and serials come in, signatures are deterministic
(RFC 6979), so equal inputs give equal bytes in the twin and in the fabric. Verification is in `verify`.
Rules: SPIFFE X509-SVID.md sections 2 to 4, profile of RFC 5280. Keys are ECDSA P-256: what Go, rustls and OpenSSL all
verify today.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hanse.core.errors import invariant
from hanse.core.time import DAY_US, HOUR_US, US_PER_S, WallTime, to_datetime
from hanse.identity.errors import IdentityError
from hanse.identity.spiffe import SpiffeId, domain_id

SVID_LIFETIME_US = HOUR_US
ROOT_LIFETIME_US = 3_650 * DAY_US
CLOCK_SKEW_US = 300 * US_PER_S
"""Certificates start five minutes before they are made, so that a clock that lags by less still takes them."""
MAX_CSR_BYTES = 16_384
MAX_SERIAL_BITS = 159
"""RFC 5280 section 4.1.2.2: at most 20 octets, positive."""
SECRET_BYTES = 48
"""Entropy for one P-256 key: 128 bits more than the order, so the bias is below 2^-128 (FIPS 186-5 A.2.1)."""
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    # What is deprecated (a serial number that is not positive) is an error where warnings are.
    CryptographyDeprecationWarning,
)
"""All that pyca/cryptography raises on foreign bytes; some of these are no ValueError."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def key_from_secret(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """Derive a P-256 key from `SECRET_BYTES` unpredictable bytes (FIPS 186-5 A.2.1, extra random bits)."""
    invariant(len(secret) == SECRET_BYTES, f"a P-256 key takes {SECRET_BYTES} secret bytes")
    return ec.derive_private_key(1 + int.from_bytes(secret, "big") % (_P256_ORDER - 1), ec.SECP256R1())


def serial_from_secret(secret: bytes) -> int:
    """Turn 16 unpredictable bytes into a serial number (positive, at most 128 bits)."""
    invariant(len(secret) == 16, "a serial number takes 16 secret bytes")
    return int.from_bytes(secret, "big") or 1


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def make_csr(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Ask for a certificate: a PEM request that proves possession of `key` and asks for no name.

    The authority decides the name from what it knows about the asker, never from the request.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(serialization.Encoding.PEM)


def make_root(
    key: ec.EllipticCurvePrivateKey,
    domain: str,
    now: WallTime,
    serial: int,
    *,
    lifetime_us: int = ROOT_LIFETIME_US,
) -> x509.Certificate:
    """Make a domain's self-signed signing certificate: CA, keyCertSign, the domain's id without a path.

    Path length 0: this root signs leaves only.
    """
    _check_serial(serial)
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{domain} root"[:64])])
    uri = x509.UniformResourceIdentifier(str(domain_id(domain)))
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=public, serial_number=serial)
        .not_valid_before(_seconds(now - CLOCK_SKEW_US))
        .not_valid_after(_seconds(now + lifetime_us))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def issue_svid(
    csr_pem: bytes,
    spiffe_id: SpiffeId,
    *,
    ca_key: ec.EllipticCurvePrivateKey,
    ca_cert: x509.Certificate,
    now: WallTime,
    serial: int,
    lifetime_us: int = SVID_LIFETIME_US,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
) -> bytes:
    """Issue an X.509-SVID for the key of `csr_pem` and return its chain as PEM, leaf first, without the root.

    The name is `spiffe_id` whatever the request says. DNS names and addresses may stand beside the one URI: ordinary
    TLS clients (of the API, of the substrate) verify servers by host name. The certificate never outlives its issuer.

    Raises IdentityError ``identity.bad_request`` if the request is malformed, over 16 KiB, not signed by its own key
    or not P-256; ``identity.bad_name`` for the id of a domain, or of another domain than the authority's;
    ``identity.expired`` if the authority itself is.
    """
    _check_serial(serial)
    if spiffe_id.is_domain:
        raise IdentityError("an SVID needs a path; the bare domain is its authority", code="identity.bad_name")
    if _uris(ca_cert) != [str(domain_id(spiffe_id.domain))]:
        raise IdentityError(f"this authority does not issue for {spiffe_id.domain}", code="identity.bad_name")
    public = requested_key(csr_pem)
    not_after = min(_seconds(now + lifetime_us), ca_cert.not_valid_after_utc)
    if not_after <= to_datetime(now):
        raise IdentityError("the signing certificate has expired", code="identity.expired", hint="rotate the root")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
    names += [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder(
            subject_name=x509.Name([]), issuer_name=ca_cert.subject, public_key=public, serial_number=serial
        )
        .not_valid_before(_seconds(now - CLOCK_SKEW_US))
        .not_valid_after(not_after)
        # RFC 5280 section 4.1.2.6: with an empty subject the alternative name must be critical.
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    leaf = builder.sign(ca_key, hashes.SHA256(), ecdsa_deterministic=True)
    chain = [leaf] if ca_cert.issuer == ca_cert.subject else [leaf, ca_cert]
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


def requested_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key a certificate request proves possession of. Raises IdentityError ``identity.bad_request``."""
    if len(csr_pem) > MAX_CSR_BYTES:
        raise _bad_request(f"certificate request over {MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        public, is_signed = request.public_key(), request.is_signature_valid
        der = request.public_bytes(serialization.Encoding.DER)
    except UNREADABLE as error:
        raise _bad_request(f"not a certificate request: {error}") from error
    if not is_signed or not is_signature_canonical(der, request.signature):
        raise _bad_request("the certificate request is not signed by its own key")
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise _bad_request("the key of a certificate request must be ECDSA P-256")
    return public


def is_signature_canonical(der: bytes, signature: bytes) -> bool:
    """Tell whether the signature at the end of a certificate or request is a bit string with no unused bits.

    pyca/cryptography does not look at that byte, which no signature covers.
    """
    return der[-len(signature) - 1] == 0


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _seconds(at_us: int) -> datetime:
    return to_datetime(WallTime(at_us - at_us % US_PER_S))


def _check_serial(serial: int) -> None:
    invariant(0 < serial < 1 << MAX_SERIAL_BITS, "a serial number is positive and at most 159 bits")


def _bad_request(message: str) -> IdentityError:
    return IdentityError(message, code="identity.bad_request", hint="make the request with `hanse node join`")
