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
    kinds: Kinds[NodeId] = field(repr=False)
    since_us: WallTime
    """What was attested of each node was judged at this time,"""
    until_us: WallTime | None
    """and holds until the first of it ends; None if nothing does."""


def work_kinds(workloads: Mapping[WorkloadId, Workload], reads: Reads, last: WorkKinds | None) -> WorkKinds:
    """Sort workloads into kinds, or find that they are those of the `last` sorting."""
    if last is not None and last.reads == reads and last.workloads == workloads:
        return last
    found = _kinds((id_, kind_of_work(work, reads)) for id_, work in sorted(workloads.items()))
    return WorkKinds(workloads=workloads, reads=reads, kinds=found)


def node_kinds(fabric: Fabric, reads: Reads, now: WallTime, last: NodeKinds | None) -> NodeKinds:
    """Sort nodes into kinds, or find that they are those of the `last` sorting. Operators play no part yet."""
    is_current = last is not None and last.since_us <= now and (last.until_us is None or now < last.until_us)
    if last is not None and is_current and (last.reads, last.nodes, last.sites) == (reads, fabric.nodes, fabric.sites):
        return last
    nodes = sorted(fabric.nodes.items())
    found = _kinds((id_, kind_of_node(node, fabric.site_of(node), reads, now)) for id_, node in nodes)
    ends = (WallTime(node.attested.until_us) for _, node in nodes if node.attested is not None)
    until = min((end for end in ends if end > now), default=None)
    return NodeKinds(nodes=fabric.nodes, sites=fabric.sites, reads=reads, kinds=found, since_us=now, until_us=until)


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
