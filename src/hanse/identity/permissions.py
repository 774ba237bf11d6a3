"""Which subjects of the substrate a node may use: its own, and nothing else.

`node id -> allow lists`, read off `hanse.wire.subjects`. The server denies what is not listed.

What follows from the lists, and binds the store adapter:

* A consumer is created under a *name* and *one filter*: only then does the filter stand in the subject, where it can be
  restricted (``$JS.API.CONSUMER.CREATE.<stream>.<name>.<filter>``). The unnamed form would let a node read a whole
  stream; it is not granted. Names must be unguessable, as their holders may inspect and delete them.
* ``STREAM.INFO`` is granted for streams that every node may read anyway, because it lists keys on request.
* A node cannot read back what it wrote. The server does not check reply subjects against permissions, so a reader of
  its own words could have them repeated to any subject of the account.

Known limit, from the same cause: a stolen credential can have the server send what the node may *read* (its signed
orders, routes, acknowledgements) to a subject it may not write, and so displace a value in a bucket. Nothing false is
believed, because readers check the seal, the name and the generation inside; the level must be written again. Closing
it takes an account of their own for nodes, with the API imported as services.
"""

from __future__ import annotations

from dataclasses import dataclass

from hanse.core.errors import invariant
from hanse.core.ids import NodeId, is_label
from hanse.wire import subjects

API = "$JS.API"


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

    Publish: its heartbeat, its requests, its reports and presence; read: its orders, all routes, all of trust, all
    artifacts; answer what it is told. `node` must be a label, so that it is one token and no wildcard.
    """
    invariant(is_label(node), f"not a node id: {node!r}")
    publish = [
        subjects.heartbeat(node),
        subjects.ask(node, "*"),
        _key(subjects.REPORTS, f"{node}.>"),
        _key(subjects.PRESENCE, node),
        *_read(subjects.ORDERS, f"{node}.>", is_shared=False),
        *_read(subjects.ROUTES, ">", is_shared=True),
        *_read(subjects.TRUST, ">", is_shared=True),
        *_read_artifacts(),
    ]
    return Permissions(publish=tuple(publish), subscribe=(f"{inbox_prefix(node)}.>", subjects.tell(node, "*")))


def _read(bucket: str, keys: str, *, is_shared: bool) -> tuple[str, ...]:
    """Subjects to get, list and watch `keys` of one bucket."""
    stream, filter_subject = f"KV_{bucket}", _key(bucket, keys)
    granted = (
        f"{API}.DIRECT.GET.{stream}.{filter_subject}",
        f"{API}.CONSUMER.CREATE.{stream}.*.{filter_subject}",
        *_consume(stream),
    )
    return (*granted, f"{API}.STREAM.INFO.{stream}") if is_shared else granted


def _read_artifacts() -> tuple[str, ...]:
    """Subjects to fetch any object: every node may read every artifact, what it may *run* is in its orders.

    The unnamed consumer and ``STREAM.NAMES`` (which tells constants of this package) are what object stores of the
    official clients use; they open nothing that is not open here.
    """
    stream = f"OBJ_{subjects.ARTIFACTS}"
    return (
        f"{API}.STREAM.NAMES",
        f"{API}.STREAM.INFO.{stream}",
        f"{API}.STREAM.MSG.GET.{stream}",
        f"{API}.DIRECT.GET.{stream}",
        f"{API}.DIRECT.GET.{stream}.>",
        f"{API}.CONSUMER.CREATE.{stream}",
        f"{API}.CONSUMER.CREATE.{stream}.*.>",
        *_consume(stream),
    )


def _consume(stream: str) -> tuple[str, ...]:
    """Subjects to use a consumer whose name one knows: look, pull, answer flow control, remove."""
    return (
        f"{API}.CONSUMER.INFO.{stream}.*",
        f"{API}.CONSUMER.MSG.NEXT.{stream}.*",
        f"{API}.CONSUMER.DELETE.{stream}.*",
        f"$JS.FC.{stream}.>",
    )


def _key(bucket: str, key: str) -> str:
    return f"$KV.{bucket}.{key}"
