"""What turned a verdict: `screening before, screening after, workload, node -> sentences`.

Compares what the two screenings rested on as far as it concerns this pair: the spec, the node, its site, its operator
and whoever holds it, dated rows of law, the rules. It is the answer to "because of which change", for the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from hanse.core.fabric import Operator
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.time import to_datetime
from hanse.policy.control import holders_by_name
from hanse.policy.diff import Pair, fact_changes, rule_changes
from hanse.policy.entities import attested_at, split_certificate
from hanse.policy.location import measured_at
from hanse.policy.screen import Screening, guardrails_for, held_by


def causes(before: Screening, after: Screening, workload: WorkloadId, node: NodeId) -> tuple[str, ...]:
    """Everything that changed between two screenings and that this pair's verdict may rest on, in a fixed order."""
    return tuple(
        dict.fromkeys([
            *_of_the_spec(before, after, workload), *_of_the_place(before, after, node),
            *_of_the_operator(before, after, node), *_of_the_date(before, after, node),
            *_of_the_rules(before, after, workload),
        ])
    )  # fmt: skip


def turned(before: Screening | None, after: Screening, running: Sequence[Pair]) -> Mapping[Pair, tuple[str, ...]]:
    """Why each running pair that is denied now is no longer allowed; kept until it is allowed again.

    A pair that was denied in the screening before without a known cause, or whose screening before is not known, is
    left out.
    """
    found: dict[Pair, tuple[str, ...]] = {}
    for work, node in sorted(set(running)):
        if work not in after.subjects or node not in after.objects or after.allows(work, node) or before is None:
            continue
        if (work, node) in before.turned:
            found[work, node] = before.turned[work, node]
        elif work in before.subjects and node in before.objects and before.allows(work, node):
            found[work, node] = causes(before, after, work, node)
    return found


def _of_the_spec(before: Screening, after: Screening, workload: WorkloadId) -> Iterator[str]:
    was, is_ = before.workloads[workload], after.workloads[workload]
    for name in ("data", "sovereignty"):
        if getattr(was, name) != getattr(is_, name):
            yield f"spec {workload}.{name} in generation {is_.generation}"


def _of_the_place(before: Screening, after: Screening, node: NodeId) -> Iterator[str]:
    was, is_ = before.fabric.nodes[node], after.fabric.nodes[node]
    for name in ("site", "operator", "service", "tier", "grade"):
        if getattr(was, name) != getattr(is_, name):
            yield f"node/{node}.{name} = {getattr(is_, name)}"
    shown = attested_at(was, before.facts.now), attested_at(is_, after.facts.now)
    told = ["nothing" if one is None else one.label for one in shown]
    if shown[1] is None and shown[0] is not None and was == is_:
        yield f"node/{node}.attested ended"
    elif told[0] != told[1]:
        yield f"node/{node}.attested = {told[1]}"
    known = measured_at(was, before.facts.now), measured_at(is_, after.facts.now)
    if known[0] != known[1]:
        if known[1] is None:
            yield f"node/{node}.measured ended"
        elif known[0] is None or (known[0].contradiction, known[0].radius_m) != (
            known[1].contradiction, known[1].radius_m,
        ):  # fmt: skip
            yield f"node/{node}.measured = {known[1].contradiction or known[1].label}"
    if before.fabric.site_of(was).country != after.fabric.site_of(is_).country:
        yield f"site/{is_.site}.country = {after.fabric.site_of(is_).country}"


def _of_the_operator(before: Screening, after: Screening, node: NodeId) -> Iterator[str]:
    """Changed facts of the node's operator and of every operator that holds it, directly or not."""
    chain = {o.id: None for s in (before, after) for o in _chain(s.fabric.operator_of(s.fabric.nodes[node]), s)}
    for id_ in chain:
        was, is_ = before.fabric.operators.get(id_), after.fabric.operators.get(id_)
        if was is None or is_ is None:
            yield f"operator/{id_} is {'new' if was is None else 'gone'}"
        elif was != is_:
            changed = (f.name for f in fields(Operator) if getattr(was, f.name) != getattr(is_, f.name))
            yield from (f"operator/{id_}.{name} changed" for name in changed if name != "name")


def _chain(operator: Operator, screening: Screening) -> list[Operator]:
    by_name = holders_by_name(screening.fabric.operators)
    chain, seen = [operator], {operator.id}
    for one in chain:  # grows while it is walked
        for parent in one.parents:
            holder = by_name.get(parent.name)
            if holder is not None and holder.id not in seen:
                seen.add(holder.id)
                chain.append(holder)
    return chain


def _of_the_date(before: Screening, after: Screening, node: NodeId) -> Iterator[str]:
    """Rows, laws and certificates that began or ended between the two, and rows that were changed."""
    old, new = before.facts, after.facts
    yield from fact_changes(old.facts, new.facts)
    was, is_ = {row.id: row for row in old.in_force}, {row.id: row for row in new.in_force}
    known = {row.id for row in new.facts.adequacy}
    yield from (f"adequacy/{id_} ended {row.until}" for id_, row in was.items() if id_ not in is_ and id_ in known)
    yield from (f"adequacy/{id_} began {row.usable_from}" for id_, row in is_.items() if id_ not in was)
    laws = {regime.name for regime in old.regimes}
    yield from (f"regime/{r.name} began {r.since}" for r in new.regimes if r.name not in laws)
    for bloc in new.members:
        left = sorted(set(old.members.get(bloc, ())) - set(new.members[bloc]))
        yield from (f"bloc/{bloc}: {country} left" for country in left)
    operator = after.fabric.operator_of(after.fabric.nodes[node])
    for name, until in map(split_certificate, sorted(held_by(operator))):
        if until is not None and old.now < until <= new.now:
            yield f"operator/{operator.id}.certificates: {name} expired {to_datetime(until).date()}"


def _of_the_rules(before: Screening, after: Screening, workload: WorkloadId) -> Iterator[str]:
    if before.packs.digest != after.packs.digest:
        yield from rule_changes(before.packs, after.packs)
    namespace = after.workloads[workload].namespace
    was = guardrails_for(before.guardrails, namespace)
    yield from (f"guardrail {g} binds {namespace}" for g in guardrails_for(after.guardrails, namespace) if g not in was)
