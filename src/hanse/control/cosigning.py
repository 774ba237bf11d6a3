"""Have witnesses cosign this domain's own checkpoints: the client half of C2SP tlog-witness, without the HTTP.

`checkpoint + witnesses -> requests -> answers -> cosigned checkpoint beside the checkpoint`. Sending is the app's
business. A witness that saw another history raises an alarm that stays until somebody looks: it is never talked over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from hanse.control.journal import Journal
from hanse.control.known_logs import name_of
from hanse.core.errors import HanseError
from hanse.core.ports import ControlPorts
from hanse.core.time import WallTime
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import Note, VerifierKey, parse
from hanse.ledger.quorum import Policy, load_policy
from hanse.ledger.witness import CONFLICT, UNPROCESSABLE, Asked, parse_cosignatures
from hanse.wire import envelope
from hanse.wire.messages import WitnessAlarm, Witnesses
from hanse.wire.subjects import WITNESS

log = structlog.get_logger("control")

ASKED = "asked"


class WitnessesRefused(HanseError):
    """Raised when a policy of witnesses cannot be used."""

    code = "witness.bad_policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One witness server and the keys that its answer is checked with."""

    url: str
    keys: tuple[VerifierKey, ...]


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
        self._sizes: dict[str, int] = {}
        """By address, the size that a witness cosigned last, as far as it is known."""
        self._granted: dict[str, Checkpoint] = {}
        """By address, what it cosigned last: a witness that only told its size has not compared the root yet."""

    async def use(self, policy: bytes, bundle_pem: str) -> None:
        """Ask these witnesses from now on; their quorum becomes part of this domain's policy.

        Raises LedgerFormatError, WitnessesRefused.
        """
        read = load_policy(policy)
        if set(read.witnesses) != set(read.urls):
            raise WitnessesRefused(
                "every witness needs an address", hint="write `witness NAME VKEY https://host:port/witness`"
            )
        record = Witnesses(policy=policy.decode(), bundle_pem=bundle_pem)
        await self._ports.store.put(WITNESS, ASKED, envelope.seal(record, self._ports.signer))

    async def witnesses(self) -> Witnesses | None:
        """Who is to be asked; None where nobody is."""
        entry = await self._ports.store.get(WITNESS, ASKED)
        if entry is None or entry.value is None:
            return None
        return envelope.open_sealed(entry.value, Witnesses, self._trusted).message

    async def policy_text(self) -> bytes:
        """Whom to believe about this ledger, the quorum of its witnesses included."""
        record = await self.witnesses()
        return self._journal.policy_text(None if record is None else load_policy(record.policy.encode()))

    async def view(self) -> CosigningView:
        """Everything about it, for people."""
        record = await self.witnesses()
        head, cosigned = await self._journal.head(), await self._journal.cosigned()
        own = {key.name for key in self._journal.keys}
        lines = () if cosigned is None else parse(cosigned.note).signatures
        return CosigningView(
            urls=()
            if record is None
            else tuple(target.url for target in targets_of(load_policy(record.policy.encode()))),
            size=None if head is None else head.checkpoint.size,
            cosigned_size=None if cosigned is None else cosigned.checkpoint.size,
            cosigners=tuple(sorted({line.name for line in lines} - own)),
            alarms=await self._alarms(),
        )

    async def request_for(self, target: Target) -> Asked | None:
        """What to send to a witness now; None where it has cosigned the newest checkpoint, or there is none."""
        head = await self._journal.head()
        if head is None or head.checkpoint.size == 0 or self._granted.get(target.url) == head.checkpoint:
            return None
        old = self._sizes.get(target.url, 0)
        if old > head.checkpoint.size:
            # Our own log went backwards. The witness says how far it had seen it, and that is the alarm.
            old = 0
        proof = await self._journal.consistency(old, head.checkpoint.size) if 0 < old < head.checkpoint.size else ()
        return Asked(old=old, proof=proof, note=head.note)

    async def take(self, target: Target, asked: Asked, status: int, body: bytes) -> bool:
        """Take a witness's answer in. Returns whether asking again at once makes sense. Raises StoreError."""
        size = parse_checkpoint(parse(asked.note).text).size
        if status == 200:
            await self._keep(target, asked, body)
            return False
        if status == CONFLICT and (theirs := _size_of(body)) is not None and theirs <= size and theirs != asked.old:
            self._sizes[target.url] = theirs
            return True
        if status in (CONFLICT, UNPROCESSABLE):
            said = body[:200].decode(errors="replace").strip()
            await self.raise_alarm(target.url, asked, f"it has seen another history of this log ({status}: {said})")
        else:
            log.warning("witness.declined", url=target.url, status=status)
        return False

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
        self._granted[target.url], self._sizes[target.url] = checkpoint, checkpoint.size

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


def targets_of(policy: Policy) -> tuple[Target, ...]:
    """The servers behind a policy's witnesses, in order of address: one may sign with several keys."""
    keys: Mapping[str, list[VerifierKey]] = {url: [] for url in sorted(set(policy.urls.values()))}
    for name, key in policy.witnesses.items():
        if name in policy.urls:
            keys[policy.urls[name]].append(key)
    return tuple(Target(url=url, keys=tuple(found)) for url, found in keys.items())


def _size_of(body: bytes) -> int | None:
    text = body.strip()
    return int(text) if text.isdigit() and len(text) < 20 else None
