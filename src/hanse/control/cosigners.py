"""What witnesses and mirrors of this domain's own log have in common. `policy -> record -> servers -> requests`.

Both are told by a C2SP tlog-policy, asked with the same request (``add-checkpoint``), and answer alike where they know
another size or another history. What follows from a granted request is theirs: `cosigning` and `mirroring`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hanse.control.journal import Journal
from hanse.core.errors import HanseError
from hanse.core.ports import ControlPorts
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.note import VerifierKey, parse
from hanse.ledger.quorum import Policy, load_policy
from hanse.ledger.witness import CONFLICT, UNPROCESSABLE, Asked
from hanse.wire import envelope
from hanse.wire.messages import Witnesses
from hanse.wire.subjects import WITNESS

_SAID_BYTES = 200


class WitnessesRefused(HanseError):
    """Raised when a policy of witnesses cannot be used."""

    code = "witness.bad_policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One server of a witness or mirror, and the keys that its answer is checked with."""

    url: str
    keys: tuple[VerifierKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What an answer other than 200 means."""

    reason: str
    knows: int | None = None
    """Another size than was supposed: ask again from there."""
    is_split: bool = False
    """It saw another history of this log."""


class Cosigners:
    """Those of one kind: who they are, durable, and what each is to be asked next."""

    def __init__(self, ports: ControlPorts, journal: Journal, *, key: str, kind: str) -> None:
        """`key`: of their record in the store; `kind`: ``witness`` or ``mirror``, for people."""
        self._ports = ports
        self._journal = journal
        self._key = key
        self._kind = kind
        self._trusted = {ports.signer.key_id: ports.signer.public_key}
        self.sizes: dict[str, int] = {}
        """By address, the size it admitted last, as far as that is known."""

    async def use(self, policy: bytes, bundle_pem: str) -> None:
        """Ask these from now on. Raises LedgerFormatError, WitnessesRefused."""
        read = load_policy(policy)
        if set(read.witnesses) != set(read.urls):
            raise WitnessesRefused(
                f"every {self._kind} needs an address",
                hint=f"write `witness NAME VKEY https://host:port/{self._kind}`",
            )
        record = Witnesses(policy=policy.decode(), bundle_pem=bundle_pem)
        await self._ports.store.put(WITNESS, self._key, envelope.seal(record, self._ports.signer))

    async def record(self) -> Witnesses | None:
        """Who is to be asked; None where nobody is."""
        entry = await self._ports.store.get(WITNESS, self._key)
        if entry is None or entry.value is None:
            return None
        return envelope.open_sealed(entry.value, Witnesses, self._trusted).message

    async def targets(self) -> tuple[Target, ...]:
        """Their servers, in order of address."""
        record = await self.record()
        return () if record is None else targets_of(load_policy(record.policy.encode()))

    async def request_for(self, target: Target, done: Checkpoint | None) -> Asked | None:
        """What to send to a server now; None where it is done with the newest checkpoint, or there is none."""
        head = await self._journal.head()
        if head is None or head.checkpoint.size == 0 or done == head.checkpoint:
            return None
        size, old = head.checkpoint.size, self.sizes.get(target.url, 0)
        if old > size:
            # Our own log went backwards. The server says how far it had seen it, and that is the alarm.
            old = 0
        proof = await self._journal.consistency(old, size) if 0 < old < size else ()
        return Asked(old=old, proof=proof, note=head.note)

    def refusal(self, target: Target, asked: Asked, status: int, body: bytes) -> Refusal:
        """Read an answer that grants nothing; a size that it tells is remembered."""
        said = body[:_SAID_BYTES].decode(errors="replace").strip()
        known = _size_of(body) if status == CONFLICT else None
        if known is not None and known <= size_of(asked) and known != asked.old:
            self.sizes[target.url] = known
            return Refusal(reason=said, knows=known)
        if status in (CONFLICT, UNPROCESSABLE):
            return Refusal(reason=f"it has seen another history of this log ({status}: {said})", is_split=True)
        return Refusal(reason=f"{status}: {said}")


def targets_of(policy: Policy) -> tuple[Target, ...]:
    """The servers behind a policy's witnesses, in order of address: one may sign with several keys."""
    keys: Mapping[str, list[VerifierKey]] = {url: [] for url in sorted(set(policy.urls.values()))}
    for name, key in policy.witnesses.items():
        if name in policy.urls:
            keys[policy.urls[name]].append(key)
    return tuple(Target(url=url, keys=tuple(found)) for url, found in keys.items())


def size_of(asked: Asked) -> int:
    """Entries under the checkpoint of a request."""
    return parse_checkpoint(parse(asked.note).text).size


def _size_of(body: bytes) -> int | None:
    text = body.strip()
    return int(text) if text.isdigit() and len(text) < 20 else None
