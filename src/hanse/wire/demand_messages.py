"""Messages about where requests enter the fabric: what a node counted at its front, and what is known of a site.

Messages of their own: accounts of usage go to the ledger, and readers of an older version refuse fields they do not
know. A controller that does not know this question leaves it unanswered, and a node waits for no answer.
"""

from __future__ import annotations

import msgspec

from hanse.core.ids import NodeId, SiteId, WorkloadId
from hanse.core.time import WallTime


class Entering(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """How many requests for one workload entered at one front."""

    workload: WorkloadId
    rate_milli: int
    """Thousandths of a request a second, over the window."""


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="traffic.v1", kw_only=True):
    """What clients asked of one node's front of late: a level, so that a lost message costs nothing."""

    node: NodeId
    incarnation: int
    number: int
    """Grows with each message of one incarnation, from 1."""
    window_us: int
    """What the rates are means over."""
    entering: tuple[Entering, ...]
    """In workload id order; a workload that is missing was not asked for."""


class DemandRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What is known of the demand for one workload at one site. `hanse.placement.traffic` judges it."""

    rate_milli: int
    """What placement goes by."""
    since_us: WallTime
    """Since when it does."""
    measured_milli: int
    """What was measured last, as it was when this was written."""
    away_us: WallTime
    """Since when what is measured lies beyond the band around that, to the same side; 0 where it does not."""


class SiteDemand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="site-demand.v1", kw_only=True):
    """What is known of the demand at one site. Written by the leader."""

    site: SiteId
    at_us: WallTime
    """When fronts of the site were last heard, or were silent for so long that nothing enters there."""
    rows: dict[WorkloadId, DemandRow]
