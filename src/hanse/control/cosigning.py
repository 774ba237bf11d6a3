"""Have witnesses cosign this domain's own checkpoints: the client half of C2SP tlog-witness, without the HTTP.

`checkpoint + witnesses -> requests -> answers -> cosigned checkpoint beside the checkpoint`. Sending is the app's
business. A witness that saw another history raises an alarm that stays until somebody looks: it is never talked over.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from hanse.control.cosigners import Cosigners, Target
from hanse.control.journal import Journal
from hanse.control.known_logs import name_of
from hanse.core.ports import ControlPorts
from hanse.core.time import WallTime
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import Note, parse
from hanse.ledger.quorum import load_policy
from hanse.ledger.witness import Asked, parse_cosignatures
from hanse.wire import envelope
from hanse.wire.messages import WitnessAlarm
from hanse.wire.subjects import WITNESS

log = structlog.get_logger("control")

ASKED = "asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmView:
    """A witness that saw another history of this log, for people."""

    url: str
    reason: str
    at_us: WallTime
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CosigningView:
    """Who cosigns this domain's log, how far, and what they complain about."""

    urls: tuple[str, ...]
    size: int | None
    """Entries in the log; None before the first."""
    cosigned_size: int | None
    """Entries under the newest checkpoint that somebody cosigned."""
    cosigners: tuple[str, ...]
    alarms: tuple[AlarmView, ...]


class Cosigning:
    """What the leader knows of its witnesses."""

    def __init__(self, ports: ControlPorts, journal: Journal) -> None:
        self._ports = ports
        self._journal = journal
        self._trusted = {ports.signer.key_id: ports.signer.public_key}
        self.cosigners = Cosigners(ports, journal, key=ASKED, kind="witness")
        """Who they are; their quorum is part of this domain's policy."""
        self._granted: dict[str, Checkpoint] = {}
        """By address, what it cosigned last: a witness that only told its size has not compared the root yet."""

    async def policy_text(self) -> bytes:
        """Whom to believe about this ledger, the quorum of its witnesses included."""
        record = await self.cosigners.record()
        return self._journal.policy_text(None if record is None else load_policy(record.policy.encode()))

    async def view(self) -> CosigningView:
        """Everything about it, for people."""
        head, cosigned = await self._journal.head(), await self._journal.cosigned()
        own = {key.name for key in self._journal.keys}
        lines = () if cosigned is None else parse(cosigned.note).signatures
        return CosigningView(
            urls=tuple(target.url for target in await self.cosigners.targets()),
            size=None if head is None else head.checkpoint.size,
            cosigned_size=None if cosigned is None else cosigned.checkpoint.size,
            cosigners=tuple(sorted({line.name for line in lines} - own)),
            alarms=await self._alarms(),
        )

    async def request_for(self, target: Target) -> Asked | None:
        """What to send to a witness now; None where it has cosigned the newest checkpoint, or there is none."""
        return await self.cosigners.request_for(target, self._granted.get(target.url))

    async def take(self, target: Target, asked: Asked, status: int, body: bytes) -> bool:
        """Take a witness's answer in. Returns whether asking again at once makes sense. Raises StoreError."""
        if status == 200:
            await self._keep(target, asked, body)
            return False
        refusal = self.cosigners.refusal(target, asked, status, body)
        if refusal.is_split:
            await self.raise_alarm(target.url, asked, refusal.reason)
        elif refusal.knows is None:
            log.warning("witness.declined", url=target.url, reason=refusal.reason)
        return refusal.knows is not None

    async def _keep(self, target: Target, asked: Asked, body: bytes) -> None:
        note = parse(asked.note)
        try:
            lines = parse_cosignatures(body)
            held = verify_lines(Note(text=note.text, signatures=lines), target.keys)
        except LedgerFormatError as error:
            log.warning("witness.bad_answer", url=target.url, reason=error.message)
            return
        if not held:
            log.warning("witness.bad_answer", url=target.url, reason="no line of its keys")
            return
        mine = tuple(line for line in lines if any(line.is_by(key) for key in target.keys))
        await self._journal.keep_cosigned(note, mine)
        checkpoint = parse_checkpoint(note.text)
        self._granted[target.url], self.cosigners.sizes[target.url] = checkpoint, checkpoint.size

    async def raise_alarm(self, url: str, asked: Asked, reason: str) -> None:
        """Keep that a witness or mirror saw another history; the first alarm of each stands until it is looked at."""
        alarm = WitnessAlarm(url=url, reason=reason, note=asked.note.decode(), at_us=WallTime(self._ports.clock.wall()))
        key = f"alarm.{name_of(url)}"
        if await self._ports.store.get(WITNESS, key) is None:
            await self._ports.store.put(WITNESS, key, envelope.seal(alarm, self._ports.signer))
            log.error("ledger.split_view", url=url, reason=reason)

    async def settle_alarm(self, url: str) -> bool:
        """Drop an alarm that somebody has looked into. Returns whether there was one."""
        key = f"alarm.{name_of(url)}"
        entry = await self._ports.store.get(WITNESS, key)
        if entry is None or entry.value is None:
            return False
        await self._ports.store.delete(WITNESS, key, entry.revision)
        return True

    async def _alarms(self) -> tuple[AlarmView, ...]:
        entries = await self._ports.store.entries(WITNESS, "alarm")
        alarms = [envelope.open_sealed(e.value or b"", WitnessAlarm, self._trusted).message for e in entries]
        return tuple(AlarmView(url=a.url, reason=a.reason, at_us=a.at_us, note=a.note) for a in alarms)
