"""Typed identifiers: one NewType per kind of thing, so that the type checker tells them apart.

All ids are lower-case ASCII labels (RFC 1123), so that they fit a DNS name, a NATS subject
token, a SPIFFE path segment and a file name without escaping.
"""

from __future__ import annotations

import re
from typing import NewType

NodeId = NewType("NodeId", str)
SiteId = NewType("SiteId", str)
OperatorId = NewType("OperatorId", str)
ControllerId = NewType("ControllerId", str)
WorkloadId = NewType("WorkloadId", str)
"""``namespace.name``: unique across kinds within a domain."""
SecretId = NewType("SecretId", str)
"""``namespace.name`` of a secret."""
InstanceId = NewType("InstanceId", str)
"""``namespace.name.ordinal.generation``: one placed replica; never reused for another placement."""
PlanId = NewType("PlanId", str)
Digest = NewType("Digest", str)
"""``sha256:`` followed by 64 lower-case hex digits."""
CountryCode = NewType("CountryCode", str)
"""ISO 3166-1 alpha-2, upper case."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_STORE_KEY = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def is_label(text: str) -> bool:
    """Tell whether `text` is an RFC 1123 label: 1 to 63 of ``a-z 0-9 -``, no dash at either end."""
    return _LABEL.match(text) is not None


def is_store_key(text: str) -> bool:
    """Tell whether `text` is a key of the `Store` port: tokens of ``A-Za-z0-9_-=`` joined by dots, at most 255."""
    return len(text) <= 255 and _STORE_KEY.match(text) is not None


def is_digest(text: str) -> bool:
    """Tell whether `text` is spelled ``sha256:`` + 64 lower-case hex digits."""
    return _DIGEST.match(text) is not None


def workload_id(namespace: str, name: str) -> WorkloadId:
    """Join namespace and name into the id of a workload."""
    return WorkloadId(f"{namespace}.{name}")


def instance_id(workload: WorkloadId, ordinal: int, generation: int) -> InstanceId:
    """Name one placed replica: its ordinal within the workload and the plan generation that placed it."""
    return InstanceId(f"{workload}.{ordinal}.{generation}")


def ordinal_of(instance: InstanceId) -> int:
    """The ordinal that `instance_id` put into the name of a replica."""
    return int(instance.rsplit(".", 2)[1])
