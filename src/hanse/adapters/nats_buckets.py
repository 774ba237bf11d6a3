"""Make the fabric's buckets on the substrate: streams behind key-value buckets and the object store of artifacts.

`names, replicas -> streams that are there`. For the controller only: nodes have no right to create streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hanse.adapters.nats_api import CONFIG_DIFFERS, api, kv_stream
from hanse.adapters.nats_link import NatsLink
from hanse.core.errors import StoreError
from hanse.identity.nats_accounts import ingest_subject

_NS_PER_S: Final = 10**9


async def ensure_buckets(link: NatsLink, buckets: Sequence[str], *, artifacts: Sequence[str], replicas: int) -> None:
    """Create what is missing and adjust what differs. `replicas` 1..5: 1 on one server, 3 on a cluster.

    Where the link has a secret ingest prefix, buckets take values under it alone, and keep them under their names.

    Raises StoreError, for instance where the cluster has fewer servers than `replicas`.
    """
    for bucket in buckets:
        await _ensure(link, _key_value(bucket, replicas, link.config.ingest))
    for bucket in artifacts:
        await _ensure(link, _objects(bucket, replicas, link.config.ingest))


async def _ensure(link: NatsLink, config: dict[str, Any]) -> None:
    name = config["name"]
    try:
        await api(link, f"STREAM.CREATE.{name}", config)
    except StoreError as error:
        if error.context.get("err_code") != CONFIG_DIFFERS:
            raise
        await api(link, f"STREAM.UPDATE.{name}", config)


def _key_value(bucket: str, replicas: int, ingest: str) -> dict[str, Any]:
    return {
        **_common(kv_stream(bucket), f"$KV.{bucket}.>", replicas, ingest),
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "allow_msg_ttl": True,  # delete markers expire
    }


def _objects(bucket: str, replicas: int, ingest: str) -> dict[str, Any]:
    config = _common(f"OBJ_{bucket}", f"$O.{bucket}.>", replicas, ingest)
    if not ingest:
        config["subjects"] = [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"]
    return {**config, "max_msgs_per_subject": -1}


def _common(name: str, subject: str, replicas: int, ingest: str) -> dict[str, Any]:
    taken = ingest_subject(ingest, subject)
    return {
        "name": name,
        "subjects": [taken],
        **({"subject_transform": {"src": taken, "dest": subject}} if ingest else {}),
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "num_replicas": replicas,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "max_consumers": -1,
        "duplicate_window": 120 * _NS_PER_S,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }
