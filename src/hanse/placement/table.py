"""The fabric as columns: one numpy array per attribute, one row per node in id order.

`Snapshot -> NodeTable`. Built once per plan, so that everything after it works on whole columns instead of looping
over nodes. `Room` is the only thing here that changes: what is still free while a plan is being made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from hanse.core.fabric import Node, Resources
from hanse.core.ids import NodeId, SiteId
from hanse.core.snapshot import Reach, Snapshot

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

REACH_CODES: Mapping[Reach, int] = {reach: code for code, reach in enumerate(Reach)}
UNKNOWN_RTT_US = np.iinfo(np.int64).max
"""Round trip from an origin that the fabric cannot locate."""
MANY = 2**31
"""More replicas than any fabric takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTable:
    """Columns over nodes; `site`, `operator` and `country` are row numbers of the respective names."""

    ids: tuple[NodeId, ...]
    row_of: Mapping[NodeId, int]
    nodes: tuple[Node, ...]
    site_ids: tuple[SiteId, ...]
    site: Ints
    operator: Ints
    country: Ints
    reach: Ints
    """Codes of `REACH_CODES`; a node nobody has heard of is unreachable."""
    cpu_milli: Ints
    memory_bytes: Ints
    cpu_core_hour_microeur: Ints
    memory_gib_hour_microeur: Ints
    idle_mw: Ints
    per_core_mw: Ints
    pue_permille: Ints
    intensity_g_per_kwh: Ints

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.ids)

    def picked(self, rows: Ints) -> NodeTable:
        """The same columns for some rows only."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        ids = tuple(self.ids[row] for row in rows.tolist())
        return replace(
            self,
            ids=ids,
            row_of={node: row for row, node in enumerate(ids)},
            nodes=tuple(self.nodes[row] for row in rows.tolist()),
            **columns,
        )

    def mask_of_label(self, key: str, value: str) -> Flags:
        """Rows whose label `key` (or field, for ``node``, ``site``, ``operator``, ``tier``) equals `value`."""
        return np.fromiter((_label(node, key) == value for node in self.nodes), dtype=np.bool_, count=self.size)


_COLUMNS = (
    "site", "operator", "country", "reach", "cpu_milli", "memory_bytes", "cpu_core_hour_microeur",
    "memory_gib_hour_microeur", "idle_mw", "per_core_mw", "pue_permille", "intensity_g_per_kwh",
)  # fmt: skip
_KIND_COLUMNS = (
    "site", "reach", "cpu_milli", "memory_bytes", "cpu_core_hour_microeur", "memory_gib_hour_microeur", "idle_mw",
    "per_core_mw",
)  # fmt: skip
"""What score and recipe read of a node, policy and selectors aside; the rest follows from the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Nodes that score and recipe cannot tell apart, so that each is worked out once per kind and not per node."""

    of_row: Ints
    """The kind of each node."""
    table: NodeTable
    """One node per kind."""


@dataclass(slots=True, kw_only=True)
class Room:
    """What is free per node while a plan is made. `releases` counts how often room came back."""

    cpu_milli: Ints
    memory_bytes: Ints
    releases: int = 0

    def take(self, row: int, amount: Resources, times: int = 1) -> None:
        """Use `amount` on a node `times` over; may go negative where running work outgrew the node."""
        self.cpu_milli[row] -= amount.cpu_milli * times
        self.memory_bytes[row] -= amount.memory_bytes * times

    def times(self, rows: Ints, amount: Resources) -> Ints:
        """How many times `amount` fits on each of `rows` now; never below 0, `MANY` where it is nothing."""
        most = np.full(len(rows), MANY, dtype=np.int64)
        for free, each in ((self.cpu_milli, amount.cpu_milli), (self.memory_bytes, amount.memory_bytes)):
            if each:
                most = np.minimum(most, free[rows] // each)
            else:
                most[free[rows] < 0] = 0
        return np.maximum(most, 0)

    def give_back(self, row: int, amount: Resources) -> None:
        """Free `amount` on a node."""
        self.cpu_milli[row] += amount.cpu_milli
        self.memory_bytes[row] += amount.memory_bytes
        self.releases += 1

    def fits(self, rows: Ints, amount: Resources) -> Flags:
        """Tell for each of `rows` whether `amount` fits now."""
        enough_cpu = self.cpu_milli[rows] >= amount.cpu_milli
        return np.asarray(enough_cpu & (self.memory_bytes[rows] >= amount.memory_bytes))


@dataclass(slots=True, kw_only=True)
class OriginTable:
    """Round trips from named origins to every site, worked out once per origin."""

    snapshot: Snapshot
    site_ids: tuple[SiteId, ...]
    site_of_city: Mapping[str, SiteId]
    known: dict[str, Ints] = field(default_factory=dict)

    def to_sites_us(self, origin: str) -> Ints:
        """Round trip per site row in microseconds; `UNKNOWN_RTT_US` where the origin cannot be located."""
        if origin not in self.known:
            # Resolving a city to its site once keeps the snapshot from searching all sites for every pair.
            name = origin if SiteId(origin) in self.snapshot.fabric.sites else self.site_of_city.get(origin, origin)
            trips = (self.snapshot.round_trip_us(name, site) for site in self.site_ids)
            column = (UNKNOWN_RTT_US if trip is None else trip for trip in trips)
            self.known[origin] = np.fromiter(column, dtype=np.int64, count=len(self.site_ids))
        return self.known[origin]


def node_table(snapshot: Snapshot, *, unknown_zone_g_per_kwh: int) -> NodeTable:
    """Lay the fabric of a snapshot out as columns, rows in node id order."""
    fabric = snapshot.fabric
    ids = tuple(sorted(fabric.nodes))
    nodes = tuple(fabric.nodes[node] for node in ids)
    sites = tuple(fabric.sites[node.site] for node in nodes)
    site_ids = tuple(sorted(fabric.sites))
    intensity = snapshot.intensity_g_per_kwh
    return NodeTable(
        ids=ids,
        row_of={node: row for row, node in enumerate(ids)},
        nodes=nodes,
        site_ids=site_ids,
        site=_numbered([node.site for node in nodes], site_ids),
        operator=_numbered([node.operator for node in nodes], sorted(fabric.operators)),
        country=_numbered([site.country for site in sites], sorted({site.country for site in sites})),
        reach=_ints([REACH_CODES[snapshot.reach.get(node, Reach.UNREACHABLE)] for node in ids]),
        cpu_milli=_ints([node.capacity.cpu_milli for node in nodes]),
        memory_bytes=_ints([node.capacity.memory_bytes for node in nodes]),
        cpu_core_hour_microeur=_ints([node.price.cpu_core_hour_microeur for node in nodes]),
        memory_gib_hour_microeur=_ints([node.price.memory_gib_hour_microeur for node in nodes]),
        idle_mw=_ints([node.power.idle_mw for node in nodes]),
        per_core_mw=_ints([node.power.per_core_mw for node in nodes]),
        pue_permille=_ints([site.pue_permille for site in sites]),
        intensity_g_per_kwh=_ints([intensity.get(site.grid_zone, unknown_zone_g_per_kwh) for site in sites]),
    )


def kinds(table: NodeTable) -> Kinds:
    """Sort the nodes of a table into kinds."""
    columns = np.stack([getattr(table, name) for name in _KIND_COLUMNS], axis=1)
    _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
    return Kinds(of_row=inverse.reshape(-1).astype(np.int64), table=table.picked(first))


def origin_table(snapshot: Snapshot, site_ids: tuple[SiteId, ...]) -> OriginTable:
    """Prepare the round trips of a snapshot; a city with several sites is its first by id, as in `Snapshot`."""
    cities: dict[str, SiteId] = {}
    for site in site_ids:
        cities.setdefault(snapshot.fabric.sites[site].place.city, site)
    return OriginTable(snapshot=snapshot, site_ids=site_ids, site_of_city=cities)


def full_room(table: NodeTable) -> Room:
    """The room of an empty fabric."""
    return Room(cpu_milli=table.cpu_milli.copy(), memory_bytes=table.memory_bytes.copy())


def _label(node: Node, key: str) -> str | None:
    match key:
        case "node":
            return node.id
        case "site":
            return node.site
        case "operator":
            return node.operator
        case "tier":
            return node.tier.value
        case _:
            return node.labels.get(key)


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _numbered(names: Sequence[str], all_names: Sequence[str]) -> Ints:
    row = {name: index for index, name in enumerate(all_names)}
    return _ints([row[name] for name in names])
