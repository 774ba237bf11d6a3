"""The domain's authorities over time: where the root key is kept, and a new issuing authority below it.

`domain folder + root key + now -> domain folder`. The root signs issuing authorities and nothing else, so its key is
needed once in a quarter: it may lie in a file with whoever keeps it, or in a PKCS#11 token. Members send the issuing
certificate with their own, so a rotation takes nobody by surprise: only the root is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from hanse.adapters.domain_files import (
    FOLDER,
    ISSUING,
    ROOT_CERT,
    ROOT_KEY,
    Domain,
    DomainError,
    DomainRecord,
    RootKept,
    issuing_files,
    issuing_number,
    load_domain,
    load_record,
    write_record,
)
from hanse.adapters.keys import create_private, parse_p256, read_private, write_private
from hanse.adapters.pkcs11_root import open_token_key
from hanse.core.ports import Entropy
from hanse.core.time import US_PER_S, WallTime, from_datetime
from hanse.identity import (
    IdentityError,
    SigningKey,
    is_root,
    key_from_secret,
    make_root,
    may_sign_authorities,
    serial_from_secret,
)
from hanse.identity.authority import CLOCK_SKEW_US, ISSUING_LIFETIME_US, SECRET_BYTES, SVID_LIFETIME_US
from hanse.identity.pkcs11_uri import parse_pkcs11_uri
from hanse.wire import canonical

IN_FILE, IN_FOLDER = "file", "folder"
TOKEN = "pkcs11:"  # noqa: S105 - a URI scheme
PASSPHRASE_CHARACTERS_MIN = 12
KDF_ROUNDS = 600_000
"""PBKDF2 with SHA-256, what OWASP asked for in 2023; a root key is opened once in months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaView:
    """A domain's authorities, for people."""

    domain: str
    root_key: str
    root_serial: str
    root_until_us: WallTime
    issuing_serial: str
    """Empty while the root itself issues."""
    issuing_since_us: WallTime
    issuing_until_us: WallTime
    is_rotation_due: bool
    advice: str


def view_ca(domain: Domain, now: WallTime) -> CaView:
    """Describe the authorities of a domain at `now`."""
    root, issuing = domain.authority.root_cert or domain.authority.ca_cert, domain.authority.ca_cert
    is_due = is_rotation_due(domain, now)
    return CaView(
        domain=domain.name,
        root_key=domain.root_at,
        root_serial=f"{root.serial_number:x}",
        root_until_us=from_datetime(root.not_valid_after_utc),
        issuing_serial="" if is_root(issuing) else f"{issuing.serial_number:x}",
        issuing_since_us=_since(issuing),
        issuing_until_us=from_datetime(issuing.not_valid_after_utc),
        is_rotation_due=is_due,
        advice=_advice(domain, is_due),
    )


def is_rotation_due(domain: Domain, now: WallTime) -> bool:
    """Tell whether two thirds of the issuing authority's life are over, or the root itself issues."""
    issuing = domain.authority.ca_cert
    since, until = _since(issuing), from_datetime(issuing.not_valid_after_utc)
    return is_root(issuing) or now - since >= (until - since) * 2 // 3


def rotate_issuing(
    root: Path,
    now: WallTime,
    entropy: Entropy,
    *,
    kept: RootKept | None = None,
    lifetime_us: int = ISSUING_LIFETIME_US,
) -> Domain:
    """Make a new issuing authority and use it from now on; controllers that run take it up within seconds.

    A domain of the first version has a root that may sign leaves only: its certificate is made anew for the same key
    first, and the issuing authority an hour later at the earliest, when every node has the new one.

    Raises DomainError ``domain.root_elsewhere`` (the key is not here and was not given) or ``domain.root_too_young``;
    IdentityError ``identity.root_key`` if it is another key.
    """
    folder, domain = root / FOLDER, load_domain(root)
    record = load_record(folder)
    key = _root_key(folder, record, kept)
    certificate = x509.load_pem_x509_certificate((folder / ROOT_CERT).read_bytes())
    if key.public_key() != certificate.public_key():
        raise IdentityError("this key is not the root's", code="identity.root_key", hint="give the key of this domain")
    if not may_sign_authorities(certificate):
        return _widen_root(root, record, key, domain.name, now, entropy)
    number = issuing_number(record.files)
    if not number and now - _since(certificate) < SVID_LIFETIME_US:
        raise DomainError(
            "the new root certificate has not reached every node yet",
            code="domain.root_too_young",
            hint="run it again an hour after the first time",
        )
    files = issuing_files(
        number + 1, domain.name, now, entropy, root_key=key, root_cert=certificate, lifetime_us=lifetime_us
    )
    for name, data in files.items():
        write_private(folder / name, data)
    fresh = {name: digest for name, digest in record.files.items() if ISSUING.match(name) is None}
    fresh |= {name: canonical.digest_bytes(data) for name, data in files.items()}
    write_record(folder, msgspec.structs.replace(record, files=fresh))
    for name in record.files:
        if ISSUING.match(name):
            (folder / name).unlink()
    return load_domain(root)


def export_root(root: Path, path: Path, passphrase: str) -> Domain:
    """Move the root key out of the domain's folder into a PKCS#12 file under a passphrase.

    The file is read again before the key here is removed. Raises DomainError ``domain.root_elsewhere``, IdentityError
    ``identity.passphrase``, FileExistsError.
    """
    folder = root / FOLDER
    load_domain(root)
    record = load_record(folder)
    if ROOT_KEY not in record.files:
        raise _elsewhere(record)
    key = parse_p256(folder / ROOT_KEY, read_private(folder / ROOT_KEY))
    write_root_file(path, key, passphrase)
    files = {name: digest for name, digest in record.files.items() if name != ROOT_KEY}
    write_record(folder, msgspec.structs.replace(record, files=files, root_at=IN_FILE))
    (folder / ROOT_KEY).unlink()
    return load_domain(root)


def write_root_file(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: str) -> None:
    """Write a root key to a new PKCS#12 file, and read it again. Raises IdentityError, FileExistsError."""
    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise IdentityError(
            f"a passphrase has at least {PASSPHRASE_CHARACTERS_MIN} characters",
            code="identity.passphrase",
            hint="several words that nobody would guess",
        )
    protection = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(KDF_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(passphrase.encode())
    )
    create_private(path, pkcs12.serialize_key_and_certificates(b"hanse root", key, None, None, protection))
    if read_root_file(path, passphrase).private_numbers() != key.private_numbers():
        raise IdentityError(f"{path} does not hold what was written", code="identity.bad_key_file")


def read_root_file(path: Path, passphrase: str) -> ec.EllipticCurvePrivateKey:
    """Read a root key from its file. Raises IdentityError ``identity.passphrase`` or ``identity.open_key_file``."""
    try:
        key, _, _ = pkcs12.load_key_and_certificates(read_private(path), passphrase.encode())
    except ValueError as error:
        raise IdentityError(
            f"{path} does not open with this passphrase", code="identity.passphrase", hint="or it is no PKCS#12 file"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"{path} holds no ECDSA P-256 key", code="identity.bad_key_file")
    return key


@contextmanager
def root_kept_at(place: str, secret: str, entropy: Entropy, *, may_make: bool) -> Iterator[RootKept]:
    """Open a root key that is kept elsewhere, or with `may_make` make it there.

    `place` is a PKCS#11 URI or the path of a file; `secret` is the PIN or the passphrase. Raises IdentityError,
    FileNotFoundError.
    """
    if place.startswith(TOKEN):
        uri = parse_pkcs11_uri(place)
        with open_token_key(uri, secret, may_make=may_make) as token:
            yield RootKept(key=token, at=str(uri))
        return
    path = Path(place)
    if may_make and not path.exists():
        write_root_file(path, key_from_secret(entropy.secret(SECRET_BYTES)), secret)
    yield RootKept(key=read_root_file(path, secret), at=IN_FILE)


def _root_key(folder: Path, record: DomainRecord, kept: RootKept | None) -> SigningKey:
    if kept is not None:
        return kept.key
    if ROOT_KEY not in record.files:
        raise _elsewhere(record)
    return parse_p256(folder / ROOT_KEY, read_private(folder / ROOT_KEY))


def _widen_root(  # noqa: PLR0917 - the state of one rotation
    root: Path, record: DomainRecord, key: SigningKey, name: str, now: WallTime, entropy: Entropy
) -> Domain:
    """Certify the same key under the same name as a root that may have issuing authorities below it."""
    folder = root / FOLDER
    made = make_root(key, name, now, serial_from_secret(entropy.secret(16)))
    data = made.public_bytes(serialization.Encoding.PEM)
    # Two files change, and a crash may fall between: the copy of the old one heals that by hand, and damage is named.
    write_private(folder / f"{ROOT_CERT}.before", (folder / ROOT_CERT).read_bytes())
    write_private(folder / ROOT_CERT, data)
    write_record(
        folder, msgspec.structs.replace(record, files={**record.files, ROOT_CERT: canonical.digest_bytes(data)})
    )
    (folder / f"{ROOT_CERT}.before").unlink()
    return load_domain(root)


def _since(certificate: x509.Certificate) -> WallTime:
    made = from_datetime(certificate.not_valid_before_utc) + CLOCK_SKEW_US
    return WallTime(made - made % US_PER_S)


def _advice(domain: Domain, is_due: bool) -> str:
    here = domain.root_at == IN_FOLDER
    if is_due:
        return "`hanse up` rotates by itself" if here else "run `hanse ca rotate --root ...` with the root key"
    return "take the root key off this machine: `hanse ca export-root FILE`" if here else ""


def _elsewhere(record: DomainRecord) -> DomainError:
    return DomainError(
        f"the root key is not in the domain's folder but at {record.root_at or 'a place unknown'}",
        code="domain.root_elsewhere",
        hint="give it with --root: the PKCS#11 URI, or the exported file",
    )
