"""Settings of a controller, each with unit, range and the reason for its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hanse.core.geo import Place
from hanse.core.ids import ControllerId, SiteId
from hanse.core.time import DAY_US, HOUR_US, US_PER_MS, US_PER_S
from hanse.core.traffic import COUNT_US
from hanse.placement import PlacementSettings
from hanse.rollout import RolloutLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """One controller's settings; read once in `app`."""

    id: ControllerId
    domain: str
    """Trust domain of the fabric, for example ``europe.hanse``."""
    api_url: str
    """Where this controller's API answers; told to clients through the lease."""
    nats_urls: tuple[str, ...]
    """Where nodes reach the substrate; told to them when they join."""
    packs: Mapping[str, str]
    """Policy packs: path -> text (`hanse.policy.parse_packs`)."""
    guardrails: tuple[str, ...] = ()
    """Packs that bind every workload, whatever its spec names."""
    intensity_g_per_kwh: Mapping[str, int] = field(default_factory=dict)
    """Carbon intensity per grid zone until a feed is given."""
    gazetteer: Mapping[str, Place] = field(default_factory=dict)
    """Named origins of demand."""
    rtt_us: Mapping[tuple[SiteId, SiteId], int] = field(default_factory=dict)
    """Round trips between sites as the operator gives them. They come before what nodes measure; pairs that are in
    neither are modelled."""
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    rollout: RolloutLimits = field(default_factory=RolloutLimits)
    seed: int = 0
    """Root of the named random streams of decisions; equal seeds give equal plans."""
    suspect_after_us: int = 1_500 * US_PER_MS
    """1..10 s. One missed heartbeat of a second, and half of the next: late once is not yet news."""
    unreachable_after_us: int = 3 * US_PER_S
    """2..60 s. Three missed heartbeats. Unreachable adds replicas elsewhere and never deletes there, so that a
    false alarm costs capacity, not work."""
    return_grace_us: int = 15 * US_PER_S
    """3..120 s. How long a node may stay unheard after this controller itself began to listen. A fabric that starts
    again on a busy machine takes some ten seconds; work that moved meanwhile would have moved for nothing."""
    lease_renew_us: int = 1 * US_PER_S
    """0.2..10 s. How often the leader renews."""
    lease_term_us: int = 3 * US_PER_S
    """3 x lease_renew_us at least. A standby that saw no renewal for this long, on its own monotonic clock, takes over;
    with a tick of `lease_renew_us` the fabric has a new leader within 5 s."""
    tick_us: int = 1 * US_PER_S
    """Longest time between two reconciliations; events only make it sooner."""
    debounce_us: int = 20 * US_PER_MS
    """How long events are gathered before a reconciliation: a burst of reports is one decision."""
    account_every_us: int = 60 * US_PER_S
    """1 s..1 h. How often the leader brings the book of spending up and writes it: what a crash loses of it is found
    again, because the next leader accounts from where the book stands."""
    optimise_every_us: int = 10 * 60 * US_PER_S
    """0 (never) or 10 s..1 d. How often the leader looks for a better plan with the global solver. Prices and
    intensities move by the hour; events are answered at once by the incremental solver anyway."""
    solve_most_us: int = 60 * US_PER_S
    """1 s..1 h. How long the global solver may think; it then gives the best plan found so far, with its bound. Fabrics
    of some hundred nodes are solved in a few seconds; who asks at a prompt waits no longer than this."""
    order_lifetime_us: int = DAY_US
    """1 h..30 d. How long a node may run on an order without hearing again: its offline grant."""
    order_renew_us: int = DAY_US // 2
    """At what remaining life an order is renewed."""
    svid_lifetime_us: int = HOUR_US
    """Life of an X.509-SVID; nodes renew at half of it (docs/security.md)."""
    attestation_life_us: int = HOUR_US // 2
    """1 min..1 d. How long an attestation counts; nodes attest again at a third of it, so that two may fail."""
    survey_every_us: int = 10 * 60 * US_PER_S
    """10 s..1 d. How often landmarks measure the other nodes: machines do not move, but claims are made at any time."""
    survey_life_us: int = HOUR_US // 2
    """1 min..1 d. How long a measured place counts; three surveys, so that two may fail."""
    dial_every_us: int = 5 * 60 * US_PER_S
    """0 (never) or 10 s..1 d. How often sites measure one another: lines change by the day, and three of five samples
    must agree before a plan hears of it."""
    dial_life_us: int = HOUR_US // 2
    """1 min..1 d. How long a measured round trip counts; six measurements, so that some may fail."""
    count_us: int = COUNT_US
    """1 s..1 h. How often the leader looks at what fronts count, and how often they do. A higher rate is believed after
    twenty looks (ten minutes; twice the window, so that no burst within one counts), a lower one after sixty."""
    anchor_us: int = 5 * 60 * US_PER_S
    """10 s..1 d. How often the leader compares the store with its last anchor and anchors it anew: what is lost
    silently is found within this time."""
    stopped_keep_us: int = 10 * 60 * US_PER_S
    """How long a stopped instance's order and report stay readable before they are purged (they are in the ledger)."""
