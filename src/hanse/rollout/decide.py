"""Which replicas to start and stop now: start before stop, within the disruption budget and the blast radius.

`plan, snapshot, workloads, limits, now -> steps`. Works on levels: it compares what the plan holds with what the
latest orders say and what nodes report, so equal inputs give equal steps and an order that stands is not repeated.
Silence is not death: nothing is stopped on a node that cannot be heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Assignment, Candidate, Plan
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.units import format_duration
from hanse.core.verdict import DENIED_BECAUSE, Reason
from hanse.core.work import Workload
from hanse.rollout.steps import Hold, RolloutLimits, Start, Step, Stop

_LOST = (Phase.FAILED, Phase.REFUSED)
_SILENT = (Reach.UNREACHABLE, Reach.SUSPECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One workload that the plan knows, with what it has."""

    workload: Workload
    plan: Plan
    reach: Mapping[NodeId, Reach]
    wanted: int
    held: tuple[Assignment, ...]
    """What the plan holds, in instance order."""
    records: Mapping[tuple[str, NodeId], Running]
    """What is ordered or reported, by instance and node."""
    limits: RolloutLimits
    now: WallTime

    def reach_of(self, node: NodeId) -> Reach:
        """What is known of a node; a node nobody has heard of is unreachable."""
        return self.reach.get(node, Reach.UNREACHABLE)

    def is_serving(self, record: Running | None) -> bool:
        """Tell whether an instance counts: ordered to run, running, and on a node that is heard."""
        if record is None or not record.is_wanted or record.phase is not Phase.RUNNING:
            return False
        return self.reach_of(record.node) in (Reach.READY, Reach.DRAINING)

    @property
    def serving_held(self) -> int:
        """How many of the replicas that the plan holds serve."""
        return sum(self.is_serving(self.records.get((a.instance, a.node))) for a in self.held)

    @property
    def surplus(self) -> tuple[Running, ...]:
        """Instances ordered to run that the plan does not hold, in instance order."""
        held = {(a.instance, a.node) for a in self.held}
        return tuple(r for key, r in sorted(self.records.items()) if r.is_wanted and key not in held)


def next_steps(
    plan: Plan,
    snapshot: Snapshot,
    workloads: Mapping[WorkloadId, Workload],
    *,
    limits: RolloutLimits = RolloutLimits(),  # noqa: B008 - frozen
    now: WallTime,
) -> tuple[Step, ...]:
    """Decide the steps of this round: starts, then stops, then holds, each by workload and instance.

    `workloads` are those that somebody wants; what runs of any other is deleted and stopped. A workload or a spec
    generation that the plan does not know yet is left alone until a plan does. If the round would take away more
    running replicas than `limits` allow, it stops none and says so.
    """
    records: dict[WorkloadId, dict[tuple[str, NodeId], Running]] = {}
    for record in snapshot.running:
        records.setdefault(record.workload, {})[record.instance, record.node] = record
    held: dict[WorkloadId, list[Assignment]] = {}
    for assignment in plan.assignments:
        held.setdefault(assignment.workload, []).append(assignment)
    steps: list[Step] = []
    for identity in sorted(records.keys() | held.keys()):
        workload, has = workloads.get(identity), records.get(identity, {})
        if workload is None:
            steps.extend(_delete(has, snapshot.reach))
            continue
        stale = _stale(workload, plan, held.get(identity, ()))
        if stale is not None:
            steps.append(Hold(workload=identity, reason=stale))
            continue
        case = _Case(
            workload=workload,
            plan=plan,
            reach=snapshot.reach,
            wanted=plan.explanations[identity].replicas_wanted,
            held=tuple(sorted(held.get(identity, ()), key=lambda a: (a.instance, a.node))),
            records=has,
            limits=limits,
            now=now,
        )
        steps.extend(_starts(case))
        steps.extend(_stops(case))
    return _ordered(_within_blast_radius(steps, plan, snapshot, limits))


def _delete(records: Mapping[tuple[str, NodeId], Running], reach: Mapping[NodeId, Reach]) -> Iterator[Step]:
    """A deleted workload stops everywhere it is heard, and elsewhere as soon as it is heard again."""
    for _, record in sorted(records.items()):
        if not record.is_wanted:
            continue
        known = reach.get(record.node, Reach.UNREACHABLE)
        if known in _SILENT:
            yield _hold(record, f"{record.workload} is deleted; stops on node {record.node}, {known}, when it is back")
        else:
            yield _stop(record, f"{record.workload} is deleted", is_covered=record.phase is not Phase.RUNNING)


def _stale(workload: Workload, plan: Plan, held: Sequence[Assignment]) -> str | None:
    """Why a plan says nothing about a workload as it is wanted now, or None if it does."""
    if workload.id not in plan.explanations:
        return f"plan {plan.id} does not know {workload.id} yet: nothing is started or stopped"
    behind = sorted({a.spec_generation for a in held if a.spec_generation != workload.generation})
    if behind:
        return (
            f"plan {plan.id} knows generation {behind[0]} of {workload.id}, wanted is {workload.generation}: "
            f"nothing is started or stopped until a plan follows"
        )
    return None


def _starts(case: _Case) -> Iterator[Step]:
    """Order what the plan holds and no order covers; a new spec goes a few replicas at a time."""
    in_flight = 0
    for a in case.held:
        record = case.records.get((a.instance, a.node))
        if record is not None and record.is_wanted and not case.is_serving(record):
            in_flight += 1
    replaces_older = any(
        r.phase is Phase.RUNNING and r.spec_generation < case.workload.generation for r in case.surplus
    )
    at_once = max(1, case.workload.disruption.max_unavailable)
    for a in case.held:
        record = case.records.get((a.instance, a.node))
        if record is not None and record.is_wanted:
            if record.phase in _LOST:
                why = record.reason or "no reason given"
                yield _hold(record, f"{a.instance} {record.phase} on node {a.node} ({why}): the next plan replaces it")
            continue
        reach = case.reach_of(a.node)
        if reach is not Reach.READY:
            reason = f"{a.instance} cannot start on node {a.node}, which is {reach}"
            yield Hold(workload=a.workload, instance=a.instance, node=a.node, reason=reason)
        elif replaces_older and in_flight >= at_once:
            reason = f"{a.instance} of generation {a.spec_generation} waits until {in_flight} before it run"
            yield Hold(workload=a.workload, instance=a.instance, node=a.node, reason=reason)
        else:
            in_flight += 1
            yield Start(assignment=a, reason=_why_start(case, a, replaces_older=replaces_older))


def _why_start(case: _Case, assignment: Assignment, *, replaces_older: bool) -> str:
    place = f"plan {case.plan.id} holds replica {assignment.ordinal} of {assignment.workload} on node {assignment.node}"
    return f"{place}, new in generation {assignment.spec_generation}" if replaces_older else place


def _stops(case: _Case) -> Iterator[Step]:
    """Stop what the plan no longer holds, as far as enough others serve."""
    serving_held = case.serving_held
    # One replacement at the same node or a place that must be left goes first.
    surplus = sorted(case.surplus, key=lambda r: (_urgency(case, r), r.instance, r.node))
    serving = serving_held + sum(case.is_serving(r) for r in surplus)
    for record in surplus:
        reach = case.reach_of(record.node)
        if reach in _SILENT:
            reason = f"{record.instance} is no longer held, but node {record.node} is {reach}: silence stops nothing"
            yield _hold(record, reason)
            continue
        if record.phase is not Phase.RUNNING:
            yield from _clear(case, record)
            continue
        decided = _decide_running(case, record, serving_held=serving_held, others=serving - 1)
        if isinstance(decided, Stop) and case.is_serving(record):
            serving -= 1
        yield decided


def _urgency(case: _Case, record: Running) -> int:
    if case.reach_of(record.node) is Reach.REVOKED:
        return 0
    if _denial(case, record.node) is not None:
        return 1
    if case.reach_of(record.node) is Reach.DRAINING:
        return 2
    is_replaced_in_place = any(
        a.node == record.node and case.is_serving(case.records.get((a.instance, a.node))) for a in case.held
    )
    return 3 if is_replaced_in_place else 4


def _clear(case: _Case, record: Running) -> Iterator[Step]:
    """What does not serve needs no replacement to go; a failure stays on record while a place is looked for."""
    if case.wanted and record.phase in _LOST and case.now < record.since_us + case.limits.failed_keep_us:
        return
    yield _stop(
        record, f"{record.instance} is {record.phase} and no longer held by plan {case.plan.id}", is_covered=True
    )


def _decide_running(case: _Case, record: Running, *, serving_held: int, others: int) -> Step:
    """Decide about one running instance that the plan does not hold, where `others` would still serve without it."""
    is_covered = others >= case.wanted
    if case.reach_of(record.node) is Reach.REVOKED:
        return _stop(
            record, f"the identity of node {record.node} is revoked: nothing may run there", is_covered=is_covered
        )
    denial = _denial(case, record.node)
    if denial is not None:
        return _decide_illegal(case, record, denial, serving_held=serving_held, others=others)
    waits = _why_stay(case, record, serving_held=serving_held, others=others)
    if waits is not None:
        return _hold(record, waits)
    if case.reach_of(record.node) is Reach.DRAINING:
        return _stop(
            record, f"node {record.node} is being drained; {others} replicas run elsewhere", is_covered=is_covered
        )
    return _stop(
        record,
        f"plan {case.plan.id} no longer holds {record.instance}; {others} replicas run elsewhere",
        is_covered=is_covered,
    )


def _why_stay(case: _Case, record: Running, *, serving_held: int, others: int) -> str | None:
    """What a running instance that the plan does not hold must still wait for; None if it may stop."""
    if case.wanted > 0 and serving_held == 0:
        return f"{record.instance} stays until a replacement runs"
    least = case.wanted - case.workload.disruption.max_unavailable
    if others < least:
        return f"{record.instance} stays: without it {others} of at least {least} replicas would run"
    is_all_there_is = serving_held == len(case.held)
    if case.reach_of(record.node) is Reach.DRAINING and is_all_there_is:
        # Its owner wants the node empty and no further home exists: this is what the disruption budget is for.
        return None
    if others < case.wanted:
        return f"{record.instance} stays until {case.wanted - serving_held} more of {case.wanted} replicas run"
    return None


def _decide_illegal(case: _Case, record: Running, denial: Candidate, *, serving_held: int, others: int) -> Step:
    """Work that policy denies where it runs: after its replacement, after the grace, or at once if nothing follows."""
    is_covered = others >= case.wanted
    lost = f"{record.instance} may no longer run on node {record.node} ({_grounds(denial)})"
    if not case.held:
        return _stop(record, f"{lost} and there is no legal home to wait for", is_covered=is_covered)
    if serving_held >= 1 and is_covered:
        return _stop(record, f"{lost}; its replacement runs", is_covered=is_covered)
    since = _denied_since(case, denial)
    waited, most = case.now - since, _most_wait_us(case, denial)
    if waited >= most:
        return _stop(
            record,
            f"{lost} and {format_duration(waited)} of grace are over, with or without a replacement",
            is_covered=is_covered,
        )
    if serving_held == len(case.held) and others >= case.wanted - case.workload.disruption.max_unavailable:
        return _stop(record, f"{lost}; every legal replica runs and no further home exists", is_covered=is_covered)
    left = format_duration(most - waited)
    return _hold(record, f"{lost}; stays until its replacement runs, at most {left} more")


def _denial(case: _Case, node: NodeId) -> Candidate | None:
    for candidate in case.plan.explanations[case.workload.id].candidates:
        if candidate.node == node and candidate.limit == "policy":
            return candidate
    return None


def _grounds(denial: Candidate) -> str:
    """The rule that denies and what turned it, as far as it is known: this is what the ledger will say."""
    if not denial.reasons:
        return "policy"
    because = sorted({f.value for r in denial.reasons for f in r.facts if f.subject == DENIED_BECAUSE})
    return ": ".join([denial.reasons[0].rule, *([", ".join(because)] if because else [])])


def _most_wait_us(case: _Case, denial: Candidate) -> int:
    """How long what is denied may wait for its replacement: as the strictest of the denying rules says."""
    default = case.limits.illegal_grace_us
    bounds = [default if r.within_us is None else r.within_us for r in denial.reasons if not _is_about_time(r)]
    return min(bounds, default=default)


def _is_about_time(reason: Reason) -> bool:
    """Tell whether a reason only says since when, which placement adds."""
    return any(fact.subject.endswith(".denied_since_us") for fact in reason.facts)


def _denied_since(case: _Case, denial: Candidate) -> int:
    """Since when the place is denied: placement carries the first moment from plan to plan."""
    for reason in denial.reasons:
        for fact in reason.facts:
            if fact.subject == f"node/{denial.node}.denied_since_us":
                return int(fact.value)
    return case.plan.created_us


def _within_blast_radius(
    steps: Sequence[Step], plan: Plan, snapshot: Snapshot, limits: RolloutLimits
) -> Sequence[Step]:
    """Refuse a round that takes away too much; spread over several what replacements cover."""
    running = {(r.instance, r.node) for r in snapshot.running if r.is_wanted and r.phase is Phase.RUNNING}
    stops = [s for s in steps if isinstance(s, Stop) and (s.instance, s.node) in running]
    losses = [s for s in stops if not s.is_covered]
    most = max(limits.stop_at_least, len(running) * limits.stop_share_permille // 1_000)
    if len(stops) <= most or limits.confirmed == plan.id:
        return steps
    if len(losses) > most:
        workloads = len({r.workload for r in snapshot.running if r.is_wanted and r.phase is Phase.RUNNING})
        reason = (
            f"would stop {len(losses)} of {len(running)} running replicas, in {len({s.workload for s in losses})} of "
            f"{workloads} workloads, where {most} may be taken away at once: refused, needs confirmation of plan "
            f"{plan.id}"
        )
        return [*(s for s in steps if not isinstance(s, Stop)), Hold(reason=reason)]
    covered = [s for s in stops if s.is_covered]
    later = {(s.instance, s.node) for s in covered[most - len(losses) :]}
    reason = f"{len(later)} of {len(stops)} stops wait for the next round: at most {most} replicas are stopped at once"
    now = [s for s in steps if not (isinstance(s, Stop) and (s.instance, s.node) in later)]
    return [*now, Hold(reason=reason)]


def _ordered(steps: Sequence[Step]) -> tuple[Step, ...]:
    kinds = (Start, Stop, Hold)
    return tuple(step for kind in kinds for step in steps if isinstance(step, kind))


def _stop(record: Running, reason: str, *, is_covered: bool) -> Stop:
    return Stop(
        instance=record.instance,
        workload=record.workload,
        node=record.node,
        ordinal=record.ordinal,
        spec_generation=record.spec_generation,
        is_covered=is_covered,
        reason=reason,
    )


def _hold(record: Running, reason: str) -> Hold:
    return Hold(workload=record.workload, instance=record.instance, node=record.node, reason=reason)
