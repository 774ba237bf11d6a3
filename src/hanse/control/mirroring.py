"""Keep copies of this domain's own log at mirrors: the client half of C2SP tlog-mirror, without the HTTP.

`checkpoint -> request`, `how far a mirror is -> upload -> answer -> how far it is`. Sending is the app's business. An
upload that breaks off goes on where the mirror says: a site that was cut off for a week sends a week's entries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from hanse.control.cosigners import Cosigners, Target, size_of
from hanse.control.cosigning import Cosigning
from hanse.control.journal import Journal
from hanse.core.ports import ControlPorts
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.mirror import MirrorInfo, Package, Upload, parse_info, spans
from hanse.ledger.note import Note, parse
from hanse.ledger.witness import CONFLICT, Asked, parse_cosignatures

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
        self._journal = journal
        self._cosigning = cosigning
        self.cosigners = Cosigners(ports, journal, key=MIRRORS, kind="mirror")
        """Where copies are to be kept."""
        self._held: dict[str, Checkpoint] = {}
        """By address, the checkpoint whose entries a mirror said it holds."""

    async def view(self) -> MirroringView:
        """Everything about it, for people."""
        targets, head = await self.cosigners.targets(), await self._journal.head()
        sizes = {url: checkpoint.size for url, checkpoint in self._held.items()}
        return MirroringView(
            size=None if head is None else head.checkpoint.size,
            mirrors=tuple(MirrorView(url=target.url, size=sizes.get(target.url)) for target in targets),
        )

    async def request_for(self, target: Target) -> Asked | None:
        """The checkpoint to send to a mirror now; None where it holds all that there is."""
        return await self.cosigners.request_for(target, self._held.get(target.url))

    async def admitted(self, target: Target, asked: Asked, status: int, body: bytes) -> bool | None:
        """Take the answer to a checkpoint in: True if it was admitted, None if asking again at once makes sense."""
        if status == 200:
            self.cosigners.sizes[target.url] = size_of(asked)
            return True
        refusal = self.cosigners.refusal(target, asked, status, body)
        if refusal.knows is not None:
            return None
        if refusal.is_split:
            await self._cosigning.raise_alarm(target.url, asked, refusal.reason)
        else:
            log.warning("mirror.declined", url=target.url, reason=refusal.reason)
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
