"""Which subjects of the substrate a node may use: its own, and nothing else.

`node id -> allow lists`, read off `hanse.wire.subjects`. The server denies what is not listed. The lists are what the
store, blob and bus adapters use, to the letter:

* A consumer is created under a *name* and *one filter*: only then does the filter stand in the subject, where it can be
  restricted (``$JS.API.CONSUMER.CREATE.<stream>.<name>.<filter>``); the server compares it with the request's body. The
  unnamed form would let a node read a whole stream. Names are unguessable, as whoever knows one may delete it.
* ``STREAM.INFO`` and ``CONSUMER.LIST`` are not granted: they tell the keys and names of others.
* A node cannot read back what it wrote.

The server does not check where answers and deliveries go. That they displace nothing is the work of `nats_accounts`:
nodes are in an account of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.errors import invariant
from hanse.core.ids import NodeId, is_label
from hanse.identity.nats_accounts import NODE_API as API
from hanse.identity.nats_accounts import NODE_INGEST, deliver_prefix, ingest_subject
from hanse.wire import subjects


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """Subjects a user may publish to and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(node: NodeId) -> str:
    """Where a node receives answers: clients must be told to use it (``inbox_prefix`` of nats-py)."""
    return f"_INBOX.{node}"


def node_permissions(node: NodeId) -> Permissions:
    """What a node may do on the substrate.

    Publish: its heartbeat, its requests, pings to others, its reports and presence; read: its orders, all routes, all
    of trust, all artifacts; answer what it is told. `node` must be a label, so that it is one token and no wildcard.
    """
    invariant(is_label(node), f"not a node id: {node!r}")
    publish = (
        subjects.heartbeat(node),
        subjects.ask(node, "*"),
        subjects.PINGS,
        ingest_subject(NODE_INGEST, _key(subjects.REPORTS, f"{node}.>")),
        ingest_subject(NODE_INGEST, _key(subjects.PRESENCE, node)),
        *_read_keys(subjects.ORDERS, node, f"{node}.>"),
        *_read_keys(subjects.ROUTES, ">"),
        *_read_keys(subjects.TRUST, ">"),
        *_read_keys(subjects.FEDERATION, ">"),
        *_read_artifacts(),
    )
    hears = (f"{inbox_prefix(node)}.>", f"{deliver_prefix(node)}.>", subjects.tell(node, "*"))
    return Permissions(publish=publish, subscribe=hears)


def _read_keys(bucket: str, *patterns: str) -> tuple[str, ...]:
    """Subjects to get, list and watch the keys of one bucket that match `patterns`."""
    stream, keys = f"KV_{bucket}", [_key(bucket, pattern) for pattern in patterns]
    return (
        *(f"{API}.DIRECT.GET.{stream}.{key}" for key in keys),
        *(f"{API}.CONSUMER.CREATE.{stream}.*.{key}" for key in keys),
        *_consume(stream),
    )


def _read_artifacts() -> tuple[str, ...]:
    """Subjects to fetch any artifact: what a node may *run* is in its orders."""
    stream, objects = f"OBJ_{subjects.ARTIFACTS}", f"$O.{subjects.ARTIFACTS}"
    return (
        f"{API}.DIRECT.GET.{stream}.{objects}.M.*",
        f"{API}.CONSUMER.CREATE.{stream}.*.{objects}.C.*",
        *_consume(stream),
    )


def _consume(stream: str) -> tuple[str, ...]:
    """Subjects to answer a consumer's flow control and to remove it."""
    return f"$JS.FC.{stream}.>", f"{API}.CONSUMER.DELETE.{stream}.*"


def _key(bucket: str, key: str) -> str:
    return f"$KV.{bucket}.{key}"
