"""The one input of every decision: what is wanted, what is there, what runs, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from hanse.core.fabric import Fabric
from hanse.core.geo import Place, modelled_rtt_us
from hanse.core.ids import InstanceId, NodeId, SiteId, WorkloadId
from hanse.core.layer import Policy
from hanse.core.time import WallTime
from hanse.core.work import Workload


class Reach(StrEnum):
    """What the controller knows of a node's liveness. Silence is not death: unreachable deletes nothing."""

    READY = "ready"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"
    DRAINING = "draining"
    """Being emptied on purpose: takes nothing new, gives up what it has."""
    REVOKED = "revoked"


class Phase(StrEnum):
    """What a node reports of one instance."""

    PENDING = "pending"
    LOADING = "loading"
    RUNNING = "running"
    REFUSED = "refused"
    """The node's owner's policy, or a check of the order, said no."""
    FAILED = "failed"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    """A job ran to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One instance as last reported by its node, together with the order it answers."""

    instance: InstanceId
    workload: WorkloadId
    node: NodeId
    ordinal: int
    spec_generation: int
    phase: Phase
    since_us: WallTime
    is_wanted: bool
    """Whether the latest order for it says run (True) or stop (False)."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values at equal steps from a moment on: a forecast."""

    start_us: int
    """Wall time of the first step."""
    step_us: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a plan may read. Mappings are in key order; nothing here changes."""

    at_us: WallTime
    fabric: Fabric
    reach: Mapping[NodeId, Reach]
    workloads: Mapping[WorkloadId, Workload]
    running: tuple[Running, ...]
    intensity_g_per_kwh: Mapping[str, int]
    """Carbon intensity per grid zone, grams CO2 equivalent per kWh."""
    rtt_us: Mapping[tuple[SiteId, SiteId], int] = field(default_factory=dict)
    """Measured round trips; pairs that are missing are modelled."""
    gazetteer: Mapping[str, Place] = field(default_factory=dict)
    """Named origins of demand that are not sites."""
    policies: tuple[Policy, ...] = ()
    """Layers of rules that were accepted, in id order."""
    forecast: Mapping[str, Series] = field(default_factory=dict)
    """Carbon intensity per grid zone in the hours to come, where a feed was given."""
    observed_down_ppm: Mapping[str, int] = field(default_factory=dict)
    """Share of time that failure domains are down, by ``node/x``, ``site/y``, ``operator/z`` and ``country/DE``: of
    those that were seen to fail, weighed against what was stated or assumed before."""
    forecast_error_permille: int = 0
    """Mean relative error of that forecast as its source states it."""

    def round_trip_us(self, origin: str, site: SiteId) -> int | None:
        """Round trip from a named origin (site id, city of a site, gazetteer entry) to a site, or None if unknown."""
        target = self.fabric.sites[site]
        source = self._origin_site(origin)
        if source is not None:
            measured = self._measured_us(source, site)
            if measured is not None:
                return measured
            return modelled_rtt_us(self.fabric.sites[source].place, target.place)
        place = self.gazetteer.get(origin)
        return None if place is None else modelled_rtt_us(place, target.place)

    def is_measured(self, origin: str, site: SiteId) -> bool:
        """Tell whether the round trip from a named origin to a site was measured (or given), and is not modelled."""
        source = self._origin_site(origin)
        return source is not None and self._measured_us(source, site) is not None

    def _measured_us(self, source: SiteId, site: SiteId) -> int | None:
        return self.rtt_us.get((source, site), self.rtt_us.get((site, source)))

    def _origin_site(self, origin: str) -> SiteId | None:
        if SiteId(origin) in self.fabric.sites:
            return SiteId(origin)
        named = [site.id for site in self.fabric.sites.values() if site.place.city == origin]
        return min(named) if named else None
