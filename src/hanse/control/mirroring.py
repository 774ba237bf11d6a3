"""Keep copies of this domain's own log at mirrors: the client half of C2SP tlog-mirror, without the HTTP.

`checkpoint -> request`, `how far a mirror is -> upload -> answer -> how far it is`. Sending is the app's business. An
upload that breaks off goes on where the mirror says: a site that was cut off for a week sends a week's entries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from hanse.control.cosigning import Cosigning, Target, WitnessesRefused, targets_of
from hanse.control.journal import Journal
from hanse.core.ports import ControlPorts
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.mirror import MirrorInfo, Package, Upload, parse_info, spans
from hanse.ledger.note import Note, parse
from hanse.ledger.quorum import load_policy
from hanse.ledger.witness import CONFLICT, UNPROCESSABLE, Asked, parse_cosignatures
from hanse.wire import envelope
from hanse.wire.messages import Witnesses
from hanse.wire.subjects import WITNESS

log = structlog.get_logger("control")

MIRRORS = "mirrors"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorView:
    """One mirror of this domain's log, for people."""

    url: str
    size: int | None
    """Entries that it said lie there, durable; None until this controller heard from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroringView:
    """Where copies of this domain's log are kept."""

    size: int | None
    """Entries in the log; None before the first."""
    mirrors: tuple[MirrorView, ...]


class Mirroring:
    """What the leader knows of its mirrors."""

    def __init__(self, ports: ControlPorts, journal: Journal, cosigning: Cosigning) -> None:
        self._ports = ports
        self._journal = journal
        self._cosigning = cosigning
        self._trusted = {ports.signer.key_id: ports.signer.public_key}
        self._pending: dict[str, int] = {}
        """By address, the size of the checkpoint that a mirror admitted last."""
        self._held: dict[str, Checkpoint] = {}
        """By address, the checkpoint whose entries a mirror said it holds."""

    async def use(self, policy: bytes, bundle_pem: str) -> None:
        """Keep copies at these mirrors from now on. Raises LedgerFormatError, WitnessesRefused."""
        read = load_policy(policy)
        if set(read.witnesses) != set(read.urls):
            raise WitnessesRefused(
                "every mirror needs an address", hint="write `witness NAME VKEY https://host:port/mirror`"
            )
        record = Witnesses(policy=policy.decode(), bundle_pem=bundle_pem)
        await self._ports.store.put(WITNESS, MIRRORS, envelope.seal(record, self._ports.signer))

    async def mirrors(self) -> Witnesses | None:
        """Where copies are to be kept; None where nowhere."""
        entry = await self._ports.store.get(WITNESS, MIRRORS)
        if entry is None or entry.value is None:
            return None
        return envelope.open_sealed(entry.value, Witnesses, self._trusted).message

    async def view(self) -> MirroringView:
        """Everything about it, for people."""
        record, head = await self.mirrors(), await self._journal.head()
        targets = () if record is None else targets_of(load_policy(record.policy.encode()))
        sizes = {url: checkpoint.size for url, checkpoint in self._held.items()}
        return MirroringView(
            size=None if head is None else head.checkpoint.size,
            mirrors=tuple(MirrorView(url=target.url, size=sizes.get(target.url)) for target in targets),
        )

    async def request_for(self, target: Target) -> Asked | None:
        """The checkpoint to send to a mirror now; None where it holds all that there is."""
        head = await self._journal.head()
        if head is None or head.checkpoint.size == 0 or self._held.get(target.url) == head.checkpoint:
            return None
        size = head.checkpoint.size
        old = self._pending.get(target.url, 0)
        old = old if old <= size else 0
        proof = await self._journal.consistency(old, size) if 0 < old < size else ()
        return Asked(old=old, proof=proof, note=head.note)

    async def admitted(self, target: Target, asked: Asked, status: int, body: bytes) -> bool | None:
        """Take the answer to a checkpoint in: True if it was admitted, None if asking again at once makes sense."""
        size = parse_checkpoint(parse(asked.note).text).size
        said = body[:200].decode(errors="replace").strip()
        if status == 200:
            self._pending[target.url] = size
            return True
        is_size = said.isdigit() and len(said) < 20
        if status == CONFLICT and is_size and asked.old != int(said) <= size:
            self._pending[target.url] = int(said)
            return None
        if status in (CONFLICT, UNPROCESSABLE):
            reason = f"it has seen another history of this log ({status}: {said})"
            await self._cosigning.raise_alarm(target.url, asked, reason)
        else:
            log.warning("mirror.declined", url=target.url, status=status)
        return False

    def first_upload(self, asked: Asked, target: Target) -> Upload:
        """The first try: from where the mirror is believed to be."""
        checkpoint = parse_checkpoint(parse(asked.note).text)
        held = self._held.get(target.url)
        return Upload(origin=checkpoint.origin, start=0 if held is None else held.size, end=checkpoint.size)

    async def body(self, upload: Upload) -> AsyncIterator[bytes]:
        """An upload, package by package. Raises LedgerDamaged, StoreError."""
        yield upload.encode()
        for span in spans(upload.start, upload.end):
            entries = await self._journal.raw_entries(span.start, span.end)
            proof = await self._journal.subtree(span.subtree, span.end, upload.end)
            yield Package(entries=entries, proof=proof).encode()

    def uploaded(self, target: Target, asked: Asked, upload: Upload, status: int, body: bytes) -> Upload | None:
        """Take the answer to an upload in: the upload to try next, None where nothing is left to do now."""
        note = parse(asked.note)
        try:
            if status == 200:
                lines = parse_cosignatures(body)
                if verify_lines(Note(text=note.text, signatures=lines), target.keys):
                    self._held[target.url] = parse_checkpoint(note.text)
                else:
                    log.warning("mirror.bad_answer", url=target.url, reason="no line of its keys")
                return None
            if status in (202, CONFLICT):
                return _resumed(upload, parse_info(body))
        except LedgerFormatError as error:
            log.warning("mirror.bad_answer", url=target.url, reason=error.message)
            return None
        log.warning("mirror.declined", url=target.url, status=status)
        return None


def _resumed(upload: Upload, info: MirrorInfo) -> Upload | None:
    """The rest of an upload; None where the mirror has moved on to another checkpoint: the next look begins anew."""
    if info.size != upload.end or info.next_entry > upload.end:
        return None
    resumed = Upload(origin=upload.origin, start=info.next_entry, end=upload.end, ticket=info.ticket)
    return None if resumed == upload else resumed
