"""A TPM made of keys from a seed: `seed -> quotes`, for tests of the verifier and of the controller around it.

The TPM's structures and signatures are really made and really verified, by the product's own verifier; what is
pretended is the chip. Its root is an anchor of origin ``simulated``, so every fact says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.x509.oid import NameOID

from hanse.attest import Anchor, PcrValue, TpmEvidence, TpmIdentity
from hanse.attest.certificates import fingerprint
from hanse.attest.errors import refused
from hanse.attest.event_log import EV_IPL, SHA256, Event, write_log
from hanse.attest.tpm import EVENT_PREFIX, NONCE_BYTES
from hanse.attest.tpm_credential import AES_BYTES, _kdfa, _kdfe, _tag
from hanse.attest.tpm_structs import AK_WANTED, ALG_ECC, ALG_NULL, ECDSA, MAGIC, ST_ATTEST_QUOTE, read_public
from hanse.core.fabric import Origin
from hanse.identity import key_from_secret
from hanse.identity.authority import SECRET_BYTES
from hanse.wire import canonical

PCR = 13
"""Where hanse measures itself (`hanse.adapters.tpm_boot`)."""
USER_WITH_AUTH = 0x40
_BEGIN, _END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)
Draw = Callable[[int], bytes]


class TpmMaker:
    """Issues endorsement certificates for simulated TPMs."""

    def __init__(self, draw: Draw, name: str = "twin TPMs") -> None:
        self._key = key_from_secret(draw(SECRET_BYTES))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.root = self._sign(subject, subject, self._key.public_key(), serial=1, is_authority=True)

    @property
    def anchor(self) -> Anchor:
        """What a domain must believe to take these TPMs' quotes, marked for what it is."""
        return Anchor(name="simulated-tpms", kind="tpm", fingerprint=fingerprint(self.root), origin=Origin.SOFTWARE)

    def endorse(self, key: ec.EllipticCurvePublicKey, serial: int) -> x509.Certificate:
        """Issue a certificate for an endorsement key."""
        return self._sign(x509.Name([]), self.root.subject, key, serial=serial, is_authority=False)

    def _sign(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        serial: int,
        is_authority: bool,
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(issuer, subject, key, serial, _BEGIN, _END)
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)


class SimulatedTpm:
    """One TPM 2.0 with a SHA-256 bank, an endorsement key and an attestation key (both P-256)."""

    def __init__(self, maker: TpmMaker, draw: Draw, boot: dict[str, bytes]) -> None:
        """`boot`: what is measured at each boot, name -> bytes."""
        self._ek, self._ak = (key_from_secret(draw(SECRET_BYTES)) for _ in range(2))
        self.ek = maker.endorse(self._ek.public_key(), serial=2 + int.from_bytes(draw(8), "big"))
        self._root = maker.root
        self.ak_public = _ecc_public(self._ak.public_key())
        self.boot = dict(boot)
        self.resets = 0
        self.reboot()

    @property
    def kind(self) -> str:
        """``tpm``."""
        return "tpm"

    def reboot(self) -> None:
        """Forget all registers and measure what is booted now."""
        self.resets += 1
        self.registers = {PCR: bytes(32)}
        self.events: list[Event] = []
        for name, measured in self.boot.items():
            self.measure(name, measured)

    def measure(self, name: str, data: bytes) -> None:
        """Extend the register and log it."""
        digest = hashlib.sha256(data).digest()
        self.events.append(
            Event(register=PCR, type=EV_IPL, digests={SHA256: digest}, data=EVENT_PREFIX + name.encode())
        )
        self.extend(digest)

    def extend(self, digest: bytes) -> None:
        """Extend the register and tell no log: what something unknown that ran would have done."""
        self.registers[PCR] = hashlib.sha256(self.registers[PCR] + digest).digest()

    async def identity(self) -> bytes:
        """Its endorsement and attestation key."""
        return canonical.encode(self.identity_now())

    def identity_now(self) -> TpmIdentity:
        """The same, as a record."""
        ders = [one.public_bytes(serialization.Encoding.DER) for one in (self.ek, self._root)]
        return TpmIdentity(ek_certificate=ders[0], ek_issuers=(ders[1],), ak_public=self.ak_public)

    async def activate(self, credential: bytes, seed: bytes) -> bytes:
        """Open a credential, as TPM2_ActivateCredential does."""
        return open_credential(self._ek, read_public(self.ak_public).name, credential, seed)

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Quote the register over the first 32 bytes of the nonce."""
        return "tpm", canonical.encode(self.quote(nonce))

    def quote(self, nonce: bytes) -> TpmEvidence:
        """The same, as a record."""
        value = self.registers[PCR]
        selection = (1 << PCR).to_bytes(3, "little")
        attest = b"".join(
            (
                MAGIC.to_bytes(4, "big"), ST_ATTEST_QUOTE.to_bytes(2, "big"),
                _sized(read_public(self.ak_public).name), _sized(nonce[:NONCE_BYTES]),
                (self.resets * 1_000).to_bytes(8, "big"), self.resets.to_bytes(4, "big"), bytes(4), b"\1",
                (0x20261121).to_bytes(8, "big"), (1).to_bytes(4, "big"), SHA256.to_bytes(2, "big"), b"\3", selection,
                _sized(hashlib.sha256(value).digest()),
            )
        )  # fmt: skip
        return TpmEvidence(
            attest=attest,
            signature=self.sign(attest),
            pcrs=(PcrValue(bank=SHA256, index=PCR, value=value),),
            event_log=write_log(tuple(self.events)),
        )

    def sign(self, attest: bytes) -> bytes:
        """TPMT_SIGNATURE over anything: only a simulated TPM does that."""
        der = self._ak.sign(attest, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = (number.to_bytes(32, "big") for number in utils.decode_dss_signature(der))
        return ECDSA.to_bytes(2, "big") + SHA256.to_bytes(2, "big") + _sized(r) + _sized(s)


def _ecc_public(key: ec.EllipticCurvePublicKey) -> bytes:
    """TPMT_PUBLIC of a restricted ECDSA signing key."""
    point = key.public_numbers()
    words = (ALG_ECC, SHA256)
    head = b"".join(word.to_bytes(2, "big") for word in words) + (AK_WANTED | USER_WITH_AUTH).to_bytes(4, "big")
    tail = (0, ALG_NULL, ECDSA, SHA256, 0x0003, ALG_NULL)
    coordinates = _sized(point.x.to_bytes(32, "big")) + _sized(point.y.to_bytes(32, "big"))
    return head + b"".join(word.to_bytes(2, "big") for word in tail) + coordinates


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def open_credential(key: ec.EllipticCurvePrivateKey, ak_name: bytes, blob: bytes, encrypted: bytes) -> bytes:
    """TPM2_ActivateCredential for a P-256 endorsement key held in software: what a simulated TPM does.

    Raises EvidenceRefused ``attest.malformed`` where the credential is for another key or was changed.
    """
    size = AES_BYTES * 2
    x, y = encrypted[4 : 4 + size], encrypted[6 + size : 6 + 2 * size]
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
    try:
        shared = key.exchange(ec.ECDH(), numbers.public_key())
    except ValueError as error:
        raise refused("malformed", f"not an encrypted seed: {error}") from error
    seed = _kdfe(shared, x, key.public_key())
    inner = blob[2:]
    tag, hidden = inner[2:34], inner[34:]
    if tag != _tag(seed, hidden, ak_name):
        raise refused("malformed", "the credential is not for this TPM and key")
    decryptor = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", ak_name, AES_BYTES)), CFB(bytes(16))).decryptor()
    return (decryptor.update(hidden) + decryptor.finalize())[2:]
