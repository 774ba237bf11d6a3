"""Two accounts on the substrate, and the doors between them: `ingest secret -> exports and imports of account JWTs`.

Controllers and all state are in the account *fabric*, nodes in the account *nodes*. A server never checks the subjects
that answers and deliveries are sent to; in an account that holds no state they displace nothing. What a node may reach
is imported:

| in *nodes* | leads to | for |
|---|---|---|
| ``hanse.js.>`` | parts of ``$JS.API.>`` | reading what its permissions name |
| ``$JS.FC.>`` | the same | flow control of its consumers |
| ``hanse.v1.keep.KV.reports.*.>``, ``...presence.*`` | ingest of these buckets | writing its own keys |
| ``hanse.v1.heartbeat.*``, ``hanse.v1.ask.*.*`` | the same | speaking to controllers |
| ``hanse.v1.deliver.>`` | the same, the other way | what its consumers deliver |

A consumer delivers wherever its maker says, inside the account of its stream. Therefore buckets do not listen on the
subjects under which they keep values: each value comes in under a secret prefix that the server maps away
(`ingest_prefix`), which only controllers and the server's own configuration know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from hanse.core.ids import NodeId
from hanse.wire import subjects

NODE_INGEST = "hanse.v1.keep"
"""Prefix under which nodes write, in their account. Long on purpose: nats-server 2.15 looks at imports again when an
answer comes back (``_R_.x.y``), and fills the wildcards of what it finds from there; beyond three tokens are none."""
NODE_API = "hanse.js"
"""Prefix of the JetStream API in the account of nodes."""
CALLS = ("DIRECT.GET.>", "CONSUMER.CREATE.>", "CONSUMER.DELETE.>")
"""All of the API that nodes reach; `permissions` says with which streams and keys."""
WRITTEN = (f"$KV.{subjects.REPORTS}.*.>", f"$KV.{subjects.PRESENCE}.*")
_DELIVER = "hanse.v1.deliver"


def deliver_prefix(node: NodeId) -> str:
    """Where a node's consumers deliver."""
    return f"{_DELIVER}.{node}"


def ingest_prefix(seed: str) -> str:
    """The secret prefix under which buckets take values, derived from the seed of the controllers' nkey."""
    return f"in.{hashlib.sha256(b'hanse ingest ' + seed.encode()).hexdigest()[:32]}"


def ingest_subject(ingest: str, subject: str) -> str:
    """Where to send what is to be kept under `subject` (``$KV...``, ``$O...``); `subject` itself without a prefix."""
    return f"{ingest}.{subject.removeprefix('$')}" if ingest else subject


def fabric_claims(nodes: str, ingest: str) -> dict[str, Any]:
    """Exports and imports of the account *fabric*; `nodes` is the public key of the other account."""
    services = (
        *(f"$JS.API.{call}" for call in CALLS), "$JS.FC.>", subjects.HEARTBEATS, subjects.ASKS,
        *(ingest_subject(ingest, one) for one in WRITTEN),
    )  # fmt: skip
    return {
        "exports": [*(_export(one, "service") for one in services), _export(f"{_DELIVER}.>", "stream")],
        "imports": [_import(nodes, _TELLS, "service")],
    }


def nodes_claims(fabric: str, ingest: str) -> dict[str, Any]:
    """Exports and imports of the account *nodes*; `fabric` is the public key of the other account."""
    same = ("$JS.FC.>", subjects.HEARTBEATS, subjects.ASKS)
    return {
        "exports": [_export(_TELLS, "service")],
        "imports": [
            *(_import(fabric, f"$JS.API.{call}", "service", local=f"{NODE_API}.{call}") for call in CALLS),
            *(_import(fabric, one, "service") for one in same),
            *(
                _import(
                    fabric, ingest_subject(ingest, one), "service", local=_numbered(ingest_subject(NODE_INGEST, one))
                )
                for one in WRITTEN
            ),
            _import(fabric, f"{_DELIVER}.>", "stream"),
        ],
    }


_TELLS = "hanse.v1.tell.*.*"


def _export(subject: str, kind: str) -> dict[str, Any]:
    return {"name": subject, "subject": subject, "type": kind}


def _import(account: str, subject: str, kind: str, *, local: str = "") -> Mapping[str, Any]:
    told = {"name": local or subject, "subject": subject, "account": account, "type": kind}
    return {**told, "local_subject": local} if local else told


def _numbered(subject: str) -> str:
    """A local subject refers to the wildcard of the subject it stands for (`$1`); ours have one at most."""
    return subject.replace("*", "$1")
