"""The domain's own folder: every key that makes the domain what it is, made once and never overwritten.

`state directory + name -> Domain`. The folder is built aside and renamed into place, so that a crash leaves either no
domain or a whole one; ``domain.json`` holds a digest of each file, so that damage is found and named. JWTs that follow
from the keys are derived at load and not stored. Where the root key is kept, and the change of issuing authorities, is
in `domain_ca`.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from hanse.adapters.keys import (
    PRIVATE_FOLDER_MODE,
    SEED_BYTES,
    KeySigner,
    parse_ed25519,
    parse_mldsa44,
    parse_p256,
    private_pem,
    read_private,
    sync_folder,
    write_private,
)
from hanse.core.errors import HanseError, present
from hanse.core.ids import Digest
from hanse.core.ports import Entropy
from hanse.core.time import HOUR_US, WallTime
from hanse.identity import (
    IdentityError,
    NatsTrust,
    Nkey,
    SigningKey,
    SpiffeId,
    domain_id,
    issue_svid,
    key_from_secret,
    make_csr,
    make_issuing,
    make_root,
    nkey_from_secret,
    serial_from_secret,
    server_id,
)
from hanse.identity.authority import ISSUING_LIFETIME_US, SECRET_BYTES, key_pem
from hanse.identity.enrol import Authority
from hanse.identity.nats_accounts import fabric_claims, ingest_prefix, nodes_claims
from hanse.identity.nats_jwt import account_jwt, nkey_from_seed, operator_jwt, user_jwt
from hanse.identity.sealing import SEALING_SECRET_BYTES, sealing_key
from hanse.wire import canonical

FOLDER = "domain"
RECORD = "domain.json"
CONTEXT = "context.json"
ROOT_CERT = "root.pem"
ROOT_KEY = "root.key"
ISSUING = re.compile(r"issuing-(\d+)\.(?:key|pem)\Z")
"""Files of issuing authorities; the one with the highest number counts."""
API_TOKEN = "api.token"  # noqa: S105 - a file name
NODES_ACCOUNT = "nats-nodes.nk"
NKEYS = {
    "nats-operator.nk": "operator",
    "nats-account.nk": "account",
    NODES_ACCOUNT: "account",
    "nats-system.nk": "account",
    "nats-controller.nk": "user",
}


LEDGER, WITNESS, MIRROR = "ledger", "witness", "mirror"
LATER = (WITNESS, MIRROR)
SECRETS_KEY = "secrets.key"
"""Roles that domains made by earlier versions have no keys for: those are made when such a domain is loaded."""


class DomainError(HanseError):
    """Raised when the domain's folder is missing, damaged, or another domain's."""

    code = "domain.damaged"


class DomainRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="domain.v1", kw_only=True):
    """``domain.json``: the name, and a digest of every file made with it."""

    name: str
    created_us: WallTime
    files: dict[str, Digest]
    root_at: str = ""
    """Where the root key is kept, if not here: a PKCS#11 URI, or ``file``."""


class ContextRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="context.v1", kw_only=True):
    """``context.json``: where the API answers, read by `hanse.app.context`; file names are relative to the folder, so
    that it can be moved."""

    domain: str
    api_urls: tuple[str, ...]
    ca: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain's keys, loaded."""

    name: str
    created_us: WallTime
    folder: Path
    authority: Authority
    root_at: str
    """``folder``, ``file`` (with whoever keeps it), or the PKCS#11 URI of the root key."""
    controller_signer: KeySigner
    """Ed25519: seals orders, routes and records."""
    ledger_signers: tuple[KeySigner, ...]
    """Ed25519, then ML-DSA-44."""
    witness_signers: tuple[KeySigner, ...]
    """Likewise; apart from the mirror's, for a witness's line under a checkpoint promises less."""
    mirror_signers: tuple[KeySigner, ...]
    operator: Nkey
    fabric_account: Nkey
    """Account of controllers and of all state; that of nodes is in `authority`."""
    system: Nkey
    controller_user: Nkey
    api_token: str = field(repr=False)

    @property
    def bundle_pem(self) -> bytes:
        """The trust bundle."""
        return self.authority.bundle_pem

    @property
    def controller_jwt(self) -> str:
        """The controller's claim on the substrate, proved by `controller_user`: the whole account."""
        user = self.controller_user.public
        return user_jwt(self.fabric_account, user, "controller", self.created_us, permissions=None)

    @property
    def ingest(self) -> str:
        """The secret prefix under which buckets take values (`hanse.identity.nats_accounts`)."""
        return ingest_prefix(self.controller_user.seed)

    def nats_trust(self, revoked: Mapping[str, WallTime] | None = None) -> NatsTrust:
        """What the substrate's servers need; `revoked` maps public nkeys of users to the time of revocation."""
        fabric, nodes, at = self.fabric_account.public, self.authority.account.public, self.created_us
        doors, inner = fabric_claims(nodes, self.ingest), nodes_claims(fabric, self.ingest)
        return NatsTrust(
            operator_jwt=operator_jwt(self.operator, self.name, self.system.public, at),
            account=fabric,
            # Nodes that joined before they had an account of their own are users of this one: revoked there, too.
            account_jwt=account_jwt(
                self.operator, fabric, "fabric", at, has_jetstream=True, revoked=revoked, doors=doors
            ),
            nodes=nodes,
            nodes_jwt=account_jwt(self.operator, nodes, "nodes", at, has_jetstream=False, revoked=revoked, doors=inner),
            system=self.system.public,
            system_jwt=account_jwt(self.operator, self.system.public, "system", at, has_jetstream=False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKept:
    """A root key that is kept elsewhere: the domain's folder never sees it."""

    key: SigningKey
    at: str
    """``file``, or its PKCS#11 URI."""


def init_domain(
    root: Path,
    name: str,
    now: WallTime,
    entropy: Entropy,
    *,
    kept: RootKept | None = None,
    issuing_us: int = ISSUING_LIFETIME_US,
) -> Domain:
    """Make the domain `name` under the state directory `root`, or load it if it is there.

    `kept` None: the root key lies in the folder, which `hanse ca export-root` changes.
    Raises DomainError ``domain.damaged`` (the file is named) or ``domain.other`` (another domain lives here), and
    IdentityError ``identity.malformed_id`` if `name` is no trust domain.
    """
    domain_id(name)
    if not (root / FOLDER).exists():
        _make(root, name, now, entropy, kept, issuing_us)
    domain = load_domain(root)
    if domain.name != name:
        raise DomainError(
            f"{root} holds the domain {domain.name}, not {name}",
            code="domain.other",
            hint="use another state directory",
        )
    return domain


def load_domain(root: Path) -> Domain:
    """Load the domain under the state directory `root`.

    Raises DomainError ``domain.missing`` or ``domain.damaged``; IdentityError ``identity.open_key_file`` if a key may
    be read by others.
    """
    folder = root / FOLDER
    if not folder.exists():
        raise DomainError(f"no domain in {root}", code="domain.missing", hint="make one with `hanse init`")
    record = _with_later_keys(folder, load_record(folder))
    data = {name: _load_file(folder, name, digest) for name, digest in sorted(record.files.items())}
    try:
        return _assemble(folder, record, data)
    except KeyError as error:
        raise _damaged(folder / str(error.args[0]), "is not listed in domain.json") from error
    except (IdentityError, ValueError) as error:
        raise _damaged(folder, f"cannot be read: {error}") from error


def write_context(root: Path, api_urls: Sequence[str]) -> Path:
    """Say where the API answers now; returns the path of ``context.json``."""
    folder = root / FOLDER
    record = ContextRecord(domain=load_record(folder).name, api_urls=tuple(api_urls), ca=ROOT_CERT, token=API_TOKEN)
    write_private(folder / CONTEXT, canonical.encode(record))
    return folder / CONTEXT


def issue_server(
    domain: Domain,
    name: str,
    *,
    now: WallTime,
    entropy: Entropy,
    dns_names: Sequence[str] = ("localhost",),
    ip_addresses: Sequence[str] = ("127.0.0.1",),
    lifetime_us: int = HOUR_US,
    spiffe_id: SpiffeId | None = None,
) -> tuple[bytes, bytes]:
    """Make an SVID for one of the fabric's own servers: (chain PEM, private key PEM). Its name is `server_id(name)`
    unless another is given.

    Host names and addresses are those that ordinary TLS clients will ask for.
    """
    key = key_from_secret(entropy.secret(SECRET_BYTES))
    chain = issue_svid(
        make_csr(key),
        server_id(domain.name, name) if spiffe_id is None else spiffe_id,
        ca_key=domain.authority.ca_key,
        ca_cert=domain.authority.ca_cert,
        now=now,
        serial=serial_from_secret(entropy.secret(16)),
        lifetime_us=lifetime_us,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
    )
    return chain, key_pem(key)


def write_record(folder: Path, record: DomainRecord) -> None:
    """Replace ``domain.json``: what it lists is the domain from then on."""
    write_private(folder / RECORD, canonical.encode(record))


def issuing_files(
    number: int,
    name: str,
    now: WallTime,
    entropy: Entropy,
    *,
    root_key: SigningKey,
    root_cert: x509.Certificate,
    lifetime_us: int,
) -> dict[str, bytes]:
    """Make an issuing authority below a root: its key and certificate, by file name.

    Raises IdentityError ``identity.root_key``, ``.short_path`` or ``.expired``.
    """
    issuing_key = key_from_secret(entropy.secret(SECRET_BYTES))
    serial = serial_from_secret(entropy.secret(16))
    made = make_issuing(root_key, root_cert, issuing_key.public_key(), name, now, serial, lifetime_us=lifetime_us)
    return {
        f"issuing-{number}.key": private_pem(issuing_key),
        f"issuing-{number}.pem": made.public_bytes(serialization.Encoding.PEM),
    }


def issuing_number(files: Mapping[str, object]) -> int:
    """Number of the issuing authority that counts; 0 if the domain has none yet."""
    return max((int(found[1]) for name in files if (found := ISSUING.match(name))), default=0)


def _make(  # noqa: PLR0917 - what the caller was given
    root: Path, name: str, now: WallTime, entropy: Entropy, kept: RootKept | None, issuing_us: int
) -> None:
    root.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", dir=root))
    try:
        files = _fresh_files(name, now, entropy, kept, issuing_us)
        for file, data in files.items():
            write_private(building / file, data)
        digests = {file: canonical.digest_bytes(data) for file, data in files.items()}
        write_record(
            building,
            DomainRecord(name=name, created_us=now, files=digests, root_at="" if kept is None else kept.at),
        )
        try:
            building.rename(root / FOLDER)
        except OSError:
            # Another process was quicker: its domain counts, and loading decides whether it is this one.
            if not (root / FOLDER / RECORD).exists():
                raise
        sync_folder(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fresh_files(
    name: str, now: WallTime, entropy: Entropy, kept: RootKept | None, issuing_us: int
) -> dict[str, bytes]:
    here = key_from_secret(entropy.secret(SECRET_BYTES)) if kept is None else None
    root_key = kept.key if kept is not None else present(here, "a key that is not kept elsewhere is here")
    root_cert = make_root(root_key, name, now, serial_from_secret(entropy.secret(16)))
    files = {
        **({} if here is None else {ROOT_KEY: private_pem(here)}),
        ROOT_CERT: root_cert.public_bytes(serialization.Encoding.PEM),
        **issuing_files(1, name, now, entropy, root_key=root_key, root_cert=root_cert, lifetime_us=issuing_us),
        "controller.key": private_pem(Ed25519PrivateKey.from_private_bytes(entropy.secret(SEED_BYTES))),
        API_TOKEN: base64.urlsafe_b64encode(entropy.secret(32)).rstrip(b"="),
    }
    for role in (LEDGER, *LATER):
        files |= _checkpoint_keys(role, entropy.secret)
    files[SECRETS_KEY] = _sealing_text(entropy.secret(SEALING_SECRET_BYTES))
    for file, kind in NKEYS.items():
        files[file] = nkey_from_secret(kind, entropy.secret(SEED_BYTES)).seed.encode()
    return files


def _checkpoint_keys(role: str, secret: Callable[[int], bytes]) -> dict[str, bytes]:
    """The pair of keys that signs checkpoints in one role."""
    return {
        f"{role}-ed25519.key": private_pem(Ed25519PrivateKey.from_private_bytes(secret(SEED_BYTES))),
        f"{role}-ml-dsa-44.key": private_pem(MLDSA44PrivateKey.from_seed_bytes(secret(SEED_BYTES))),
    }


def _sealing_text(secret: bytes) -> bytes:
    """The seeds of the key that secrets are sealed to: ML-KEM-768 (64 bytes), then X25519 (32), base64."""
    return base64.b64encode(secret)


def _with_later_keys(folder: Path, record: DomainRecord) -> DomainRecord:
    """Make the keys that an earlier version did not; the record that lists them is written last."""
    lacking = [role for role in LATER if f"{role}-ed25519.key" not in record.files]
    files = {name: data for role in lacking for name, data in _checkpoint_keys(role, secrets.token_bytes).items()}
    if NODES_ACCOUNT not in record.files:
        files[NODES_ACCOUNT] = nkey_from_secret("account", secrets.token_bytes(SEED_BYTES)).seed.encode()
    if SECRETS_KEY not in record.files:
        files[SECRETS_KEY] = _sealing_text(secrets.token_bytes(SEALING_SECRET_BYTES))
    if not files:
        return record
    for name, data in files.items():
        write_private(folder / name, data)
    digests = {name: canonical.digest_bytes(data) for name, data in files.items()}
    fresh = msgspec.structs.replace(record, files={**record.files, **digests})
    write_record(folder, fresh)
    return fresh


def _signers(folder: Path, data: Mapping[str, bytes], role: str) -> tuple[KeySigner, ...]:
    classical, quantum = f"{role}-ed25519.key", f"{role}-ml-dsa-44.key"
    return (
        KeySigner(parse_ed25519(folder / classical, data[classical])),
        KeySigner(parse_mldsa44(folder / quantum, data[quantum])),
    )


def _assemble(folder: Path, record: DomainRecord, data: Mapping[str, bytes]) -> Domain:
    nkeys = {file: nkey_from_seed(data[file].decode("ascii")) for file in NKEYS}
    return Domain(
        name=record.name,
        created_us=record.created_us,
        folder=folder,
        authority=_authority(folder, record, data, nkeys[NODES_ACCOUNT]),
        root_at=record.root_at or "folder",
        controller_signer=KeySigner(parse_ed25519(folder / "controller.key", data["controller.key"])),
        ledger_signers=_signers(folder, data, LEDGER),
        witness_signers=_signers(folder, data, WITNESS),
        mirror_signers=_signers(folder, data, MIRROR),
        operator=nkeys["nats-operator.nk"],
        fabric_account=nkeys["nats-account.nk"],
        system=nkeys["nats-system.nk"],
        controller_user=nkeys["nats-controller.nk"],
        api_token=data[API_TOKEN].decode("ascii"),
    )


def _authority(folder: Path, record: DomainRecord, data: Mapping[str, bytes], account: Nkey) -> Authority:
    """The issuing authority; in a domain of the first version, until `hanse ca rotate`, the root itself."""
    number = issuing_number(record.files)
    key_file, cert_file = (f"issuing-{number}.key", f"issuing-{number}.pem") if number else (ROOT_KEY, ROOT_CERT)
    return Authority(
        domain=record.name,
        ca_key=parse_p256(folder / key_file, data[key_file]),
        ca_cert=x509.load_pem_x509_certificate(data[cert_file]),
        account=account,
        sealing=sealing_key(base64.b64decode(data[SECRETS_KEY], validate=True)),
        root_cert=x509.load_pem_x509_certificate(data[ROOT_CERT]),
    )


def load_record(folder: Path) -> DomainRecord:
    """Read ``domain.json``. Raises DomainError."""
    path = folder / RECORD
    try:
        return canonical.decode(path.read_bytes(), DomainRecord)
    except OSError as error:
        raise _damaged(path, os.strerror(error.errno or 0).lower()) from error
    except HanseError as error:
        raise _damaged(path, str(error)) from error


def _load_file(folder: Path, name: str, digest: Digest) -> bytes:
    path = folder / name
    try:
        data = read_private(path)
    except OSError as error:
        raise _damaged(path, os.strerror(error.errno or 0).lower()) from error
    if canonical.digest_bytes(data) != digest:
        raise _damaged(path, "is not the file that was made")
    return data


def _damaged(path: Path, what: str) -> DomainError:
    return DomainError(
        f"{path}: {what}",
        hint="restore the whole folder from a backup; keys are never made anew over a damaged domain",
        context={"file": str(path)},
    )
