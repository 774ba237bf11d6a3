"""What a replica costs per month on each node: money, carbon, latency beyond the target, and the move.

`spec, columns, round trips -> score columns`. Every part is in microeur per month, so that parts add up and can be
read. Sovereignty is never a score: it removes candidates before this is asked.

Carbon is that of the Software Carbon Intensity, O + M (ISO/IEC 21031:2024). O = E x I, where E includes hardware that
is reserved and not just used: a replica carries the share of the idle draw that it reserves, plus the draw of its own
cores, times the site's PUE. M = TE x TS x RS: what making the machine emitted, times the share of its life that a month
is, times the share of the machine that is reserved; 0 where its owner states no figure.

Money is the price of what is reserved, the energy where a site bills it apart, what is sent to the internet, and what
reading data from other sites costs; waiting for that data has a price of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hanse.core.plan import Score
from hanse.core.units import MASS_UNITS, PERIODS_US
from hanse.core.work import Workload
from hanse.placement.gravity import Gravity
from hanse.placement.settings import PlacementSettings
from hanse.placement.table import UNKNOWN_RTT_US, Axes, Ints, Kinds, NodeTable

HOURS_PER_MONTH = PERIODS_US["month"] / PERIODS_US["hour"]
GIB = 2**30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable:
    """Score columns for one shape of workload, without the moving part: a figure per kind of node, or row of `kind`."""

    kind: Ints
    """The kind of each node; the columns below have one entry per kind."""
    bill_microeur: Ints
    """Money as billed."""
    money_microeur: Ints
    """Money as weighed by the objective."""
    carbon_ug: Ints
    carbon_microeur: Ints
    latency_us: Ints
    latency_microeur: Ints
    data_microeur: Ints
    """Priced waiting for data that lies elsewhere."""
    kind_microeur: Ints
    """The sum."""

    def totals_microeur(self, rows: Ints) -> Ints:
        """The sum on some nodes."""
        return np.asarray(self.kind_microeur[self.kind[rows]])

    def bills_microeur(self, rows: Ints) -> Ints:
        """Money as billed on some nodes."""
        return np.asarray(self.bill_microeur[self.kind[rows]])

    def carbons_ug(self, rows: Ints) -> Ints:
        """Carbon on some nodes."""
        return np.asarray(self.carbon_ug[self.kind[rows]])

    def at(self, row: int, moving_microeur: int) -> Score:
        """The parts for one node, as a record."""
        row = int(self.kind[row])
        return Score(
            money_microeur=int(self.money_microeur[row]),
            bill_microeur=int(self.bill_microeur[row]),
            carbon_microeur=int(self.carbon_microeur[row]),
            carbon_ug=int(self.carbon_ug[row]),
            latency_microeur=int(self.latency_microeur[row]),
            latency_us=int(self.latency_us[row]),
            moving_microeur=moving_microeur,
            data_microeur=int(self.data_microeur[row]),
        )


_PER_KIND = (
    "bill_microeur", "money_microeur", "carbon_ug", "carbon_microeur", "latency_us", "latency_microeur",
    "data_microeur", "kind_microeur",
)  # fmt: skip


def with_more_kinds(scores: ScoreTable, more: ScoreTable) -> ScoreTable:
    """The same scores with those of further kinds behind them."""
    joined = {name: np.concatenate([getattr(scores, name), getattr(more, name)]) for name in _PER_KIND}
    return ScoreTable(kind=more.kind, **joined)


def score(
    workload: Workload, kinds: Kinds, worst_us: Ints, gravity: Gravity, settings: PlacementSettings
) -> ScoreTable:
    """Score one replica on every node; `worst_us`: round trip from the worst origin that a kind of node would serve."""
    table = kinds.table
    draw_mw, share = _draw_mw(workload, table)
    bill = _bill_microeur(workload, table) + draw_mw * (HOURS_PER_MONTH / 10**6) * table.energy_microeur_kwh
    # 1 mW for 1 h at 1 g/kWh is 1 microgram.
    carbon = draw_mw * HOURS_PER_MONTH * table.intensity_g_per_kwh + table.embodied_ug_month * share
    waiting = np.zeros(table.size, dtype=np.int64)
    if workload.data.sets:
        sent, waits = gravity.columns(workload)
        bill, waiting = bill + sent[table.site], waits[table.site]
    money = _whole(bill * (workload.objective.cost_milli / 1_000))
    priced = _whole(carbon * (workload.objective.carbon_microeur_per_t / MASS_UNITS["t"]))
    penalty = _latency_microeur(workload, worst_us, settings)
    total = money + priced + penalty + waiting
    return ScoreTable(
        kind=kinds.of_row,
        bill_microeur=_whole(bill),
        money_microeur=money,
        carbon_ug=_whole(carbon),
        carbon_microeur=priced,
        latency_us=worst_us,
        latency_microeur=penalty,
        data_microeur=waiting,
        kind_microeur=total,
    )


def moving_microeur(total_microeur: Ints, settings: PlacementSettings) -> Ints:
    """What starting on a node that does not run the workload yet costs, for each node's score.

    A share of the new place's own score and a floor: a move pays only if it gains more than both, and the way back
    would have to gain as much again, so drifting prices do not make replicas swing.
    """
    return settings.moving_floor_microeur + total_microeur * settings.moving_permille // 1_000


def _bill_microeur(workload: Workload, table: NodeTable) -> Floats:
    hourly = table.prices @ priced_units(workload, table.axes)
    if workload.gpu is not None:
        hourly = hourly + table.gpu_hour_microeur * (workload.gpu.total_milli / 1_000)
    return np.asarray(hourly * HOURS_PER_MONTH + table.egress_gib_microeur * (workload.egress_bytes_month / GIB))


def priced_units(workload: Workload, axes: Axes) -> Floats:
    """What one replica asks for in the units that prices are per: cores, GiB, GiB, Mbit/s, whole units."""
    return np.array(
        [
            amount / _PER_PRICE.get(name, 1)
            for name, amount in zip(axes.names, axes.vector(workload.resources).tolist(), strict=True)
        ]
    )


_PER_PRICE: Mapping[str, int] = {"cpu": 1_000, "memory": GIB, "disk": GIB, "bandwidth": 10**6}


def _draw_mw(workload: Workload, table: NodeTable) -> tuple[Floats, Floats]:
    """Draw of one replica with its share of the idle draw, PUE included; and the share of the machine it reserves."""
    # The reserved share is that of the scarcest resource: a replica that fills the memory idles the cores too.
    needs = table.axes.vector(workload.resources)
    share = (needs / np.maximum(table.amounts, 1)).max(axis=1)
    draw_mw = table.per_core_mw * (workload.resources.cpu_milli / 1_000)
    if workload.gpu is not None:
        devices = workload.gpu.total_milli / 1_000
        share = np.maximum(share, devices / np.maximum(table.gpu_count, 1))
        draw_mw = draw_mw + table.per_gpu_mw * devices
    share = np.minimum(share, 1.0)
    return np.asarray((draw_mw + table.idle_mw * share) * (table.pue_permille / 1_000)), np.asarray(share)


def _latency_microeur(workload: Workload, worst_us: Ints, settings: PlacementSettings) -> Ints:
    target = workload.slo.latency_p99_us
    allowed = settings.soft_latency_us if target is None else target
    # An origin that cannot be located cannot be served within a target either; it is priced like one second.
    known = np.where(worst_us == UNKNOWN_RTT_US, 1_000_000, worst_us)
    beyond_us = np.maximum(known + settings.service_time_us - allowed, 0)
    if not workload.slo.origins:
        beyond_us = np.zeros_like(beyond_us)
    return np.asarray(beyond_us * settings.latency_microeur_per_ms // 1_000)


def _whole(values: Floats) -> Ints:
    return np.rint(values).astype(np.int64)
