"""Make the fabric's buckets on the substrate: streams behind key-value buckets and the object store of artifacts.

`names, replicas -> streams that are there`. For the controller only: nodes have no right to create streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hanse.adapters.nats_api import CONFIG_DIFFERS, api, kv_stream
from hanse.adapters.nats_link import NatsLink
from hanse.core.errors import StoreError

_NS_PER_S: Final = 10**9


async def ensure_buckets(link: NatsLink, buckets: Sequence[str], *, artifacts: Sequence[str], replicas: int) -> None:
    """Create what is missing and adjust what differs. `replicas` 1..5: 1 on one server, 3 on a cluster.

    Raises StoreError, for instance where the cluster has fewer servers than `replicas`.
    """
    for bucket in buckets:
        await _ensure(link, _key_value(bucket, replicas))
    for bucket in artifacts:
        await _ensure(link, _objects(bucket, replicas))


async def _ensure(link: NatsLink, config: dict[str, Any]) -> None:
    name = config["name"]
    try:
        await api(link, f"STREAM.CREATE.{name}", config)
    except StoreError as error:
        if error.context.get("err_code") != CONFIG_DIFFERS:
            raise
        await api(link, f"STREAM.UPDATE.{name}", config)


def _key_value(bucket: str, replicas: int) -> dict[str, Any]:
    return {
        **_common(kv_stream(bucket), f"$KV.{bucket}.>", replicas),
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "allow_msg_ttl": True,  # delete markers expire
    }


def _objects(bucket: str, replicas: int) -> dict[str, Any]:
    config = _common(f"OBJ_{bucket}", "", replicas)
    return {**config, "subjects": [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"], "max_msgs_per_subject": -1}


def _common(name: str, subject: str, replicas: int) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": [subject],
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
