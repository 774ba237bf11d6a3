"""This domain as a witness of other domains' logs: the server half of C2SP tlog-witness.

`request bytes -> answer`, with one record per log in the store. What is granted is durable, by compare-and-swap on the
record's revision, before it is cosigned, so that several controllers may answer and none cosigns two histories.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import structlog

from hanse.core.errors import ConflictError, HanseError
from hanse.core.ports import ControlPorts, Entry, Signer
from hanse.core.time import WallTime
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import cosign
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import SignatureType, VerifierKey, parse
from hanse.ledger.quorum import Policy, load_policy
from hanse.ledger.witness import (
    BAD_REQUEST,
    SIZE_TYPE,
    UNKNOWN_LOG,
    Asked,
    Declined,
    Granted,
    judge_request,
    origin_of,
    parse_request,
)
from hanse.wire import envelope
from hanse.wire.messages import WitnessedHead, WitnessedLog
from hanse.wire.subjects import WITNESS

log = structlog.get_logger("control")

WITNESS_SUFFIX = "/witness"
_SWAP_ATTEMPTS = 5
_COSIGNATURES = {"ed25519": SignatureType.ED25519_COSIGNATURE, "ml-dsa-44": SignatureType.ML_DSA_44_COSIGNATURE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer of the standard."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessedView:
    """One log that is witnessed here, for people."""

    origin: str
    size: int | None
    """Entries under the last cosigned checkpoint; None before the first."""
    split_size: int | None
    """Entries under a checkpoint that contradicts it; None where none was shown."""


class NotWitnessed(HanseError):
    """Raised when a policy names no log, or more than one."""

    code = "witness.bad_policy"


class Witness:
    """Cosigns for the logs it was told of; its name is ``<domain>/witness``."""

    def __init__(self, ports: ControlPorts, domain: str) -> None:
        self._ports = ports
        self._name = domain + WITNESS_SUFFIX
        self._trusted = {ports.signer.key_id: ports.signer.public_key}

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The verifier keys of this witness, for others' policy files."""
        return tuple(self._key(signer) for signer in self._ports.ledger_signers)

    async def add_log(self, policy: bytes) -> str:
        """Witness a log from now on, by the policy file of its domain; returns its origin.

        Raises LedgerFormatError, NotWitnessed.
        """
        origin, _ = _log_of(load_policy(policy))
        sealed = envelope.seal(WitnessedLog(policy=policy.decode()), self._ports.signer)
        await self._ports.store.put(WITNESS, f"log.{name_of(origin)}", sealed)
        return origin

    async def logs(self) -> tuple[WitnessedView, ...]:
        """Every log that is witnessed here."""
        entries = await self._ports.store.entries(WITNESS, "log")
        views: list[WitnessedView] = []
        for entry in entries:
            record = envelope.open_sealed(entry.value or b"", WitnessedLog, self._trusted).message
            origin, _ = _log_of(load_policy(record.policy.encode()))
            _, head = await self._head(origin)
            views.append(
                WitnessedView(
                    origin=origin,
                    size=None if head is None else _checkpoint(head.note).size,
                    split_size=None if head is None or not head.split else _checkpoint(head.split).size,
                )
            )
        return tuple(views)

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one ``add-checkpoint`` request. Raises StoreError, ConflictError under constant contention."""
        try:
            asked = parse_request(body)
            origin = origin_of(asked)
        except LedgerFormatError as error:
            return Answer(status=BAD_REQUEST, body=_line(error.message))
        keys = await self._keys_of(origin)
        if keys is None:
            return Answer(status=UNKNOWN_LOG, body=_line(f"the log {origin} is not witnessed here"))
        for _ in range(_SWAP_ATTEMPTS):
            revision, head = await self._head(origin)
            verdict = judge_request(asked, keys, None if head is None else _checkpoint(head.note))
            try:
                match verdict:
                    case Granted():
                        await self._keep(origin, WitnessedHead(note=asked.note.decode()), head, revision)
                        return Answer(status=200, body=self._cosign(verdict.checkpoint))
                    case Declined():
                        if verdict.is_split and head is not None and not head.split:
                            await self._keep_evidence(origin, asked, head, revision)
                        return _declined(verdict)
            except ConflictError:
                continue
        raise ConflictError(f"the record of {origin} keeps changing")

    async def checkpoint(self, origin_hash: str) -> bytes | None:
        """The last cosigned checkpoint of a log by the SHA-256 of its origin, with our lines; None if unknown."""
        entry = await self._ports.store.get(WITNESS, f"head.{origin_hash}")
        if entry is None or entry.value is None:
            return None
        head = envelope.open_sealed(entry.value, WitnessedHead, self._trusted).message
        return head.note.encode() + self._cosign(_checkpoint(head.note))

    async def _keep(self, origin: str, fresh: WitnessedHead, last: WitnessedHead | None, revision: int) -> None:
        if last is not None:
            fresh = WitnessedHead(note=fresh.note, split=last.split, split_us=last.split_us)
        if fresh != last:
            sealed = envelope.seal(fresh, self._ports.signer)
            await self._ports.store.put(WITNESS, f"head.{name_of(origin)}", sealed, revision)

    async def _keep_evidence(self, origin: str, asked: Asked, head: WitnessedHead, revision: int) -> None:
        now = self._ports.clock.wall()
        evidence = WitnessedHead(note=head.note, split=asked.note.decode(), split_us=WallTime(now))
        await self._ports.store.put(
            WITNESS, f"head.{name_of(origin)}", envelope.seal(evidence, self._ports.signer), revision
        )
        log.error("witness.split_view", origin=origin, held=head.note, shown=evidence.split)

    async def _head(self, origin: str) -> tuple[int, WitnessedHead | None]:
        entry: Entry | None = await self._ports.store.get(WITNESS, f"head.{name_of(origin)}")
        if entry is None or entry.value is None:
            return 0, None
        return entry.revision, envelope.open_sealed(entry.value, WitnessedHead, self._trusted).message

    async def _keys_of(self, origin: str) -> tuple[VerifierKey, ...] | None:
        entry = await self._ports.store.get(WITNESS, f"log.{name_of(origin)}")
        if entry is None or entry.value is None:
            return None
        record = envelope.open_sealed(entry.value, WitnessedLog, self._trusted).message
        return _log_of(load_policy(record.policy.encode()))[1]

    def _cosign(self, checkpoint: Checkpoint) -> bytes:
        now = self._ports.clock.wall()
        lines = [cosign(checkpoint, self._name, signer, now).line for signer in self._ports.ledger_signers]
        return "".join(lines).encode()

    def _key(self, signer: Signer) -> VerifierKey:
        return VerifierKey(name=self._name, type=_COSIGNATURES[signer.algorithm], public_key=signer.public_key)


def name_of(text: str) -> str:
    """A foreign name as a key of the store: hex SHA-256, as the standard addresses logs."""
    return hashlib.sha256(text.encode()).hexdigest()


def _log_of(policy: Policy) -> tuple[str, tuple[VerifierKey, ...]]:
    """The one log that a policy names, and every key that must have signed: its own, and cosigners of its name."""
    names = {key.name for key in policy.logs}
    if len(names) != 1:
        raise NotWitnessed(f"the policy names {len(names)} logs, not one", hint="give the other domain's ledger.policy")
    (origin,) = names
    return origin, tuple(key for key in (*policy.logs, *policy.witnesses.values()) if key.name == origin)


def _checkpoint(note: str) -> Checkpoint:
    return parse_checkpoint(parse(note.encode()).text)


def _declined(verdict: Declined) -> Answer:
    if verdict.size is not None:
        return Answer(status=verdict.status, body=_line(str(verdict.size)), media_type=SIZE_TYPE)
    return Answer(status=verdict.status, body=_line(verdict.reason))


def _line(text: str) -> bytes:
    return text.encode() + b"\n"
