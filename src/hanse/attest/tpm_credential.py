"""Seal a secret so that only one TPM can open it, and only if it holds one key: TPM2_MakeCredential in software.

`EK certificate, AK name, secret, entropy -> (credential blob, encrypted seed)`. TCG TPM 2.0 Library part 1, sections
B.10.4 (RSA), C.6.4 (ECC) and 24 (credential protection); the default EK templates L-1 (RSA 2048) and L-2 (P-256) of the
TCG EK Credential Profile 2.0. Every primitive is pyca/cryptography's.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from hanse.attest.errors import refused
from hanse.core.errors import invariant

SECRET_BYTES = 32
SEED_BYTES = 32
AES_BYTES = 16
ENTROPY_BYTES = 48
"""What `make_credential` draws on: a seed, or an ephemeral key."""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def make_credential(ek: x509.Certificate, ak_name: bytes, secret: bytes, entropy: bytes) -> tuple[bytes, bytes]:
    """Seal `secret` (32 bytes) to the TPM of `ek` under the condition that it holds the key named `ak_name`.

    Returns TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET as TPM2_ActivateCredential takes them. `entropy`: 48
    unpredictable bytes. Raises EvidenceRefused ``attest.unsupported_key``.
    """
    invariant(len(secret) == SECRET_BYTES and len(entropy) == ENTROPY_BYTES, "a credential takes 32 and 48 bytes")
    key = ek.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048:
        seed = entropy[:SEED_BYTES]
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
        encrypted = _sized(key.encrypt(seed, oaep))
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        seed, encrypted = _shared_seed(key, entropy)
    else:
        raise refused("unsupported_key", "an endorsement key is RSA of 2,048 bits or ECC P-256")
    return _sized(_protect(seed, ak_name, secret)), encrypted


def _protect(seed: bytes, ak_name: bytes, secret: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", ak_name, AES_BYTES)), CFB(bytes(16))).encryptor()
    hidden = encryptor.update(_sized(secret)) + encryptor.finalize()
    return _sized(_tag(seed, hidden, ak_name)) + hidden


def _tag(seed: bytes, hidden: bytes, ak_name: bytes) -> bytes:
    mac = hmac.HMAC(_kdfa(seed, b"INTEGRITY", b"", 32), hashes.SHA256())
    mac.update(hidden + ak_name)
    return mac.finalize()


def _shared_seed(key: ec.EllipticCurvePublicKey, entropy: bytes) -> tuple[bytes, bytes]:
    ephemeral = ec.derive_private_key(1 + int.from_bytes(entropy, "big") % (_P256_ORDER - 1), ec.SECP256R1())
    point = ephemeral.public_key().public_numbers()
    x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
    seed = _kdfe(ephemeral.exchange(ec.ECDH(), key), x, key)
    return seed, _sized(_sized(x) + _sized(y))


def _kdfe(shared: bytes, ephemeral_x: bytes, key: ec.EllipticCurvePublicKey) -> bytes:
    """KDFe (part 1 section 11.4.10.3): the concatenation KDF of SP 800-56A."""
    party = key.public_numbers().x.to_bytes(32, "big")
    return ConcatKDFHash(hashes.SHA256(), SEED_BYTES, b"IDENTITY\0" + ephemeral_x + party).derive(shared)


def _kdfa(key: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """KDFa (part 1 section 11.4.10.2): counter-mode KDF of SP 800-108 with HMAC."""
    return KBKDFHMAC(
        algorithm=hashes.SHA256(), mode=Mode.CounterMode, length=length, rlen=4, llen=4,
        location=CounterLocation.BeforeFixed, label=label, context=context, fixed=None,
    ).derive(key)  # fmt: skip


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
