"""The fabric as columns: one numpy array per attribute, one row per node in id order.

`Snapshot -> NodeTable`. Built once per plan, so that everything after it works on whole columns instead of looping
over nodes. `Room` is the only thing here that changes: what is still free while a plan is being made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hanse.core.fabric import PARTS, Fabric, GpuNeed, Node, Power, Resources
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId, WorkloadId
from hanse.core.snapshot import Reach, Snapshot
from hanse.core.units import PERIODS_US
from hanse.core.work import Workload

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

REACH_CODES: Mapping[Reach, int] = {reach: code for code, reach in enumerate(Reach)}
GONE = -1
"""In place of a code of `REACH_CODES`: the node is no longer of the fabric, and keeps its row until a whole plan."""
UNKNOWN_RTT_US = np.iinfo(np.int64).max
"""Round trip from an origin that the fabric cannot locate."""
MANY = 2**31
"""More replicas than any fabric takes."""
MANY_FREED = 2_048
"""Where room came back on more nodes than this, all are looked at again."""


_A_HANDFUL = 8
WHOLE_MILLI = 1_000
"""One whole device, in thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The parts of the resource vector that a plan counts: CPU and memory, and what else any workload asks for."""

    names: tuple[str, ...] = ("cpu", "memory")
    known: dict[Resources, Ints] = field(default_factory=dict, compare=False)

    def vector(self, amount: Resources) -> Ints:
        """An amount as one number per axis; shared between callers, not to be changed."""
        found = self.known.get(amount)
        if found is None:
            found = self.known[amount] = _ints([amount.of(name) for name in self.names])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The numbers of sites, operators and countries, in id order; the same for as long as the fabric has the same."""

    sites: Mapping[SiteId, int]
    operators: Mapping[OperatorId, int]
    countries: Mapping[CountryCode, int]

    @classmethod
    def of(cls, fabric: Fabric) -> Places:
        """Number those of a fabric."""
        return cls(
            sites={name: number for number, name in enumerate(sorted(fabric.sites))},
            operators={name: number for number, name in enumerate(sorted(fabric.operators))},
            countries={c: number for number, c in enumerate(sorted({site.country for site in fabric.sites.values()}))},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTable:
    """Columns over nodes; `site`, `operator` and `country` are row numbers of the respective names."""

    ids: Sequence[NodeId]
    row_of: dict[NodeId, int]
    nodes: Sequence[Node]
    places: Places
    site: Ints
    operator: Ints
    country: Ints
    reach: Ints
    """Codes of `REACH_CODES`; a node nobody has heard of is unreachable."""
    axes: Axes
    amounts: Ints
    """What work may take per node (row) and axis (column): capacity less overhead."""
    prices: Ints
    """Microeur per unit and hour, per node and axis: core, GiB, GiB, Mbit/s, unit."""
    gpu_count: Ints
    gpu_model: Ints
    """Row number into `gpu_models`; -1 where a node has no GPU."""
    gpu_models: tuple[str, ...]
    gpu_hour_microeur: Ints
    idle_mw: Ints
    per_core_mw: Ints
    per_gpu_mw: Ints
    egress_gib_microeur: Ints
    """Per GiB sent to the internet."""
    down_ppm: Ints
    """Share of time that each node is down alone: observed, stated or assumed."""
    embodied_ug_month: Ints
    """What making the machine emitted, written off per month."""
    pue_permille: Ints
    energy_microeur_kwh: Ints
    intensity_g_per_kwh: Ints

    @property
    def cpu_milli(self) -> Ints:
        """Cores that work may take per node."""
        return np.asarray(self.amounts[:, 0])

    @property
    def memory_bytes(self) -> Ints:
        """Memory that work may take per node."""
        return np.asarray(self.amounts[:, 1])

    @property
    def site_ids(self) -> tuple[SiteId, ...]:
        """Sites by number."""
        return tuple(self.places.sites)

    def has_model(self, need: GpuNeed) -> Flags:
        """Rows whose GPUs are of a model that will do."""
        will_do = [not need.models or model in need.models for model in self.gpu_models]
        return np.asarray(np.array([*will_do, False], dtype=np.bool_)[self.gpu_model])

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.ids)

    def picked(self, rows: Ints) -> NodeTable:
        """The same columns for some rows only."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
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

    def mask_of_labels(self, wanted: Mapping[str, str]) -> Flags:
        """Rows that carry every label of a selector."""
        found = np.ones(self.size, dtype=np.bool_)
        for key, value in sorted(wanted.items()):
            found &= self.mask_of_label(key, value)
        return found


COLUMNS = (
    "site", "operator", "country", "reach", "amounts", "prices", "gpu_count", "gpu_model", "gpu_hour_microeur",
    "idle_mw", "per_core_mw", "per_gpu_mw", "egress_gib_microeur", "down_ppm", "embodied_ug_month", "pue_permille",
    "energy_microeur_kwh", "intensity_g_per_kwh",
)  # fmt: skip
_KIND_COLUMNS = (
    "site", "operator", "reach", "amounts", "prices", "gpu_count", "gpu_model", "gpu_hour_microeur", "idle_mw",
    "per_core_mw", "per_gpu_mw", "egress_gib_microeur", "embodied_ug_month",
)  # fmt: skip
"""What score and recipe read of a node, policy and selectors aside; the rest follows from the site. With the operator,
so that nodes of one kind share every failure domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Nodes that score and recipe cannot tell apart, so that each is worked out once per kind and not per node."""

    of_row: Ints
    """The kind of each node."""
    table: NodeTable
    """One node per kind."""


@dataclass(slots=True, kw_only=True)
class Freed:
    """Rows where room came back, in order, so that whoever looked before looks at these only and not at all nodes."""

    rows: list[int] = field(default_factory=list)
    forgotten: int = 0
    """How many were dropped from the front of `rows`."""

    @property
    def count(self) -> int:
        """How many there ever were: what `since` is asked with next time."""
        return self.forgotten + len(self.rows)

    def note(self, rows: Iterable[int]) -> None:
        """Room came back on some nodes."""
        self.rows.extend(rows)
        if len(self.rows) > 2 * MANY_FREED:
            self.forgotten += len(self.rows) - MANY_FREED
            del self.rows[:-MANY_FREED]

    def since(self, count: int) -> Ints | None:
        """The rows since there were `count`, ascending, each once; None where they are too many to tell."""
        if count < self.forgotten:
            return None
        return np.array(sorted({*self.rows[count - self.forgotten :]}), dtype=np.int64)


@dataclass(slots=True, kw_only=True)
class Room:
    """What is free per node while a plan is made."""

    axes: Axes
    free: Ints
    """Free amount per axis (row) and node (column); negative where running work outgrew the node."""
    devices: Ints
    """Free thousandths per node (row) and GPU (column); -1 where there is no such GPU."""
    held: dict[tuple[WorkloadId, int], tuple[int, ...]] = field(default_factory=dict)
    """GPUs that the replica of a workload holds on a node."""
    releases: int = 0
    """How often room came back."""
    freed: Freed = field(default_factory=Freed)
    """Where it came back of late."""

    @property
    def cpu_milli(self) -> Ints:
        """Free cores per node, as a view."""
        return np.asarray(self.free[0])

    @property
    def memory_bytes(self) -> Ints:
        """Free memory per node, as a view."""
        return np.asarray(self.free[1])

    def take(self, row: int, amount: Resources, times: int = 1) -> None:
        """Use `amount` on a node `times` over; may go negative where running work outgrew the node."""
        self.free[:, row] -= self.axes.vector(amount) * times

    def times(self, rows: Ints, amount: Resources) -> Ints:
        """How many times `amount` fits on each of `rows` now; never below 0, `MANY` where it is nothing."""
        most = np.full(len(rows), MANY, dtype=np.int64)
        for free, each in zip(self.free, self.axes.vector(amount).tolist(), strict=True):
            if each:
                most = np.minimum(most, free[rows] // each)
            else:
                most[free[rows] < 0] = 0
        return np.maximum(most, 0)

    def give_back(self, row: int, amount: Resources) -> None:
        """Free `amount` on a node."""
        self.free[:, row] += self.axes.vector(amount)
        self.releases += 1
        self.freed.note((row,))

    def fits(self, rows: Ints, amount: Resources) -> Flags:
        """Tell for each of `rows` whether `amount` fits now; GPUs aside."""
        found = np.ones(len(rows), dtype=np.bool_)
        for free, each in zip(self.free, self.axes.vector(amount).tolist(), strict=True):
            found &= free[rows] >= each
        return found

    def may_take(self, rows: Ints, workload: Workload) -> Flags:
        """Tell for each of `rows` whether one replica fits now, GPUs included."""
        found = self.fits(rows, workload.resources)
        return found if workload.gpu is None else found & self.has_gpus(rows, workload.gpu)

    def may_all_take(self, workload: Workload) -> Flags:
        """Tell for every node whether one replica fits now, GPUs included."""
        found = np.ones(self.free.shape[1], dtype=np.bool_)
        for free, each in zip(self.free, self.axes.vector(workload.resources).tolist(), strict=True):
            found &= free >= each
        return found if workload.gpu is None else found & self.has_gpus(np.arange(len(found)), workload.gpu)

    def has_gpus(self, rows: Ints, need: GpuNeed) -> Flags:
        """Tell for each of `rows` whether GPUs enough are free now, whatever their model."""
        return np.asarray((self.devices[rows] >= need.share_milli).sum(axis=1) >= need.count)

    def hold(self, row: int, workload: Workload, devices: tuple[int, ...] = ()) -> None:
        """Take the room of one replica: `devices` where it holds some already, else the fullest that still do.

        The fullest first leaves whole devices whole; ties go to the lower number.
        """
        self.take(row, workload.resources)
        if workload.gpu is None or not self.devices.shape[1]:
            return
        if len(devices) != workload.gpu.count or (self.devices[row, list(devices)] < 0).any():
            free = self.devices[row]
            # What does not fit goes where most is free: the row is then overcommitted, and the replica moves on.
            rank = np.where(free >= workload.gpu.share_milli, free, 2 * WHOLE_MILLI - free)
            devices = tuple(sorted(np.argsort(rank, kind="stable")[: workload.gpu.count].tolist()))
        self.devices[row, list(devices)] -= workload.gpu.share_milli
        self.held[workload.id, row] = devices

    def let_go(self, row: int, workload: Workload) -> None:
        """Free the room of one replica."""
        self.lift(row, workload)
        self.freed.note((row,))

    def lift(self, row: int, workload: Workload) -> None:
        """Free the room of one replica for a moment: who lifts it holds it again, or notes that it stays free."""
        self.free[:, row] += self.axes.vector(workload.resources)
        self.releases += 1
        if workload.gpu is not None:
            self.devices[row, list(self.held.pop((workload.id, row), ()))] += workload.gpu.share_milli


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


def node_table(snapshot: Snapshot, *, unknown_zone_g_per_kwh: int, node_down_ppm: int) -> NodeTable:
    """Lay the fabric of a snapshot out as columns, rows in node id order."""
    fabric = snapshot.fabric
    models = sorted({node.gpus.model for node in fabric.nodes.values() if node.gpus is not None})
    return table_of(
        snapshot,
        tuple(sorted(fabric.nodes)),
        axes=Axes(names=asked(snapshot.workloads.values())),
        places=Places.of(fabric),
        gpu_models=tuple(models),
        unknown_zone_g_per_kwh=unknown_zone_g_per_kwh,
        node_down_ppm=node_down_ppm,
    )


def table_of(
    snapshot: Snapshot,
    ids: tuple[NodeId, ...],
    *,
    axes: Axes,
    places: Places,
    gpu_models: tuple[str, ...],
    unknown_zone_g_per_kwh: int,
    node_down_ppm: int,
) -> NodeTable:
    """Lay some nodes out as columns; sites, operators and countries are numbered over the whole fabric."""
    fabric = snapshot.fabric
    nodes = tuple(fabric.nodes[node] for node in ids)
    sites = tuple(fabric.sites[node.site] for node in nodes)
    intensity = snapshot.intensity_g_per_kwh
    model_row = {model: row for row, model in enumerate(gpu_models)}
    return NodeTable(
        ids=ids,
        row_of={node: row for row, node in enumerate(ids)},
        nodes=nodes,
        places=places,
        site=_numbered([node.site for node in nodes], places.sites),
        operator=_numbered([node.operator for node in nodes], places.operators),
        country=_numbered([site.country for site in sites], places.countries),
        reach=_ints([REACH_CODES[snapshot.reach.get(node, Reach.UNREACHABLE)] for node in ids]),
        axes=axes,
        amounts=_rows_of([axes.vector(node.allocatable) for node in nodes], len(axes.names)),
        prices=_rows_of([_prices(node, axes.names) for node in nodes], len(axes.names)),
        gpu_count=_ints([0 if node.gpus is None else node.gpus.count for node in nodes]),
        gpu_model=_ints([-1 if node.gpus is None else model_row[node.gpus.model] for node in nodes]),
        gpu_models=gpu_models,
        gpu_hour_microeur=_ints([node.price.gpu_hour_microeur for node in nodes]),
        idle_mw=_ints([node.power.idle_mw for node in nodes]),
        per_core_mw=_ints([node.power.per_core_mw for node in nodes]),
        per_gpu_mw=_ints([node.power.per_gpu_mw for node in nodes]),
        egress_gib_microeur=_ints([node.price.egress_gib_microeur for node in nodes]),
        down_ppm=_ints([_down_ppm(snapshot, node, node_down_ppm) for node in nodes]),
        embodied_ug_month=_ints([_embodied_ug_month(node.power) for node in nodes]),
        pue_permille=_ints([site.pue_permille for site in sites]),
        energy_microeur_kwh=_ints([site.energy_microeur_kwh for site in sites]),
        intensity_g_per_kwh=_ints([intensity.get(site.grid_zone, unknown_zone_g_per_kwh) for site in sites]),
    )


def kinds(table: NodeTable) -> Kinds:
    """Sort the nodes of a table into kinds."""
    columns = kind_columns(table)
    _, first, inverse = np.unique(columns, axis=0, return_index=True, return_inverse=True)
    return Kinds(of_row=inverse.reshape(-1).astype(np.int64), table=table.picked(first))


def kind_columns(table: NodeTable) -> Ints:
    """What makes the kind of each node, one row per node."""
    return np.column_stack([getattr(table, name) for name in _KIND_COLUMNS])


def origin_table(snapshot: Snapshot, site_ids: tuple[SiteId, ...]) -> OriginTable:
    """Prepare the round trips of a snapshot; a city with several sites is its first by id, as in `Snapshot`."""
    cities: dict[str, SiteId] = {}
    for site in site_ids:
        cities.setdefault(snapshot.fabric.sites[site].place.city, site)
    return OriginTable(snapshot=snapshot, site_ids=site_ids, site_of_city=cities)


def full_room(table: NodeTable) -> Room:
    """The room of an empty fabric."""
    slots = np.arange(int(table.gpu_count.max(initial=0)))
    devices = np.where(slots < table.gpu_count[:, None], WHOLE_MILLI, -1)
    # `ascontiguousarray` would hand out the table's own memory where there is one node: its transpose is contiguous.
    return Room(axes=table.axes, free=table.amounts.T.copy(), devices=devices)


def among(rows: Ints, few: Ints) -> Flags:
    """Tell for each of `rows` whether it is one of `few`: cheaper than `np.isin`, which sorts, for a handful."""
    if len(few) > _A_HANDFUL:
        return np.isin(rows, few)
    found = np.zeros(len(rows), dtype=np.bool_)
    for row in few.tolist():
        found |= rows == row
    return found


def cheapest(costs: Ints, most: int) -> Ints:
    """Positions of the `most` least costs, least first, ties by position: without sorting all of them."""
    if len(costs) <= most:
        return np.argsort(costs, kind="stable")
    dearest = np.partition(costs, most - 1)[most - 1]
    below = np.flatnonzero(costs < dearest)
    ties = np.flatnonzero(costs == dearest)[: most - len(below)]
    return np.concatenate([below[np.argsort(costs[below], kind="stable")], ties])


def asked(workloads: Iterable[Workload]) -> tuple[str, ...]:
    """Axes of a plan: a resource that nobody asks for limits nobody."""
    asked = {name for resources in {w.resources for w in workloads} for name in resources.names}
    return ("cpu", "memory", *(n for n in ("disk", "bandwidth") if n in asked), *sorted(asked - PARTS.keys()))


def _prices(node: Node, names: Sequence[str]) -> Ints:
    price = node.price
    known = {
        "cpu": price.cpu_core_hour_microeur, "memory": price.memory_gib_hour_microeur,
        "disk": price.disk_gib_hour_microeur, "bandwidth": price.bandwidth_mbit_hour_microeur, **dict(price.custom),
    }  # fmt: skip
    return _ints([known.get(name, 0) for name in names])


def _down_ppm(snapshot: Snapshot, node: Node, assumed: int) -> int:
    seen = snapshot.observed_down_ppm.get(f"node/{node.id}") if snapshot.observed_down_ppm else None
    return seen if seen is not None else assumed if node.down_ppm is None else node.down_ppm


def _embodied_ug_month(power: Power) -> int:
    return round(power.embodied_g * 10**6 * PERIODS_US["month"] / power.life_us) if power.embodied_g else 0


def _rows_of(rows: Sequence[Ints], width: int) -> Ints:
    return np.stack(rows) if rows else np.empty((0, width), dtype=np.int64)


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


def _numbered(names: Sequence[str], number_of: Mapping[Any, int]) -> Ints:
    return _ints([number_of[name] for name in names])
