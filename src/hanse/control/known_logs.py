"""Logs of other domains that this domain was told of, and the newest checkpoint it admitted of each.

`request bytes -> Admitted | Answer`, with one record per log in the store. What is admitted is durable, by
compare-and-swap on the record's revision, before anybody signs for it, so that several controllers may answer and none
vouches for two histories. Witness and mirror each keep such a table, for they promise different things.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import structlog

from hanse.core.errors import ConflictError, HanseError
from hanse.core.ports import ControlPorts, Entry
from hanse.core.time import WallTime
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import VerifierKey, parse
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
from hanse.wire.subjects import WITNESS
from hanse.wire.witness_messages import WitnessedHead, WitnessedLog

log = structlog.get_logger("control")

EARLIER_KEPT = 4
"""Checkpoints before the newest that are remembered: an upload that began under one of them may finish."""
_SWAP_ATTEMPTS = 5
OVER_QUOTA = 507
"""Insufficient Storage (RFC 4918, 11.5): no alarm, and asking again makes sense once the quota was raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer of the standard."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A checkpoint that extends what was admitted before, and is durable."""

    origin: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """One log that is known here, for people."""

    origin: str
    size: int | None
    """Entries under the last admitted checkpoint; None before the first."""
    split_size: int | None
    """Entries under a checkpoint that contradicts it; None where none was shown."""


class UnclearLog(HanseError):
    """Raised when a policy names no log, or more than one."""

    code = "witness.bad_policy"


class KnownLogs:
    """A table of logs. `prefix` keeps the tables of witness and mirror apart."""

    def __init__(self, ports: ControlPorts, prefix: str = "") -> None:
        self._ports = ports
        self._log_key = f"{prefix}log"
        self._head_key = f"{prefix}head"
        self._trusted = {ports.signer.key_id: ports.signer.public_key}

    async def add(self, policy: bytes, quota: int | None = None) -> str:
        """Take a log in, by the policy file of its domain, up to `quota` entries; returns its origin.

        Raises LedgerFormatError, UnclearLog.
        """
        origin, _ = log_of(load_policy(policy))
        sealed = envelope.seal(WitnessedLog(policy=policy.decode(), quota=quota), self._ports.signer)
        await self._ports.store.put(WITNESS, f"{self._log_key}.{name_of(origin)}", sealed)
        return origin

    async def views(self) -> tuple[LogView, ...]:
        """Every log of the table, in order of its name's hash."""
        entries = await self._ports.store.entries(WITNESS, self._log_key)
        views: list[LogView] = []
        for entry in entries:
            origin, _ = log_of(load_policy(self._open_log(entry).policy.encode()))
            _, head = await self._head(name_of(origin))
            views.append(
                LogView(
                    origin=origin,
                    size=None if head is None else checkpoint_of(head.note).size,
                    split_size=None if head is None or not head.split else checkpoint_of(head.split).size,
                )
            )
        return tuple(views)

    async def forgive(self, origin: str) -> bool:
        """Drop the evidence of a split view, once somebody has looked into it. Returns whether there was any."""
        revision, head = await self._head(name_of(origin))
        if head is None or not head.split:
            return False
        fresh = WitnessedHead(note=head.note, earlier=head.earlier)
        await self._put_head(name_of(origin), fresh, revision)
        return True

    async def take(self, body: bytes) -> Admitted | Answer:
        """Judge one ``add-checkpoint`` request. Raises StoreError, ConflictError under constant contention."""
        try:
            asked = parse_request(body)
            origin = origin_of(asked)
        except LedgerFormatError as error:
            return Answer(status=BAD_REQUEST, body=line(error.message))
        found = await self.keys(name_of(origin))
        if found is None:
            return Answer(status=UNKNOWN_LOG, body=line(f"the log {origin} is not known here"))
        quota = await self._quota(name_of(origin))
        if quota is not None and checkpoint_of(asked.note.decode()).size > quota:
            log.warning("witness.over_quota", origin=origin, quota=quota)
            return Answer(status=OVER_QUOTA, body=line(f"at most {quota} entries of {origin} are kept here"))
        for _ in range(_SWAP_ATTEMPTS):
            revision, head = await self._head(name_of(origin))
            verdict = judge_request(asked, found[1], None if head is None else checkpoint_of(head.note))
            try:
                match verdict:
                    case Granted():
                        await self._keep(origin, asked, head, revision)
                        return Admitted(origin=origin, checkpoint=verdict.checkpoint)
                    case Declined():
                        if verdict.is_split and head is not None and not head.split:
                            await self._keep_evidence(origin, asked, head, revision)
                        return _declined(verdict)
            except ConflictError:
                continue
        raise ConflictError(f"the record of {origin} keeps changing")

    async def head(self, origin_hash: str) -> WitnessedHead | None:
        """What was admitted of a log; None before the first checkpoint, or for an unknown log."""
        return (await self._head(origin_hash))[1]

    async def keys(self, origin_hash: str) -> tuple[str, tuple[VerifierKey, ...]] | None:
        """Origin of a log and every key that must have signed its checkpoints; None for an unknown log."""
        entry = await self._ports.store.get(WITNESS, f"{self._log_key}.{origin_hash}")
        if entry is None or entry.value is None:
            return None
        return log_of(load_policy(self._open_log(entry).policy.encode()))

    async def _quota(self, origin_hash: str) -> int | None:
        entry = await self._ports.store.get(WITNESS, f"{self._log_key}.{origin_hash}")
        return None if entry is None or entry.value is None else self._open_log(entry).quota

    async def _keep(self, origin: str, asked: Asked, last: WitnessedHead | None, revision: int) -> None:
        note = asked.note.decode()
        if last is None:
            await self._put_head(name_of(origin), WitnessedHead(note=note), revision)
        elif note != last.note:
            earlier = (last.note, *last.earlier)[:EARLIER_KEPT]
            fresh = WitnessedHead(note=note, split=last.split, split_us=last.split_us, earlier=earlier)
            await self._put_head(name_of(origin), fresh, revision)

    async def _keep_evidence(self, origin: str, asked: Asked, head: WitnessedHead, revision: int) -> None:
        now = WallTime(self._ports.clock.wall())
        split = asked.note.decode()
        evidence = WitnessedHead(note=head.note, split=split, split_us=now, earlier=head.earlier)
        await self._put_head(name_of(origin), evidence, revision)
        log.error("witness.split_view", origin=origin, held=head.note, shown=split)

    async def _put_head(self, origin_hash: str, head: WitnessedHead, revision: int) -> None:
        sealed = envelope.seal(head, self._ports.signer)
        await self._ports.store.put(WITNESS, f"{self._head_key}.{origin_hash}", sealed, revision)

    async def _head(self, origin_hash: str) -> tuple[int, WitnessedHead | None]:
        entry = await self._ports.store.get(WITNESS, f"{self._head_key}.{origin_hash}")
        if entry is None or entry.value is None:
            return 0, None
        return entry.revision, envelope.open_sealed(entry.value, WitnessedHead, self._trusted).message

    def _open_log(self, entry: Entry) -> WitnessedLog:
        return envelope.open_sealed(entry.value or b"", WitnessedLog, self._trusted).message


def name_of(text: str) -> str:
    """A foreign name as a key of the store: hex SHA-256, as the standard addresses logs."""
    return hashlib.sha256(text.encode()).hexdigest()


def log_of(policy: Policy) -> tuple[str, tuple[VerifierKey, ...]]:
    """The one log that a policy names, and every key that must have signed: its own, and cosigners of its name.

    Raises UnclearLog.
    """
    names = {key.name for key in policy.logs}
    if len(names) != 1:
        raise UnclearLog(f"the policy names {len(names)} logs, not one", hint="give the other domain's ledger.policy")
    (origin,) = names
    return origin, tuple(key for key in (*policy.logs, *policy.witnesses.values()) if key.name == origin)


def checkpoint_of(note: str) -> Checkpoint:
    """The checkpoint that a signed note is about. Raises LedgerFormatError."""
    return parse_checkpoint(parse(note.encode()).text)


def line(text: str) -> bytes:
    """A body of one line."""
    return text.encode() + b"\n"


def _declined(verdict: Declined) -> Answer:
    if verdict.size is not None:
        return Answer(status=verdict.status, body=line(str(verdict.size)), media_type=SIZE_TYPE)
    return Answer(status=verdict.status, body=line(verdict.reason))
