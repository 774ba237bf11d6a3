"""Messages between a domain's log and those that cosign it."""

from __future__ import annotations

import msgspec

from hanse.core.ids import Digest, NodeId
from hanse.core.time import WallTime


class WitnessedLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witnessed-log.v1", kw_only=True):
    """A log of another domain that this domain cosigns for."""

    policy: str
    """C2SP tlog-policy of that log: its keys."""
    quota: int | None = None
    """Entries that are kept of it at most; None: no bound."""


class WitnessedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witnessed-head.v1", kw_only=True):
    """The last checkpoint this domain cosigned for a log, durable before the cosignature was given."""

    note: str
    split: str = ""
    """A checkpoint under the log's own signature that does not extend `note`: proof of two histories."""
    split_us: WallTime | None = None
    earlier: tuple[str, ...] = ()
    """Checkpoints before `note`, newest first, that an upload to a mirror may still lead to."""


class Witnesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witnesses.v1", kw_only=True):
    """Who cosigns this domain's own log."""

    policy: str
    """C2SP tlog-policy: witnesses with their addresses, groups, quorum."""
    bundle_pem: str
    """Authorities of the witnesses' servers; empty for those of the machine."""


class WitnessKeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-key.v1", kw_only=True):
    """Ask a node for the key that it cosigns with; it makes one where it has none."""

    at_us: WallTime


class WitnessKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-key-is.v1", kw_only=True):
    """A node's key as a witness, under the node's own seal."""

    node: NodeId
    vkey: str
    """C2SP signed-note verifier key, of type cosignature/v1."""


class WitnessRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-ask.v1", kw_only=True):
    """Ask a node to cosign a checkpoint of the domain's own log."""

    log: str
    """C2SP tlog-policy of the log: its keys. The node pins those that it sees first."""
    body: bytes
    """A request of C2SP tlog-witness (``add-checkpoint``)."""


class WitnessAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-answer.v1", kw_only=True):
    """What the standard answers over HTTP, under the node's seal."""

    node: NodeId
    request: Digest
    """Of the sealed request."""
    status: int
    body: bytes


class WitnessAlarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="witness-alarm.v1", kw_only=True):
    """A witness saw another history of our own log than the one it is shown now."""

    url: str
    reason: str
    note: str
    """The checkpoint that it refused."""
    at_us: WallTime
