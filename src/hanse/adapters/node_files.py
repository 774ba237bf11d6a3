"""A node's own identity on its own disk: lasting keys, what it got when it joined, and its current SVID.

`node state directory -> NodeKeys, JoinResponse | None, SVID | None`. Lasting: the Ed25519 key that seals its messages
and the nkey it proves itself to the substrate with; both are made here and never leave.

The SVID and its key would best live in memory only. A node that restarts while cut off must serve mesh traffic again
without asking anyone, so by default (`keep_svid_on_disk`) they are kept too, mode 0600. The price: who copies the disk
can speak as the node until that SVID ends, an hour at most. Set it to False where an attacker at the site is likelier
than a reboot without an uplink.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from hanse.adapters.keys import (
    PRIVATE_FOLDER_MODE,
    SEED_BYTES,
    KeySigner,
    create_private,
    ed25519_signer,
    parse_p256,
    read_private,
    write_private,
)
from hanse.core.ports import Entropy
from hanse.identity import IdentityError, Nkey, nkey_from_secret
from hanse.identity.nats_jwt import nkey_from_seed
from hanse.wire import canonical
from hanse.wire.messages import JoinResponse, Svid

NODE_KEY = "node.key"
NATS_KEY = "nats.nk"
ENROLMENT = "enrolment.json"
SVID = "svid.json"


class HeldSvid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="held-svid.v1", kw_only=True):
    """An SVID with its private key, in one file so that they never part."""

    svid: Svid
    key_pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """The two lasting keys of a node."""

    signer: KeySigner
    nats_user: Nkey


class NodeFiles:
    """The identity folder of one node. All files are 0600 and written whole."""

    def __init__(self, folder: Path, *, keep_svid_on_disk: bool = True) -> None:
        self._folder = folder
        self._keep_svid_on_disk = keep_svid_on_disk

    def keys(self, entropy: Entropy) -> NodeKeys:
        """Load the lasting keys, or make them on the first start.

        Raises IdentityError ``identity.bad_key_file``, ``identity.open_key_file`` or ``identity.bad_nkey``.
        """
        self._folder.mkdir(mode=PRIVATE_FOLDER_MODE, parents=True, exist_ok=True)
        signer = ed25519_signer(self._folder / NODE_KEY, entropy)
        path = self._folder / NATS_KEY
        if not path.exists():
            create_private(path, nkey_from_secret("user", entropy.secret(SEED_BYTES)).seed.encode())
        try:
            return NodeKeys(signer=signer, nats_user=nkey_from_seed(read_private(path).decode("ascii")))
        except UnicodeDecodeError as error:
            raise IdentityError(f"{path} holds no nkey seed", code="identity.bad_nkey") from error

    def enrolment(self) -> JoinResponse | None:
        """What the domain answered when this node joined; None if it has not. Raises WireError if damaged."""
        path = self._folder / ENROLMENT
        return canonical.decode(read_private(path), JoinResponse) if path.exists() else None

    def save_enrolment(self, response: JoinResponse) -> None:
        """Keep the domain's answer."""
        write_private(self._folder / ENROLMENT, canonical.encode(response))

    def svid(self) -> HeldSvid | None:
        """The SVID of before the restart, expired or not; None if there is none to be had.

        Raises WireError or IdentityError ``identity.bad_key_file`` if the file is damaged.
        """
        path = self._folder / SVID
        if not self._keep_svid_on_disk or not path.exists():
            return None
        held = canonical.decode(read_private(path), HeldSvid)
        parse_p256(path, held.key_pem)
        return held

    def save_svid(self, held: HeldSvid) -> None:
        """Keep the current SVID with its key, or see that none is kept if the setting says so."""
        if self._keep_svid_on_disk:
            write_private(self._folder / SVID, canonical.encode(held))
        else:
            (self._folder / SVID).unlink(missing_ok=True)
