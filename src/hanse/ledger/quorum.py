"""Trust in checkpoints (C2SP tlog-policy): which log, and which cosigners must have signed.

`policy file -> Policy`, `policy + checkpoint note + now -> Accepted | Refused`. The standard leaves keys that sign
*inside* entries to the application; hanse writes them as comment lines (``#controller <base64 of a raw Ed25519 key>``),
so that one file is all an auditor needs and every other reader of tlog-policy still reads it.

That a log's Ed25519 and ML-DSA-44 lines must *both* hold is said with the standard's own words: the Ed25519 key is the
``log``, the ML-DSA-44 key (a cosignature by nature) is a ``witness`` that the quorum demands.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hanse.core.time import US_PER_S, WallTime, rfc3339
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import Held, verify_lines
from hanse.ledger.errors import LedgerFormatError, NoteError
from hanse.ledger.note import SignatureType, VerifierKey, parse, parse_vkey, unbase64

MAX_POLICY_BYTES = 1 << 20
MAX_LINES = 1_024
CLOCK_SKEW_US = 300 * US_PER_S
"""How far in the future a timestamp may lie before it is refused."""
_YEAR_9999_US = 253_370_764_800 * US_PER_S

_BLANK = re.compile(r"[ \t]+")
_NONE = "none"
_CONTROLLER = "#controller"
_LOG_TYPES = (SignatureType.ED25519, SignatureType.ML_DSA_44_COSIGNATURE)
_WITNESS_TYPES = (SignatureType.ED25519_COSIGNATURE, SignatureType.ML_DSA_44_COSIGNATURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A named set of witnesses and groups of which `least` must have cosigned."""

    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Whom to believe: logs, witnesses, the quorum over them, and controllers whose statements count."""

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    groups: Mapping[str, Group]
    quorum: str
    """Name of a witness or group; ``none`` demands no cosignature."""
    controllers: tuple[bytes, ...]
    """Raw Ed25519 keys."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Where witnesses take checkpoints (C2SP tlog-witness), by witness name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A checkpoint that the policy believes, and every signature line that held."""

    checkpoint: Checkpoint
    held: tuple[Held, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each signature that held."""
        return tuple(_sentence(line) for line in self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A checkpoint that the policy does not believe, and why."""

    reasons: tuple[str, ...]


def policy_text(
    log: VerifierKey, cosigners: Sequence[VerifierKey], controllers: Sequence[bytes], witnesses: Policy | None = None
) -> bytes:
    """Write the policy that demands the log's line and every cosigner's; the log's own ML-DSA-44 key is a cosigner.

    `witnesses`: a policy whose quorum of others must have cosigned, too.
    """
    names = [f"{key.name}:{_ALGORITHMS[key.type].lower()}" for key in cosigners]
    lines = [f"# Whom to believe about the ledger {log.name}: each of these keys must have signed.", f"log {log.vkey}"]
    lines += [f"witness {name} {key.vkey}" for name, key in zip(names, cosigners, strict=True)]
    if len(names) > 1:
        lines.append(f"group every-cosigner all {' '.join(names)}")
    own = "every-cosigner" if len(names) > 1 else (*names, _NONE)[0]
    lines += _with_witnesses(own, witnesses)
    lines.append("# Controllers whose statements in entries count (hanse; other readers skip comments):")
    lines += [f"{_CONTROLLER} {base64.b64encode(key).decode()}" for key in controllers]
    return ("\n".join(lines) + "\n").encode()


def _with_witnesses(own: str, witnesses: Policy | None) -> list[str]:
    """The quorum of the log's own keys, joined with that of its witnesses where it has any."""
    if witnesses is None or witnesses.quorum == _NONE:
        return [f"quorum {own}"]
    lines = [
        " ".join(("witness", name, key.vkey, *([witnesses.urls[name]] if name in witnesses.urls else [])))
        for name, key in witnesses.witnesses.items()
    ]
    lines += [f"group {name} {group.least} {' '.join(group.members)}" for name, group in witnesses.groups.items()]
    if own == _NONE:
        return [*lines, f"quorum {witnesses.quorum}"]
    return [*lines, f"group log-and-witnesses all {own} {witnesses.quorum}", "quorum log-and-witnesses"]


def load_policy(data: bytes) -> Policy:
    """Read a policy file strictly. Raises LedgerFormatError that names the line."""
    reading = _Reading()
    for number, line in enumerate(_lines(data), 1):
        words = _BLANK.split(line.strip(" \t"))
        try:
            reading.take(words)
        except LedgerFormatError as error:
            raise LedgerFormatError(f"policy line {number}: {error.message}", hint=_POLICY_HINT) from error
    return reading.finish()


def judge(policy: Policy, note_bytes: bytes, now: WallTime) -> Accepted | Refused:
    """Tell whether a signed checkpoint is to be believed. Malformed bytes are refused like wrong signatures."""
    keys = (*policy.logs, *policy.witnesses.values())
    try:
        note = parse(note_bytes)
        checkpoint = parse_checkpoint(note.text)
        held = verify_lines(note, keys)
    except LedgerFormatError as error:
        return Refused(reasons=(error.message,))
    reasons = [*_check_log(policy, checkpoint, held), *_check_quorum(policy, held), *_check_times(held, now)]
    if reasons:
        return Refused(reasons=tuple(reasons))
    return Accepted(checkpoint=checkpoint, held=held)


def spoken_time(at: WallTime) -> str:
    """Write a foreign time for people: RFC 3339, or the bare number where that ends (year 9999)."""
    return rfc3339(at) if 0 <= at < _YEAR_9999_US else f"{at} us after 1970"


_POLICY_HINT = "see c2sp.org/tlog-policy; `hanse init` writes a policy for this domain"


class _Reading:
    """A policy while its lines are read: names must be defined before they are used."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.controllers: list[bytes] = []
        self.urls: dict[str, str] = {}
        self._members: set[str] = set()

    def take(self, words: Sequence[str]) -> None:
        match words:
            case [""]:
                return
            case [word, key] if word == _CONTROLLER:
                self._controller(key)
            case [word, *_] if word.startswith("#"):
                if word == _CONTROLLER:
                    raise LedgerFormatError(f"{_CONTROLLER} takes one key")
            case ["log", vkey] | ["log", vkey, _]:
                self._log(vkey)
            case ["witness", name, vkey]:
                self._witness(name, vkey)
            case ["witness", name, vkey, url]:
                self._witness(name, vkey)
                self.urls[name] = url
            case ["group", name, least, *members]:
                self._group(name, least, members)
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise LedgerFormatError(f"not understood: {' '.join(words)[:80]!r}")

    def finish(self) -> Policy:
        if self.quorum is None:
            raise LedgerFormatError("the policy has no quorum line", hint=_POLICY_HINT)
        return Policy(
            logs=tuple(self.logs),
            witnesses=dict(self.witnesses),
            groups=dict(self.groups),
            quorum=self.quorum,
            controllers=tuple(self.controllers),
            urls=dict(self.urls),
        )

    def _controller(self, key: str) -> None:
        raw = unbase64(key)
        if len(raw) != 32 or raw in self.controllers:
            raise LedgerFormatError("a controller key is 32 bytes and given once")
        self.controllers.append(raw)

    def _log(self, vkey: str) -> None:
        key = _typed(vkey, _LOG_TYPES)
        if any(key.public_key == other.public_key for other in self.logs):
            raise LedgerFormatError(f"the key of log {key.name!r} is given twice")
        self.logs.append(key)

    def _witness(self, name: str, vkey: str) -> None:
        key = _typed(vkey, _WITNESS_TYPES)
        self._define(name)
        if any(key.public_key == other.public_key for other in self.witnesses.values()):
            raise LedgerFormatError(f"the key of witness {name!r} is given twice")
        self.witnesses[name] = key

    def _group(self, name: str, least: str, members: Sequence[str]) -> None:
        self._define(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise LedgerFormatError(f"group {name!r} names {member!r}, which no line before defines")
            if member in self._members:
                raise LedgerFormatError(f"{member!r} is a member of a group already")
            self._members.add(member)
        words = {"any": 1, "all": len(members)}
        count = words[least] if least in words else int(least) if re.fullmatch("[1-9][0-9]{0,3}", least) else 0
        if not 1 <= count <= len(members):
            raise LedgerFormatError(f"group {name!r} asks for {least!r} of {len(members)} members")
        self.groups[name] = Group(least=count, members=tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise LedgerFormatError("a second quorum line")
        if name != _NONE and name not in self.witnesses and name not in self.groups:
            raise LedgerFormatError(f"quorum {name!r} is not defined by a line before")
        self.quorum = name

    def _define(self, name: str) -> None:
        if name == _NONE or name in self.witnesses or name in self.groups:
            raise LedgerFormatError(f"the name {name!r} is taken")


def _lines(data: bytes) -> list[str]:
    if len(data) > MAX_POLICY_BYTES:
        raise LedgerFormatError(f"a policy of {len(data)} bytes is over the limit", hint=_POLICY_HINT)
    if any((byte < 0x20 and byte not in b"\t\n") or byte == 0x7F for byte in data):
        raise LedgerFormatError("the policy holds a control character", hint=_POLICY_HINT)
    # Octets above 0x7E are opaque in the standard; escapes keep them apart without giving them a meaning.
    lines = data.decode(errors="surrogateescape").split("\n")
    if lines.pop():
        raise LedgerFormatError("the policy's last line does not end", hint=_POLICY_HINT)
    if len(lines) > MAX_LINES:
        raise LedgerFormatError(f"the policy has more than {MAX_LINES} lines", hint=_POLICY_HINT)
    return lines


def _typed(vkey: str, types: Sequence[SignatureType]) -> VerifierKey:
    key = parse_vkey(vkey)
    if key.type not in types:
        raise NoteError(f"a key of type 0x{key.type:02x} cannot take this part")
    return key


def _check_log(policy: Policy, checkpoint: Checkpoint, held: Sequence[Held]) -> list[str]:
    if not policy.logs:
        return ["the policy names no log"]
    mine = [key for key in policy.logs if key.name == checkpoint.origin]
    if not mine:
        return [f"the checkpoint is of the log {checkpoint.origin!r}, which the policy does not name"]
    if not any(line.key in mine for line in held):
        wanted = ", ".join(f"{_ALGORITHMS[key.type]} key {key.id.hex()}" for key in mine)
        return [f"the checkpoint lacks the signature of the log {checkpoint.origin} ({wanted})"]
    return []


def _check_quorum(policy: Policy, held: Sequence[Held]) -> list[str]:
    signed = [line.key for line in held]
    return [] if policy.quorum == _NONE else _missing(policy, policy.quorum, signed)


def _missing(policy: Policy, name: str, signed: Sequence[VerifierKey]) -> list[str]:
    """What keeps a witness or group from having witnessed; empty if nothing does."""
    if name in policy.witnesses:
        key = policy.witnesses[name]
        if key in signed:
            return []
        return [f"the checkpoint lacks the signature of {name} ({_ALGORITHMS[key.type]} key {key.id.hex()})"]
    group = policy.groups[name]
    lacks = [_missing(policy, member, signed) for member in group.members]
    count = sum(not lack for lack in lacks)
    if count >= group.least:
        return []
    return [
        f"group {name} needs {group.least} of {len(group.members)} and has {count}",
        *(reason for lack in lacks for reason in lack),
    ]


def _check_times(held: Sequence[Held], now: WallTime) -> list[str]:
    return [
        f"{line.key.name} dates the checkpoint {spoken_time(line.at_us)}, which is in the future"
        for line in held
        if line.at_us is not None and line.at_us > now + CLOCK_SKEW_US
    ]


_ALGORITHMS = {
    SignatureType.ED25519: "Ed25519",
    SignatureType.ED25519_COSIGNATURE: "Ed25519",
    SignatureType.ML_DSA_44_COSIGNATURE: "ML-DSA-44",
}


def _sentence(line: Held) -> str:
    when = "" if not line.at_us else f" at {spoken_time(line.at_us)}"
    return f"{line.key.name} signed the checkpoint with its {_ALGORITHMS[line.key.type]} key {line.key.id.hex()}{when}."
