"""This node as a witness of its domain's log. `sealed request -> judged -> durable -> cosigned`.

The server half of C2SP tlog-witness, over the bus. The key is made here at the first question and never leaves the
disk; the log's own keys are pinned when they are first seen. The last checkpoint that was cosigned is on the disk
before the cosignature is given, so that no crash lets this node vouch for two histories. A checkpoint under the log's
own signature that does not extend it is kept as evidence, and told in the log and at each later question.
"""

from __future__ import annotations

import asyncio
import hashlib

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hanse.core.ids import NodeId
from hanse.core.ports import Clock, Entropy, Store
from hanse.core.time import WallTime
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import cosign
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import SignatureType, VerifierKey, parse
from hanse.ledger.quorum import load_policy
from hanse.ledger.witness import (
    BAD_REQUEST,
    FORBIDDEN,
    Asked,
    Declined,
    Granted,
    judge_request,
    origin_of,
    parse_request,
)
from hanse.wire import canonical
from hanse.wire.messages import WitnessedHead, WitnessRequest

log = structlog.get_logger("node")

BUCKET = "witness"
KEY = "key"
SEED_BYTES = 32


class _KeptKey:
    """The `Signer` over the seed on this node's disk."""

    algorithm = "ed25519"

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self.public_key).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class NodeWitness:
    """Cosigns for the domain's log; its name is ``<domain>/node/<id>``."""

    def __init__(self, disk: Store, entropy: Entropy, clock: Clock, *, domain: str, me: NodeId) -> None:
        self._disk = disk
        self._entropy = entropy
        self._clock = clock
        self._name = f"{domain}/node/{me}"
        self._key: _KeptKey | None = None
        self._lock = asyncio.Lock()

    async def vkey(self) -> str:
        """The verifier key, made and kept at the first call. Raises StoreError."""
        async with self._lock:
            key = await self._kept()
        kind = SignatureType.ED25519_COSIGNATURE
        return VerifierKey(name=self._name, type=kind, public_key=key.public_key).vkey

    async def answer(self, asked: WitnessRequest) -> tuple[int, bytes]:
        """Status and body as the standard has them. Raises StoreError."""
        async with self._lock:
            return await self._answer(asked)

    async def _answer(self, question: WitnessRequest) -> tuple[int, bytes]:
        try:
            asked = parse_request(question.body)
            origin = origin_of(asked)
            keys = await self._pinned(origin, question.log)
        except LedgerFormatError as error:
            return BAD_REQUEST, _line(error.message)
        if keys is None:
            log.error("witness.other_keys", origin=origin)
            return FORBIDDEN, _line(f"the keys of {origin} are not those that this node saw first")
        revision, head = await self._head(origin)
        held = None if head is None else parse_checkpoint(parse(head.note.encode()).text)
        match judge_request(asked, keys, held):
            case Granted(checkpoint=checkpoint):
                await self._keep(origin, WitnessedHead(note=asked.note.decode()), head, revision)
                return 200, await self._line_for(checkpoint)
            case Declined() as declined:
                if declined.is_split and head is not None and not head.split:
                    await self._keep_evidence(origin, asked, head, revision)
                return declined.status, _line(declined.reason if declined.size is None else str(declined.size))

    async def _line_for(self, checkpoint: Checkpoint) -> bytes:
        return cosign(checkpoint, self._name, await self._kept(), self._clock.wall()).line.encode()

    async def _kept(self) -> _KeptKey:
        if self._key is None:
            entry = await self._disk.get(BUCKET, KEY)
            if entry is None or entry.value is None:
                seed = self._entropy.secret(SEED_BYTES)
                await self._disk.put(BUCKET, KEY, seed, 0)
            else:
                seed = entry.value
            self._key = _KeptKey(seed)
        return self._key

    async def _pinned(self, origin: str, policy: str) -> tuple[VerifierKey, ...] | None:
        """The log's keys as this node saw them first; None where it is shown others now. Raises LedgerFormatError."""
        shown = _keys_of(origin, policy)
        name = f"log.{_hash(origin)}"
        entry = await self._disk.get(BUCKET, name)
        if entry is None or entry.value is None:
            await self._disk.put(BUCKET, name, policy.encode(), 0)
            return shown
        return shown if _keys_of(origin, entry.value.decode()) == shown else None

    async def _head(self, origin: str) -> tuple[int, WitnessedHead | None]:
        entry = await self._disk.get(BUCKET, f"head.{_hash(origin)}")
        if entry is None or entry.value is None:
            return 0, None
        return entry.revision, canonical.decode(entry.value, WitnessedHead)

    async def _keep(self, origin: str, fresh: WitnessedHead, last: WitnessedHead | None, revision: int) -> None:
        if last is not None and last.note == fresh.note:
            return
        split, since = ("", None) if last is None else (last.split, last.split_us)
        head = WitnessedHead(note=fresh.note, split=split, split_us=since)
        await self._disk.put(BUCKET, f"head.{_hash(origin)}", canonical.encode(head), revision)

    async def _keep_evidence(self, origin: str, asked: Asked, head: WitnessedHead, revision: int) -> None:
        now = WallTime(self._clock.wall())
        evidence = WitnessedHead(note=head.note, split=asked.note.decode(), split_us=now)
        await self._disk.put(BUCKET, f"head.{_hash(origin)}", canonical.encode(evidence), revision)
        log.error("witness.split_view", origin=origin, held=head.note, shown=evidence.split)


def _keys_of(origin: str, policy: str) -> tuple[VerifierKey, ...]:
    """Every key that must have signed a checkpoint of this log: its own, and cosigners of its name."""
    read = load_policy(policy.encode())
    keys = tuple(key for key in (*read.logs, *read.witnesses.values()) if key.name == origin)
    if not keys:
        raise LedgerFormatError(f"the policy names no key of the log {origin}")
    return keys


def _hash(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _line(text: str) -> bytes:
    return text.encode() + b"\n"
