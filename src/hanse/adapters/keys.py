"""Private keys in files, and the signers made of them.

`path + secret bytes -> key file (0600) -> Signer`. Keys are PKCS #8 PEM without a passphrase: what protects them is the
file's mode and the disk. A key file is written whole or not at all and never overwritten: losing one loses an identity.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from hanse.core.ports import Entropy
from hanse.identity import IdentityError

PRIVATE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700
SEED_BYTES = 32
"""Of an Ed25519 key (RFC 8032) and of an ML-DSA key (FIPS 204, xi) alike."""

SignerKey = Ed25519PrivateKey | MLDSA44PrivateKey
PrivateKey = SignerKey | ec.EllipticCurvePrivateKey


class KeySigner:
    """A `Signer` over one private key held in memory: Ed25519 or ML-DSA-44."""

    def __init__(self, key: SignerKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._key_id = hashlib.sha256(self._public).hexdigest()

    @property
    def algorithm(self) -> str:
        """``ed25519`` or ``ml-dsa-44``."""
        return "ed25519" if isinstance(self._key, Ed25519PrivateKey) else "ml-dsa-44"

    @property
    def key_id(self) -> str:
        """Hex SHA-256 of the raw public key."""
        return self._key_id

    @property
    def public_key(self) -> bytes:
        """The raw public key: 32 bytes (Ed25519) or 1,312 (ML-DSA-44)."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Sign and return the raw signature: 64 or 2,420 bytes."""
        return self._key.sign(message)


def ed25519_signer(path: Path, entropy: Entropy) -> KeySigner:
    """Load the Ed25519 key at `path`, or make it there from `entropy`.

    Raises IdentityError ``identity.bad_key_file`` (damaged, or another kind of key) or ``identity.open_key_file``.
    """
    data = _load_or_create(path, lambda: Ed25519PrivateKey.from_private_bytes(entropy.secret(SEED_BYTES)))
    return KeySigner(parse_ed25519(path, data))


def parse_ed25519(path: Path, data: bytes) -> Ed25519PrivateKey:
    """Read the Ed25519 key found at `path`. Raises IdentityError ``identity.bad_key_file``."""
    key = _parse(path, data)
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad(path, "holds another kind of key than Ed25519")
    return key


def parse_mldsa44(path: Path, data: bytes) -> MLDSA44PrivateKey:
    """Read the ML-DSA-44 key found at `path`. Raises IdentityError ``identity.bad_key_file``."""
    key = _parse(path, data)
    if not isinstance(key, MLDSA44PrivateKey):
        raise _bad(path, "holds another kind of key than ML-DSA-44")
    return key


def parse_p256(path: Path, data: bytes) -> ec.EllipticCurvePrivateKey:
    """Read the ECDSA P-256 key found at `path`. Raises IdentityError ``identity.bad_key_file``."""
    key = _parse(path, data)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad(path, "holds another kind of key than ECDSA P-256")
    return key


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all, replacing what was there.

    Durable when it returns: file and folder are synced. Raises OSError.
    """
    with _partial(path, data) as partial:
        partial.replace(path)
    sync_folder(path.parent)


def create_private(path: Path, data: bytes) -> None:
    """Like `write_private`, but never over an existing file. Raises FileExistsError."""
    with _partial(path, data) as partial:
        path.hardlink_to(partial)
    sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """Read a file that only its owner may read. Raises IdentityError ``identity.open_key_file`` if others may too."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise IdentityError(
                f"{path} may be read by others (mode {mode:04o})",
                code="identity.open_key_file",
                hint=f"if nobody else has read it: chmod 600 {path}; otherwise make a new identity",
            )
        return file.read()


def private_pem(key: PrivateKey) -> bytes:
    """Write a key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load_or_create(path: Path, make: Callable[[], PrivateKey]) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
        create_private(path, private_pem(make()))
    return read_private(path)


def _parse(path: Path, data: bytes) -> object:
    try:
        return serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad(path, "holds no private key") from error


@contextmanager
def _partial(path: Path, data: bytes) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), PRIVATE_MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _bad(path: Path, what: str) -> IdentityError:
    return IdentityError(
        f"{path} {what}",
        code="identity.bad_key_file",
        hint="restore it from a backup; it is never made anew over a damaged one",
    )
