"""The domain's certificate authorities: a root that signs issuing ones, and issuing ones that sign X.509-SVIDs.

`key + CSR + SPIFFE ID + now + serial -> certificate chain`. Keys and serials come in, signatures are deterministic
(RFC 6979), so equal inputs give equal bytes in the twin and in the fabric. Verification is in `verify`.
Rules: SPIFFE X509-SVID.md sections 2 to 4, profile of RFC 5280. Keys are ECDSA P-256: what Go, rustls and OpenSSL all
verify today.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
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
ISSUING_LIFETIME_US = 90 * DAY_US
"""Rotated at two thirds: a month is left to fetch a root key that is kept offline."""
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

_DRAFT_KEY = ec.derive_private_key(1, ec.SECP256R1())
"""Signs drafts of certificates whose real signature is made elsewhere; its own is thrown away."""
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier of RFC 5758 section 3.2."""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class OutsideKey(Protocol):
    """A P-256 key that signs and cannot be taken out: in a PKCS#11 token."""

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half."""
        ...

    def sign_message(self, message: bytes) -> bytes:
        """An ECDSA signature over SHA-256 of `message`, as DER (RFC 3279 section 2.2.3)."""
        ...


SigningKey = ec.EllipticCurvePrivateKey | OutsideKey


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
    key: SigningKey,
    domain: str,
    now: WallTime,
    serial: int,
    *,
    lifetime_us: int = ROOT_LIFETIME_US,
) -> x509.Certificate:
    """Make a domain's self-signed signing certificate: CA, keyCertSign, the domain's id without a path.

    Path length 1: this root signs issuing authorities, and those sign leaves only. Raises IdentityError
    ``identity.root_key`` if the key signs for another than it says.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{domain} root"[:64])])
    times = (_seconds(now - CLOCK_SKEW_US), _seconds(now + lifetime_us))
    builder = _authority(key.public_key(), domain, name, name, serial, times, path_length=1)
    return _signed(builder.add_extension(_issued_by(key.public_key()), critical=False), key)


def make_issuing(  # noqa: PLR0917 - issuer, subject, moment
    root_key: SigningKey,
    root: x509.Certificate,
    public: ec.EllipticCurvePublicKey,
    domain: str,
    now: WallTime,
    serial: int,
    *,
    lifetime_us: int = ISSUING_LIFETIME_US,
) -> x509.Certificate:
    """Certify `public` as an issuing authority of the domain, under its root; it never outlives the root.

    Raises IdentityError ``identity.root_key`` if `root_key` is not the key of `root`, ``identity.short_path`` if the
    root may sign leaves only, ``identity.expired`` if it has ended.
    """
    if root_key.public_key() != root.public_key():
        raise IdentityError("this key is not the root's", code="identity.root_key", hint="give the key of this domain")
    if not may_sign_authorities(root):
        raise IdentityError(
            "this root was made to sign leaves only", code="identity.short_path", hint="run `hanse ca rotate`"
        )
    not_after = min(_seconds(now + lifetime_us), root.not_valid_after_utc)
    if not_after <= to_datetime(now):
        raise IdentityError("the root has expired", code="identity.expired", hint="a new domain needs a new root")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{domain} issuing {serial:032x}"[:64])])
    times = (_seconds(now - CLOCK_SKEW_US), not_after)
    builder = _authority(public, domain, name, root.subject, serial, times, path_length=0)
    return _signed(builder.add_extension(_issued_by(root_key.public_key()), critical=False), root_key)


def may_sign_authorities(root: x509.Certificate) -> bool:
    """Tell whether a root may have issuing authorities below it; those of the first version may not."""
    length = root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return length is None or length > 0


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether an authority signed itself."""
    return certificate.issuer == certificate.subject


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
        raise IdentityError(
            "the signing certificate has expired", code="identity.expired", hint="run `hanse ca rotate`"
        )
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
    chain = [leaf] if is_root(ca_cert) else [leaf, ca_cert]
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


def _authority(  # noqa: PLR0917 - the fields of one certificate
    public: ec.EllipticCurvePublicKey,
    domain: str,
    subject: x509.Name,
    issuer: x509.Name,
    serial: int,
    times: tuple[datetime, datetime],
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    """What all signing certificates have in common (X509-SVID.md section 3.2)."""
    _check_serial(serial)
    uri = x509.UniformResourceIdentifier(str(domain_id(domain)))
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public, serial_number=serial)
        .not_valid_before(times[0])
        .not_valid_after(times[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _issued_by(public: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)


def _signed(builder: x509.CertificateBuilder, key: SigningKey) -> x509.Certificate:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    # The library signs with keys in memory only: take what it would sign, and have the token sign that.
    draft = builder.sign(_DRAFT_KEY, hashes.SHA256(), ecdsa_deterministic=True).tbs_certificate_bytes
    signature = key.sign_message(draft)
    try:
        key.public_key().verify(signature, draft, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise IdentityError(
            "the token's signature does not verify", code="identity.root_key", hint="look at the token's objects"
        ) from error
    bits = b"\x00" + signature
    content = draft + _ECDSA_WITH_SHA256 + b"\x03" + _der_length(len(bits)) + bits
    return x509.load_der_x509_certificate(b"\x30" + _der_length(len(content)) + content)


def _der_length(count: int) -> bytes:
    """DER's length octets (X.690 section 8.1.3)."""
    if count < 0x80:
        return bytes((count,))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


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
