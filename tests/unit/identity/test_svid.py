"""X.509-SVIDs: what the authority issues verifies; every broken rule is refused under its own code."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hanse.core.ids import NodeId
from hanse.core.time import DAY_US, HOUR_US, WallTime, to_datetime
from hanse.identity import (
    IdentityError,
    SpiffeId,
    domain_id,
    expiry_of,
    issue_svid,
    key_from_secret,
    make_csr,
    make_root,
    node_id,
    verify_svid,
)

NOW = WallTime(1_795_000_000_000_000)
DOMAIN = "hanse.local"
CA_KEY = key_from_secret(b"\x01" * 48)
CA = make_root(CA_KEY, DOMAIN, NOW, 1)
BUNDLE = CA.public_bytes(serialization.Encoding.PEM)
NODE_KEY = key_from_secret(b"\x02" * 48)
NAME = node_id(DOMAIN, NodeId("berlin-1"))


def issued(**changes: object) -> bytes:
    arguments: dict[str, object] = {
        "csr_pem": make_csr(NODE_KEY),
        "spiffe_id": NAME,
        "ca_key": CA_KEY,
        "ca_cert": CA,
        "now": NOW,
        "serial": 7,
    }
    return issue_svid(**{**arguments, **changes})  # type: ignore[arg-type]


def code_of(chain: bytes, bundle: bytes = BUNDLE, now: WallTime = NOW, **expected: str) -> str:
    with pytest.raises(IdentityError) as refused:
        verify_svid(chain, bundle, now, **{"domain": DOMAIN, **expected})
    return refused.value.code


def test_issued_svid_verifies_and_follows_the_profile() -> None:
    chain = issued(dns_names=("localhost",), ip_addresses=("127.0.0.1",))
    assert verify_svid(chain, BUNDLE, NOW, domain=DOMAIN, path="/node/berlin-1") == NAME
    leaf = x509.load_pem_x509_certificate(chain)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert list(leaf.subject) == []
    assert san.critical
    assert san.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(NAME)]
    assert san.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert leaf.not_valid_before_utc == to_datetime(NOW) - dt.timedelta(minutes=5)
    assert expiry_of(chain) == NOW + HOUR_US


def test_the_root_follows_the_profile_of_signing_certificates() -> None:
    basic = CA.extensions.get_extension_for_class(x509.BasicConstraints)
    san = CA.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (basic.critical, basic.value.ca) == (True, True)
    assert CA.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert san.value.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://hanse.local"]


def test_equal_inputs_give_equal_bytes() -> None:
    assert issued() == issued()
    assert issued() != issued(serial=8)


def test_an_svid_never_outlives_its_authority() -> None:
    short = make_root(CA_KEY, DOMAIN, NOW, 1, lifetime_us=60_000_000)
    assert expiry_of(issued(ca_cert=short)) == NOW + 60_000_000
    with pytest.raises(IdentityError) as refused:
        issued(ca_cert=short, now=WallTime(NOW + HOUR_US))
    assert refused.value.code == "identity.expired"


def test_time_bounds_are_exact() -> None:
    chain = issued()
    assert code_of(chain, now=WallTime(NOW - 300_000_001)) == "identity.not_yet_valid"
    verify_svid(chain, BUNDLE, WallTime(NOW - 300_000_000), domain=DOMAIN)
    verify_svid(chain, BUNDLE, WallTime(NOW + HOUR_US), domain=DOMAIN)
    assert code_of(chain, now=WallTime(NOW + HOUR_US + 1)) == "identity.expired"
    # A day later the root still stands: it is the leaf that is refused.
    assert code_of(chain, now=WallTime(NOW + DAY_US)) == "identity.expired"


def test_names_are_checked_against_what_was_expected() -> None:
    assert code_of(issued(), domain="other.example") == "identity.wrong_domain"
    assert code_of(issued(), path="/node/berlin-2") == "identity.wrong_path"


def test_the_authority_does_not_issue_foreign_or_bare_names() -> None:
    for name in (domain_id(DOMAIN), SpiffeId("other.example", "/node/a")):
        with pytest.raises(IdentityError) as refused:
            issued(spiffe_id=name)
        assert refused.value.code == "identity.bad_name"


def _foreign_key_request() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _tampered_request() -> bytes:
    der = bytearray(x509.load_pem_x509_csr(make_csr(NODE_KEY)).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    "request_pem",
    [b"", b"not a request", b"-" * 20_000, _foreign_key_request(), _tampered_request()],
    ids=["empty", "garbage", "oversized", "P-384", "wrong signature"],
)
def test_bad_requests_are_refused(request_pem: bytes) -> None:
    with pytest.raises(IdentityError) as refused:
        issued(csr_pem=request_pem)
    assert refused.value.code == "identity.bad_request"


@dataclass(frozen=True)
class Leaf:
    """A leaf as the authority would make it, with every part open to change."""

    subject: tuple[str, ...] = ()
    uris: tuple[str, ...] = (str(NAME),)
    is_san_present: bool = True
    is_san_critical: bool = True
    is_ca: bool = False
    usage: tuple[str, ...] = ("digital_signature",)
    is_usage_present: bool = True
    is_usage_critical: bool = True
    extended: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    unknown_critical: bool = False

    def sign(self, key: ec.EllipticCurvePrivateKey = CA_KEY, issuer: x509.Name = CA.subject) -> bytes:
        names = [x509.NameAttribute(NameOID.COMMON_NAME, part) for part in self.subject]
        builder = (
            x509.CertificateBuilder(
                subject_name=x509.Name(names), issuer_name=issuer, public_key=NODE_KEY.public_key(), serial_number=9
            )
            .not_valid_before(to_datetime(NOW))
            .not_valid_after(to_datetime(WallTime(NOW + HOUR_US)))
            .add_extension(x509.BasicConstraints(ca=self.is_ca, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        if self.is_san_present:
            uris = [x509.UniformResourceIdentifier(uri) for uri in self.uris] or [x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=self.is_san_critical)
        if self.is_usage_present:
            builder = builder.add_extension(_usage(*self.usage), critical=self.is_usage_critical)
        if self.extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.extended), critical=False)
        if self.unknown_critical:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _usage(*allowed: str) -> x509.KeyUsage:
    kinds = [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ]
    return x509.KeyUsage(**{kind: kind in allowed for kind in kinds})


def test_the_unchanged_leaf_verifies() -> None:
    assert verify_svid(Leaf().sign(), BUNDLE, NOW, domain=DOMAIN) == NAME
    assert verify_svid(Leaf(extended=()).sign(), BUNDLE, NOW, domain=DOMAIN) == NAME


@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (Leaf(is_ca=True), "identity.ca_as_leaf"),
        (Leaf(is_san_present=False), "identity.no_uri"),
        (Leaf(uris=()), "identity.no_uri"),
        (Leaf(uris=(str(NAME), "spiffe://hanse.local/node/b")), "identity.two_uris"),
        (Leaf(uris=(str(NAME), str(NAME))), "identity.two_uris"),
        (Leaf(uris=("https://hanse.local/node/a",)), "identity.malformed_id"),
        (Leaf(uris=("spiffe://hanse.local",)), "identity.no_path"),
        (Leaf(uris=("spiffe://other.example/node/a",)), "identity.wrong_domain"),
        (Leaf(is_san_critical=False), "identity.san_not_critical"),
        (Leaf(is_usage_present=False), "identity.bad_usage"),
        (Leaf(is_usage_critical=False), "identity.bad_usage"),
        (Leaf(usage=("key_agreement",)), "identity.bad_usage"),
        (Leaf(usage=("digital_signature", "key_cert_sign")), "identity.bad_usage"),
        (Leaf(usage=("digital_signature", "crl_sign")), "identity.bad_usage"),
        (Leaf(extended=(ExtendedKeyUsageOID.SERVER_AUTH,)), "identity.bad_usage"),
        (Leaf(extended=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "identity.bad_usage"),
        (Leaf(unknown_critical=True), "identity.untrusted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_broken_rule_has_its_code(leaf: Leaf, code: str) -> None:
    assert code_of(leaf.sign()) == code


def test_a_chain_to_another_root_is_untrusted() -> None:
    impostor = key_from_secret(b"\x03" * 48)
    assert code_of(Leaf().sign(impostor)) == "identity.untrusted"
    bundle = make_root(impostor, DOMAIN, NOW, 1).public_bytes(serialization.Encoding.PEM)
    assert code_of(issued(), bundle) == "identity.untrusted"


def test_a_node_cannot_issue_with_its_own_svid() -> None:
    own = x509.load_pem_x509_certificate(Leaf(subject=("berlin-1",), is_san_critical=False).sign())
    forged = Leaf(uris=("spiffe://hanse.local/node/b",)).sign(NODE_KEY, own.subject)
    assert code_of(forged + own.public_bytes(serialization.Encoding.PEM)) == "identity.untrusted"


def test_bundles_of_two_domains_never_merge() -> None:
    other = make_root(CA_KEY, "other.example", NOW, 1).public_bytes(serialization.Encoding.PEM)
    assert code_of(issued(), BUNDLE + other) == "identity.mixed_bundle"
    assert code_of(issued(), issued()) == "identity.mixed_bundle"


def test_two_roots_of_one_domain_serve_a_rotation() -> None:
    key = key_from_secret(b"\x04" * 48)
    root = make_root(key, DOMAIN, NOW, 2)
    both = BUNDLE + root.public_bytes(serialization.Encoding.PEM)
    for chain in (issued(), issued(ca_key=key, ca_cert=root)):
        assert verify_svid(chain, both, NOW, domain=DOMAIN) == NAME


def _ed25519_leaf() -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, to_datetime(NOW), to_datetime(NOW))
    return builder.sign(key, None).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("chain", "code"),
    [
        (lambda: b"", "identity.malformed_chain"),
        (lambda: b"\x00\xff" * 50, "identity.malformed_chain"),
        (lambda: issued()[:-60], "identity.malformed_chain"),
        (lambda: issued() * 5, "identity.malformed_chain"),
        (lambda: issued() * 200, "identity.malformed_chain"),
        (_ed25519_leaf, "identity.no_uri"),
    ],
    ids=["empty", "garbage", "truncated", "too long", "too large", "bare"],
)
def test_foreign_bytes_are_refused(chain: Callable[[], bytes], code: str) -> None:
    assert code_of(chain()) == code


def test_a_refusal_can_be_read() -> None:
    with pytest.raises(IdentityError) as refused:
        verify_svid(issued(), BUNDLE, WallTime(NOW + 2 * HOUR_US), domain=DOMAIN)
    assert str(refused.value) == "valid until 2026-11-18T12:06:40Z, now 2026-11-18T13:06:40.000Z"
    assert refused.value.hint == "the node renews at half life; check its link to the controller and both clocks"
