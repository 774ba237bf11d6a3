"""Whether a plan's word on availability holds: worked out anew from what is stated, seen or assumed of failure domains.

`places of one workload, snapshot -> share of time that one is up, what carries it`. Shares no code with the planner: it
counts by inclusion and exclusion over sets of replicas that are all up, in whole numbers, where the planner enumerates
what is down. Nodes, sites, operators and jurisdictions are taken to fail independently of each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import prod

from hanse.core.fabric import Jurisdiction, Node, Operator, Site
from hanse.core.plan import AvailabilityClaim, Shortfall
from hanse.core.snapshot import Snapshot
from hanse.core.work import Workload
from hanse.placement.settings import PlacementSettings

_WHOLE = 10**6
_COUNTED = 6
"""Of more replicas the first six by node id count: a part of a set is never up more often than all of it."""
_SLACK_PPM = 1
"""The planner rounds down once."""

Domain = tuple[str, int]
"""Name, and share of time it is down, ppm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a claim: the rest of a rule id, and a sentence."""

    rule: str
    message: str


def fault_of(
    claim: AvailabilityClaim | None,
    workload: Workload,
    nodes: Sequence[Node],
    at: Snapshot,
    settings: PlacementSettings,
    *,
    misses: bool,
) -> Fault | None:
    """Hold a plan's claim about one workload against its places; None where it holds. `misses`: some have no place."""
    target = workload.slo.availability_ppm
    if target is None or not nodes:
        return None
    if claim is None:
        return Fault(rule="unstated", message=f"{workload.id} asks for {target} ppm, and the plan does not say of it")
    counted = sorted(nodes, key=lambda node: node.id)[:_COUNTED]
    each = [_domains(node, at, settings) for node in counted]
    reached = up_ppm(each)
    if claim.target_ppm != target or claim.reached_ppm > reached + _SLACK_PPM:
        message = (
            f"{workload.id} is said to be up {claim.reached_ppm} ppm of the time, asked are {claim.target_ppm}; "
            f"its {len(nodes)} places give {reached} of the {target} in its spec, for {_carrier(each, at)}"
        )
        return Fault(rule="claim", message=message)
    if claim.reached_ppm >= target or _is_excused(claim.shortfall, workload, len(nodes), settings, misses=misses):
        return None
    said = "nothing" if claim.shortfall is None else f"{claim.shortfall.value}, which is not so"
    message = (
        f"{workload.id} is up {reached} of {target} ppm of the time, for {_carrier(each, at)}; its reason is {said}"
    )
    return Fault(rule="shortfall", message=message)


def _is_excused(
    said: Shortfall | None, workload: Workload, count: int, settings: PlacementSettings, *, misses: bool
) -> bool:
    match said:
        case None:
            return False
        case Shortfall.FIXED:
            return workload.replicas is not None
        case Shortfall.ROOM:
            return misses
        case Shortfall.BUDGET:
            return workload.most_replicas is not None and count >= workload.most_replicas
        case Shortfall.MOST:
            return count >= settings.most_replicas
        case Shortfall.PLACES:
            # Fewer than any reason would keep from: a count of its own choice, and places that lie too near.
            return workload.replicas is None and count < settings.most_replicas


def _domains(node: Node, at: Snapshot, settings: PlacementSettings) -> tuple[Domain, ...]:
    site, operator = at.fabric.sites[node.site], at.fabric.operators[node.operator]
    country = at.fabric.jurisdictions.get(site.country)
    stated = (
        (f"node/{node.id}", node.down_ppm, settings.node_down_ppm),
        (f"site/{site.id}", site.down_ppm, settings.site_down_ppm),
        (f"operator/{operator.id}", operator.down_ppm, settings.operator_down_ppm),
        (f"country/{site.country}", None if country is None else country.down_ppm, settings.jurisdiction_down_ppm),
    )
    seen = at.observed_down_ppm
    return tuple((name, seen.get(name, assumed if said is None else said)) for name, said, assumed in stated)


def up_ppm(each: Sequence[Sequence[Domain]]) -> int:
    """The chance that at least one of some replicas has none of its domains down, ppm, rounded down."""
    # Only who shares what with whom counts, so many sets of a fabric are one.
    numbers: dict[str, int] = {}
    return _up_ppm(tuple(tuple((numbers.setdefault(n, len(numbers)), down) for n, down in one) for one in each))


@lru_cache(maxsize=4_096)
def _up_ppm(each: tuple[tuple[tuple[int, int], ...], ...]) -> int:
    every = len({number for domains in each for number, _ in domains})
    total = 0
    for size in range(1, len(each) + 1):
        for some in combinations(each, size):
            up = dict(domain for domains in some for domain in domains)
            total += (-1) ** (size + 1) * prod(_WHOLE - down for down in up.values()) * _WHOLE ** (every - len(up))
    return int(min(total * _WHOLE // _WHOLE**every, _WHOLE - 1))


def _carrier(each: Sequence[Sequence[Domain]], at: Snapshot) -> str:
    """The domain that most of the replicas share, the likeliest to be down of such, and who says how often it is."""
    shared = Counter(domain for domains in each for domain in domains)
    (name, down), _ = max(shared.items(), key=lambda one: (one[1], one[0][1], one[0][0]))
    kind, _, key = name.partition("/")
    fabric = at.fabric
    facts: Mapping[str, Iterable[Node | Site | Operator | Jurisdiction]] = {
        "node": fabric.nodes.values(),
        "site": fabric.sites.values(),
        "operator": fabric.operators.values(),
        "country": fabric.jurisdictions.values(),
    }
    known = {str(fact.id): fact.down_ppm for fact in facts[kind]}
    source = "observed" if name in at.observed_down_ppm else "assumed" if known.get(key) is None else "stated"
    return f"{name} is {source} down {down} ppm of the time"
