"""A node's own identity on its own disk: lasting keys, and what it got when it joined.

`node state directory -> NodeKeys, JoinResponse | None`. Lasting: the Ed25519 key that seals its messages and the nkey
it proves itself to the substrate with; both are made here and never leave. The SVID is the agent's business
(`hanse.node.svid`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hanse.adapters.keys import (
    PRIVATE_FOLDER_MODE,
    SEED_BYTES,
    KeySigner,
    create_private,
    ed25519_signer,
    read_private,
    write_private,
)
from hanse.core.ports import Entropy
from hanse.identity import IdentityError, Nkey, nkey_from_secret
from hanse.identity.nats_jwt import nkey_from_seed
from hanse.wire import canonical
from hanse.wire.trust_messages import JoinResponse

NODE_KEY = "node.key"
NATS_KEY = "nats.nk"
ENROLMENT = "enrolment.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """The two lasting keys of a node."""

    signer: KeySigner
    nats_user: Nkey


class NodeFiles:
    """The identity folder of one node. All files are 0600 and written whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
