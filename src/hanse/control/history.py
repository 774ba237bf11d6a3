"""What the leader saw of outages: `snapshot, what was seen so far -> what is seen now`, and the shares that follow.

Looked at as often as the book is brought up, once a minute: a domain counts as down for the time between two looks if
it is down at the second. What takes a wider domain down is charged to that alone: a country where nothing is heard,
else an operator, a site, a node. Drained and revoked nodes are not down, and a controller that hears nobody blames
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hanse.core.fabric import Fabric
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId
from hanse.core.snapshot import Reach, Snapshot
from hanse.placement import PlacementSettings, posterior_ppm
from hanse.wire.account_messages import HistoryRecord, Outages

_DOWN = Reach.UNREACHABLE
_LONGEST_LOOK = 3
"""A gap between two looks of more than so many intervals was nobody's watch."""


def watched(record: HistoryRecord | None, at: Snapshot, *, every_us: int) -> HistoryRecord:
    """Add what is down now, for the time since the last look."""
    if record is None:
        return HistoryRecord(until_us=at.at_us, watched_us=0, outages={}, down=())
    span_us = at.at_us - record.until_us
    down = tuple(sorted(down_now(at)))
    if not 0 < span_us <= _LONGEST_LOOK * every_us or _hears_nobody(at):
        return HistoryRecord(until_us=at.at_us, watched_us=record.watched_us, outages=record.outages, down=record.down)
    outages = dict(record.outages)
    for name in down:
        has = outages.get(name, Outages(0, 0))
        outages[name] = Outages(has.down_us + span_us, has.count + (name not in record.down))
    return HistoryRecord(
        until_us=at.at_us,
        watched_us=record.watched_us + span_us,
        outages={name: outages[name] for name in sorted(outages)},
        down=down,
    )


def down_now(at: Snapshot) -> Iterator[str]:
    """The widest domains in which nothing is heard, and the nodes beyond them that are not heard."""
    members = _members(at)
    blamed: set[NodeId] = set()
    for kind in ("country", "operator", "site", "node"):
        for name, nodes in sorted(members.items()):
            if not name.startswith(f"{kind}/") or not all(at.reach[n] is _DOWN for n in nodes):
                continue
            # One node that is alone in its domain says nothing of the domain.
            if (kind == "node" or len(nodes) > 1) and not blamed.issuperset(nodes):
                blamed.update(nodes)
                yield name


def observed_ppm(record: HistoryRecord | None, fabric: Fabric, settings: PlacementSettings) -> Mapping[str, int]:
    """The shares of time that domains are down which were seen to fail, for a snapshot."""
    if record is None:
        return {}
    found: dict[str, int] = {}
    for name, seen in record.outages.items():
        prior = _prior_ppm(name, fabric, settings)
        if prior is not None:
            found[name] = posterior_ppm(prior, seen.down_us, record.watched_us, settings)
    return found


def _prior_ppm(name: str, fabric: Fabric, settings: PlacementSettings) -> int | None:
    kind, _, key = name.partition("/")
    match kind:
        case "node":
            one, assumed = fabric.nodes.get(NodeId(key)), settings.node_down_ppm
            return None if one is None else assumed if one.down_ppm is None else one.down_ppm
        case "site":
            site, assumed = fabric.sites.get(SiteId(key)), settings.site_down_ppm
            return None if site is None else assumed if site.down_ppm is None else site.down_ppm
        case "operator":
            operator, assumed = fabric.operators.get(OperatorId(key)), settings.operator_down_ppm
            return None if operator is None else assumed if operator.down_ppm is None else operator.down_ppm
        case _:
            stated = fabric.jurisdictions.get(CountryCode(key))
            return settings.jurisdiction_down_ppm if stated is None else stated.down_ppm


def _members(at: Snapshot) -> Mapping[str, tuple[NodeId, ...]]:
    found: dict[str, list[NodeId]] = {}
    for key, node in at.fabric.nodes.items():
        if at.reach.get(key) in (None, Reach.DRAINING, Reach.REVOKED):
            continue
        country = at.fabric.site_of(node).country
        for name in (f"node/{key}", f"site/{node.site}", f"operator/{node.operator}", f"country/{country}"):
            found.setdefault(name, []).append(key)
    return {name: tuple(nodes) for name, nodes in found.items()}


def _hears_nobody(at: Snapshot) -> bool:
    return bool(at.reach) and all(reach is not Reach.READY for reach in at.reach.values())
