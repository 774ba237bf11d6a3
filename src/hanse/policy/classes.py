"""Who is alike, kept from one screening to the next: `workloads, fabric, what rules read -> kinds, their members`.

A kind is cheaper than a class: it is found without describing anything to Cedar, and its members surely are one class.
What changed since the last screening is found by comparing records, which costs nothing where they are the same
objects; so a screening after one changed fact sorts no workload and no node again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Generic, TypeVar

from hanse.core.fabric import Fabric, Node, Site
from hanse.core.ids import Digest, NodeId, SiteId, WorkloadId
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.policy.entities import kind_of_node, kind_of_work
from hanse.policy.location import ends_of
from hanse.policy.reads import Reads
from hanse.wire.canonical import digest_bytes, digest_of

K = TypeVar("K", bound=str)
_BYTES = range(256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds(Generic[K]):
    """Members in id order, each with the number of its kind; kinds are numbered as their first members come."""

    ids: tuple[K, ...]
    kind_of: tuple[int, ...]
    """Per id."""
    as_bytes: bytes
    """`kind_of` in one byte each where 256 suffice, else empty: the lists of a whole fabric are made of it."""
    first: tuple[K, ...]
    """The first member of each kind."""
    digest: Digest
    """Of the ids; the kinds themselves say nothing that a class does not."""

    @property
    def by_kind(self) -> tuple[tuple[K, ...], ...]:
        """The members of each kind, in id order."""
        found: list[list[K]] = [[] for _ in self.first]
        for id_, number in zip(self.ids, self.kind_of, strict=True):
            found[number].append(id_)
        return tuple(map(tuple, found))

    def members(self, is_in: bytes) -> tuple[K, ...]:
        """Ids of the kinds whose byte is not 0, in id order."""
        if len(is_in) > len(_BYTES):
            return tuple(compress(self.ids, map(is_in.__getitem__, self.kind_of)))
        return tuple(compress(self.ids, self.as_bytes.translate(is_in.ljust(len(_BYTES), b"\0"))))

    def digest_of_classes(self, keys: tuple[Digest, ...]) -> Digest:
        """Name which member is in which class, where `keys` are the classes of the kinds."""
        number = {key: at for at, key in enumerate(dict.fromkeys(keys))}
        of_kind = [number[key] for key in keys]
        spelt = ",".join(map(str, map(of_kind.__getitem__, self.kind_of)))
        return digest_of([self.digest, list(number), digest_bytes(spelt.encode())])


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkKinds:
    """Workloads by kind, with what the sorting rested on."""

    workloads: Mapping[WorkloadId, Workload] = field(repr=False)
    reads: Reads = field(repr=False)
    kinds: Kinds[WorkloadId] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKinds:
    """Nodes by kind, with what the sorting rested on."""

    nodes: Mapping[NodeId, Node] = field(repr=False)
    sites: Mapping[SiteId, Site] = field(repr=False)
    reads: Reads = field(repr=False)
    now: WallTime
    next_us: WallTime | None
    """When something attested or measured of a node ends next: until then the kinds hold."""
    kinds: Kinds[NodeId] = field(repr=False)

    def holds(self, fabric: Fabric, reads: Reads, now: WallTime) -> bool:
        """Tell whether this is how the nodes would be sorted at `now`."""
        is_time = self.now <= now and (self.next_us is None or now < self.next_us)
        return is_time and self.reads == reads and self.nodes == fabric.nodes and self.sites == fabric.sites


def work_kinds(workloads: Mapping[WorkloadId, Workload], reads: Reads, last: WorkKinds | None) -> WorkKinds:
    """Sort workloads into kinds, or find that they are those of the `last` sorting."""
    if last is not None and last.reads == reads and last.workloads == workloads:
        return last
    found = _kinds((id_, kind_of_work(work, reads)) for id_, work in sorted(workloads.items()))
    return WorkKinds(workloads=workloads, reads=reads, kinds=found)


def node_kinds(fabric: Fabric, reads: Reads, now: WallTime, last: NodeKinds | None) -> NodeKinds:
    """Sort nodes into kinds, or find that they are those of the `last` sorting. Operators play no part yet."""
    if last is not None and last.holds(fabric, reads, now):
        return last
    found = _kinds((id_, kind_of_node(n, fabric.site_of(n), reads, now)) for id_, n in sorted(fabric.nodes.items()))
    attested = (WallTime(n.attested.until_us) for n in fabric.nodes.values() if n.attested is not None)
    ahead = min((at for at in (*attested, *ends_of(fabric.nodes.values())) if at > now), default=None)
    return NodeKinds(nodes=fabric.nodes, sites=fabric.sites, reads=reads, now=now, next_us=ahead, kinds=found)


def _kinds(members: Iterable[tuple[K, Hashable]]) -> Kinds[K]:
    numbers: dict[Hashable, int] = {}
    ids: list[K] = []
    kind_of: list[int] = []
    first: list[K] = []
    for id_, kind in members:
        number = numbers.setdefault(kind, len(numbers))
        if number == len(first):
            first.append(id_)
        ids.append(id_)
        kind_of.append(number)
    return Kinds(
        ids=tuple(ids), kind_of=tuple(kind_of), as_bytes=bytes(kind_of) if len(first) <= len(_BYTES) else b"",
        first=tuple(first), digest=digest_of(ids),
    )  # fmt: skip
