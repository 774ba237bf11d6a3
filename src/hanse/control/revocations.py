"""Who no longer counts, for all who must refuse them: `node records -> Revocations`.

The records are the truth; this list is what peers and the substrate can read of it. It says nothing about work: what a
revoked node ran is moved by the plan.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.core.ids import NodeId
from hanse.core.time import WallTime
from hanse.wire.messages import NodeRecord
from hanse.wire.trust_messages import Revocations, Revoked


def wanted_revocations(nodes: Mapping[NodeId, NodeRecord], standing: Revocations | None) -> Revocations | None:
    """The list that should be published in place of `standing`; None while that says it already.

    A name that stands in the list stays there, whatever becomes of its record: revocation is final.
    """
    known = {} if standing is None else {one.node: one for one in standing.nodes}
    found = {node: _revoked(node, record) for node, record in nodes.items() if record.is_revoked}
    merged = {**found, **known}
    if merged == known:
        return None
    generation = 1 if standing is None else standing.generation + 1
    return Revocations(nodes=tuple(merged[node] for node in sorted(merged)), generation=generation)


def _revoked(node: NodeId, record: NodeRecord) -> Revoked:
    # Records from before the time was kept: everything issued since the node joined is void.
    since = record.enrolled_us if record.revoked_us is None else record.revoked_us
    return Revoked(
        node=node, spiffe_id=record.spiffe_id, nats_public_key=record.nats_public_key, since_us=WallTime(since)
    )
