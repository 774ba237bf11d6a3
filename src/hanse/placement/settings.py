"""The numbers that placement assumes, each with its unit, its range and why it has that value.

They are assumptions until the fabric's own history replaces them; a plan's explanations name the one that carried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hanse.core.time import DAY_US, HOUR_US, US_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """Rates, prices of latency and moving, times of a move, and the size of explanations."""

    node_down_ppm: int = 2_000
    """Share of time one node is down alone, 0..1,000,000: 17.5 hours a year of reboots, patches and repairs."""
    site_down_ppm: int = 500
    """Share of time a whole site is down or cut off: 4.4 hours a year of power, cooling and uplink."""
    operator_down_ppm: int = 50
    """Share of time everything one operator runs is down: 26 minutes a year, one bad global change."""
    jurisdiction_down_ppm: int = 10
    """Share of time everything in one country is down: 5 minutes a year, a national grid or exchange."""
    history_prior_us: int = 30 * DAY_US
    """How much watching a stated or assumed share of down time counts for against what is observed: a month, so that
    one bad day moves it and one bad minute does not."""
    most_replicas: int = 7
    """Most replicas that an availability target may ask for by itself, 1..64: beyond it shared causes dominate."""
    service_time_us: int = 2_000
    """Added to the round trip when compared with a latency SLO: the engine's own p99 bar at half load."""
    soft_latency_us: int = 100_000
    """Target where origins are named without a latency SLO: about where people notice a delay."""
    latency_microeur_per_ms: int = 10_000
    """Price of one millisecond beyond the target, per replica and month: one cent."""
    unknown_zone_g_per_kwh: int = 700
    """Intensity of a grid zone without data: high, so that not telling never wins over telling."""
    moving_floor_microeur: int = 20_000
    """Least monthly gain that justifies a move: two cents, about the price of a cold start and its risk."""
    moving_permille: int = 150
    """Gain that justifies a move, as a share of the new place's score: a drift below 15 % moves nothing."""
    failure_backoff_us: int = 30 * US_PER_S
    """How long a node is left out for a workload that failed there once; four times longer per further failure."""
    refusal_backoff_us: int = 600 * US_PER_S
    """The same after the node's owner refused: owners change their policy less often than a fault passes."""
    most_backoff_us: int = HOUR_US
    """Longest exclusion; rollout forgets failures after the same time."""
    fetch_bytes_per_s: int = 12_500_000
    """Rate at which a node fetches artifacts, 1 or more: 100 Mbit/s, a modest uplink of a branch or a shop."""
    job_slack_permille: int = 100
    """How much longer than its owner says a job is taken to run when its hours are chosen, of its duration."""
    moving_microeur_per_s: int = 1_000
    """Price of a second in which a moved replica does not serve as it did, 3.60 euro an hour: what an idle team costs
    in minutes, not in days."""
    transfer_microeur_per_hour: int = 10_000
    """Price of an hour spent waiting for data from another site: one cent, as a millisecond of latency for a month."""
    start_us: int = 2 * US_PER_S
    """From a fetched artifact to a serving replica: order, verification, load, first readiness."""
    full_explanation_nodes: int = 200
    """Fabrics up to this size get a candidate per node; larger ones the chosen, the best few per limit, and counts."""
    whole_plan_us: int = 60 * US_PER_S
    """How long events may be answered one by one before a whole plan looks for what got better elsewhere."""
    shortlist_nodes: int = 64
    """Cheapest open nodes looked at first, 1 or more; all are looked at whenever these might not hold the answer."""
    kept_per_limit: int = 3
    """How many rejected candidates per limit a large fabric's explanation keeps."""

    @property
    def down_ppm(self) -> tuple[int, int, int, int]:
        """The share of time that a node, a site, an operator and a jurisdiction are down."""
        return self.node_down_ppm, self.site_down_ppm, self.operator_down_ppm, self.jurisdiction_down_ppm

    def with_down_ppm(self, node: int, site: int, operator: int, jurisdiction: int) -> PlacementSettings:
        """The same with other shares of down time."""
        return replace(
            self,
            node_down_ppm=node,
            site_down_ppm=site,
            operator_down_ppm=operator,
            jurisdiction_down_ppm=jurisdiction,
        )


DEFAULT_SETTINGS = PlacementSettings()
