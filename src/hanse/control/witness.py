"""This domain as a witness of other domains' logs: the server half of C2SP tlog-witness.

`request bytes -> answer`. `KnownLogs` makes durable what is granted; here it is cosigned, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from hanse.control.known_logs import Admitted, Answer, KnownLogs, checkpoint_of
from hanse.core.ports import ControlPorts, Signer
from hanse.core.time import WallTime
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import cosign
from hanse.ledger.note import SignatureType, VerifierKey

WITNESS_SUFFIX = "/witness"
_COSIGNATURES = {"ed25519": SignatureType.ED25519_COSIGNATURE, "ml-dsa-44": SignatureType.ML_DSA_44_COSIGNATURE}


class Witness:
    """Cosigns for the logs it was told of; its name is ``<domain>/witness``."""

    def __init__(self, ports: ControlPorts, domain: str) -> None:
        self._ports = ports
        self._name = domain + WITNESS_SUFFIX
        self.known = KnownLogs(ports)

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The verifier keys of this witness, for others' policy files."""
        return cosigner_keys(self._name, self._ports.witness_signers)

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one ``add-checkpoint`` request. Raises StoreError, ConflictError under constant contention."""
        taken = await self.known.take(body)
        match taken:
            case Answer():
                return taken
            case Admitted():
                return Answer(status=200, body=self._cosign(taken.checkpoint))

    async def checkpoint(self, origin_hash: str) -> bytes | None:
        """The last cosigned checkpoint of a log by the SHA-256 of its origin, with our lines; None if unknown."""
        head = await self.known.head(origin_hash)
        return None if head is None else head.note.encode() + self._cosign(checkpoint_of(head.note))

    def _cosign(self, checkpoint: Checkpoint) -> bytes:
        return cosigner_lines(checkpoint, self._name, self._ports.witness_signers, self._ports.clock.wall())


def cosigner_keys(name: str, signers: Sequence[Signer]) -> tuple[VerifierKey, ...]:
    """The verifier keys of a cosigner, in the order of its signers."""
    return tuple(
        VerifierKey(name=name, type=_COSIGNATURES[signer.algorithm], public_key=signer.public_key) for signer in signers
    )


def cosigner_lines(checkpoint: Checkpoint, name: str, signers: Sequence[Signer], now: WallTime) -> bytes:
    """A cosigner's signature lines on a checkpoint."""
    return "".join(cosign(checkpoint, name, signer, now).line for signer in signers).encode()
