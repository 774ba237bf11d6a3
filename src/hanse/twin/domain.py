"""The keys of one simulated domain and of its nodes, all derived from the seed: `seed -> authority, signers`.

Certificates and signatures are really made and really verified; only their randomness is repeatable.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.ids import NodeId
from hanse.core.ports import Signer
from hanse.core.rng import Rng
from hanse.core.time import WallTime
from hanse.identity import Nkey, key_from_secret, make_issuing, make_root, nkey_from_secret, serial_from_secret
from hanse.identity.authority import SECRET_BYTES
from hanse.identity.enrol import Authority
from hanse.identity.sealing import SEALING_SECRET_BYTES, sealing_key
from hanse.ledger import log_key
from hanse.ledger.note import VerifierKey
from hanse.twin.ports.signer import ed25519, ml_dsa_44

LEDGER_SUFFIX = "/ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinDomain:
    """What `hanse init` makes, from a seed."""

    name: str
    authority: Authority
    controller: Signer
    ledger: tuple[Signer, ...]
    witness: tuple[Signer, ...]
    mirror: tuple[Signer, ...]

    @property
    def origin(self) -> str:
        """The name of the domain's log."""
        return self.name + LEDGER_SUFFIX

    @property
    def ledger_keys(self) -> tuple[VerifierKey, ...]:
        """Keys that must all have signed a checkpoint."""
        return tuple(log_key(self.origin, signer.algorithm, signer.public_key) for signer in self.ledger)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """What a node makes before it joins and keeps for life, apart from its disk of orders."""

    signer: Signer
    user: Nkey


def make_domain(seed: int, name: str, now: WallTime) -> TwinDomain:
    """Make a domain whose keys follow from the seed."""
    draw = Rng(seed).stream("domain", name).randbytes
    ca_key = key_from_secret(draw(SECRET_BYTES))
    root = make_root(ca_key, name, now, serial_from_secret(draw(16)))
    issuing_key, serial = key_from_secret(draw(SECRET_BYTES)), serial_from_secret(draw(16))
    issuing = make_issuing(ca_key, root, issuing_key.public_key(), name, now, serial)
    account = nkey_from_secret("account", draw(32))
    # A stream of its own: the other keys stay what they were.
    sealing = Rng(seed).stream("domain-sealing", name).randbytes(SEALING_SECRET_BYTES)
    return TwinDomain(
        name=name,
        authority=Authority(
            domain=name,
            ca_key=issuing_key,
            ca_cert=issuing,
            account=account,
            sealing=sealing_key(sealing),
            root_cert=root,
        ),
        controller=ed25519(draw(32)),
        ledger=(ed25519(draw(32)), ml_dsa_44(draw(32))),
        witness=(ed25519(draw(32)), ml_dsa_44(draw(32))),
        mirror=(ed25519(draw(32)), ml_dsa_44(draw(32))),
    )


def make_node_keys(seed: int, node: NodeId) -> NodeKeys:
    """Make a node's lasting keys."""
    draw = Rng(seed).stream("node-keys", node).randbytes
    return NodeKeys(signer=ed25519(draw(32)), user=nkey_from_secret("user", draw(32)))
