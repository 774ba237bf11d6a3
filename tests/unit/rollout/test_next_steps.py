"""Rollout decides: start before stop, within the budgets, never on silence, and says why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hanse.core.fabric import Fabric, Resources
from hanse.core.ids import Digest, InstanceId, NodeId, PlanId, WorkloadId
from hanse.core.plan import Assignment, Candidate, Explanation, Plan
from hanse.core.snapshot import Phase, Reach, Running, Snapshot
from hanse.core.time import WallTime
from hanse.core.verdict import DENIED_BECAUSE, FactRead, Reason
from hanse.core.work import Disruption, Kind, Route, Workload
from hanse.rollout import Hold, RolloutLimits, Start, Stop, next_steps

NOW = WallTime(1_795_262_400_000_000)
SECOND = 1_000_000
W = WorkloadId("shop.cart")


def cart(*, name: str = "cart", generation: int = 1, max_unavailable: int = 1) -> Workload:
    return Workload(
        id=WorkloadId(f"shop.{name}"),
        kind=Kind.FUNCTION,
        namespace="shop",
        name=name,
        artifact=Digest("sha256:" + "0" * 64),
        artifact_bytes=1,
        route=Route(path=f"/{name}"),
        resources=Resources(cpu_milli=100, memory_bytes=2**20),
        disruption=Disruption(max_unavailable=max_unavailable),
        generation=generation,
    )


def held(*places: str, workload: WorkloadId = W, made: int = 1, spec: int = 1) -> tuple[Assignment, ...]:
    """Assignments ``ordinal@node`` of one plan generation."""
    split = [place.partition("@") for place in places]
    return tuple(
        Assignment(
            instance=InstanceId(f"{workload}.{ordinal}.{made}"),
            workload=workload,
            ordinal=int(ordinal),
            node=NodeId(node),
            spec_generation=spec,
        )
        for ordinal, _, node in split
    )


def plan_of(
    *assignments: Assignment, wanted: int | None = None, denied: Iterable[str] = (), denied_at: int = NOW
) -> Plan:
    workloads = sorted({W, *(a.workload for a in assignments)})
    stories = {}
    for workload in workloads:
        mine = [a for a in assignments if a.workload == workload]
        since = Reason(
            rule="gdpr.transfer-needs-basis",
            cite="GDPR Art. 44",
            message="under foreign control",
            facts=(FactRead(subject="node/a.denied_since_us", value=str(denied_at)),),
        )
        candidates = tuple(
            Candidate(node=NodeId(n), is_feasible=False, limit="policy", reasons=(since,), score=None, is_chosen=False)
            for n in sorted(denied)
        )
        stories[workload] = Explanation(
            workload=workload,
            replicas_wanted=len(mine) if wanted is None else wanted,
            replicas_why="test",
            candidates=candidates,
        )
    return Plan(
        id=PlanId("p2-test"),
        parent=PlanId("p1-test"),
        generation=2,
        created_us=NOW,
        inputs={},
        assignments=tuple(sorted(assignments, key=lambda a: a.instance)),
        unplaced=(),
        explanations=stories,
        objective_microeur=0,
        bound_microeur=0,
        trigger="test",
    )


def reports(assignments: Iterable[Assignment], phase: Phase = Phase.RUNNING, *, wanted: bool = True, since: int = NOW):
    return tuple(
        Running(
            instance=a.instance,
            workload=a.workload,
            node=a.node,
            ordinal=a.ordinal,
            spec_generation=a.spec_generation,
            phase=phase,
            since_us=WallTime(since),
            is_wanted=wanted,
            reason="boom" if phase is Phase.FAILED else "",
        )
        for a in assignments
    )


def world(*running: Running, **reach: Reach) -> Snapshot:
    return Snapshot(
        at_us=NOW,
        fabric=Fabric(sites={}, operators={}, nodes={}),
        reach={NodeId(n): Reach.READY for n in "abcdefgh"} | {NodeId(n): r for n, r in reach.items()},
        workloads={},
        running=running,
        intensity_g_per_kwh={},
    )


def decide(plan, snapshot, *workloads, now=NOW, **limits):
    known = {w.id: w for w in workloads or (cart(),)}
    return next_steps(plan, snapshot, known, limits=RolloutLimits(**limits), now=WallTime(now))


def starts(steps):
    return [(s.assignment.instance, s.assignment.node) for s in steps if isinstance(s, Start)]


def stops(steps):
    return [(s.instance, s.node) for s in steps if isinstance(s, Stop)]


def holds(steps):
    return [s.reason for s in steps if isinstance(s, Hold)]


def test_starts_what_no_order_covers_and_repeats_nothing():
    first, second = held("0@a", "1@b")
    steps = decide(plan_of(first, second), world())
    assert starts(steps) == [("shop.cart.0.1", "a"), ("shop.cart.1.1", "b")]
    assert decide(plan_of(first, second), world(*reports((first, second), Phase.PENDING))) == ()
    assert decide(plan_of(first, second), world(*reports((first, second)))) == ()


def test_a_node_that_is_not_ready_gets_nothing_and_it_is_said():
    steps = decide(plan_of(*held("0@a")), world(a=Reach.SUSPECT))
    assert holds(steps) == ["shop.cart.0.1 cannot start on node a, which is suspect"]
    assert len(steps) == 1


def test_a_move_starts_first_and_stops_when_the_new_one_runs():
    old, new = held("0@a"), held("0@b", made=2)
    steps = decide(plan_of(*new), world(*reports(old)))
    assert (starts(steps), stops(steps)) == ([("shop.cart.0.2", "b")], [])
    assert holds(steps) == ["shop.cart.0.1 stays until a replacement runs"]
    assert stops(decide(plan_of(*new), world(*reports(old), *reports(new, Phase.LOADING)))) == []
    done = decide(plan_of(*new), world(*reports(old), *reports(new)))
    assert stops(done) == [("shop.cart.0.1", "a")]
    assert done[0].reason == "plan p2-test no longer holds shop.cart.0.1; 1 replicas run elsewhere"
    told = (*reports(old, wanted=False), *reports(new))
    assert decide(plan_of(*new), world(*told)) == ()


def test_scaling_down_stops_only_the_surplus():
    kept, gone = held("0@a"), held("1@b", "2@c")
    steps = decide(plan_of(*kept), world(*reports(kept + gone)))
    assert stops(steps) == [("shop.cart.1.1", "b"), ("shop.cart.2.1", "c")]


def test_silence_stops_nothing_until_the_node_is_heard_again():
    old, new = held("0@a"), held("1@b", made=2)
    running = (*reports(old), *reports(new))
    for reach in (Reach.UNREACHABLE, Reach.SUSPECT):
        steps = decide(plan_of(*new), world(*running, a=reach))
        assert stops(steps) == []
        assert holds(steps) == [f"shop.cart.0.1 is no longer held, but node a is {reach}: silence stops nothing"]
    assert stops(decide(plan_of(*new), world(*running))) == [("shop.cart.0.1", "a")]


def test_a_replica_that_cannot_be_heard_does_not_count_as_running():
    kept, gone = held("0@a", "1@b"), held("2@c")
    steps = decide(plan_of(*kept), world(*reports(kept + gone), a=Reach.UNREACHABLE, b=Reach.UNREACHABLE))
    assert stops(steps) == []


def test_a_deleted_workload_stops_everywhere_it_is_heard():
    running = reports(held("0@a", "1@b", "2@c"))
    steps = next_steps(plan_of(*held("0@a", "1@b", "2@c")), world(*running, c=Reach.UNREACHABLE), {}, now=NOW)
    assert stops(steps) == [("shop.cart.0.1", "a"), ("shop.cart.1.1", "b")]
    assert holds(steps) == ["shop.cart is deleted; stops on node c, unreachable, when it is back"]


def test_a_workload_or_spec_the_plan_does_not_know_is_left_alone():
    running = world(*reports(held("0@a")))
    newer = decide(plan_of(*held("0@a")), running, cart(generation=2))
    assert holds(newer) == [
        "plan p2-test knows generation 1 of shop.cart, wanted is 2: nothing is started or stopped until a plan follows"
    ]
    unknown = decide(replace(plan_of(), explanations={}), running)
    assert holds(unknown) == ["plan p2-test does not know shop.cart yet: nothing is started or stopped"]
    assert len(newer) == len(unknown) == 1


def test_a_new_spec_rolls_one_by_one_and_stops_at_a_failure():
    old = held("0@a", "1@b", "2@c")
    new = held("0@a", "1@b", "2@c", made=2, spec=2)
    plan, spec = plan_of(*new), cart(generation=2)
    one = decide(plan, world(*reports(old)), spec)
    assert (starts(one), stops(one)) == ([("shop.cart.0.2", "a")], [])
    loading = decide(plan, world(*reports(old), *reports(new[:1], Phase.LOADING)), spec)
    assert (starts(loading), stops(loading)) == ([], [])
    ran = decide(plan, world(*reports(old), *reports(new[:1])), spec)
    assert starts(ran) == [("shop.cart.1.2", "b")]
    assert stops(ran) == [("shop.cart.0.1", "a")], "the instance replaced at the same node goes first"
    broken = decide(plan, world(*reports(old), *reports(new[:1], Phase.FAILED)), spec)
    assert (starts(broken), stops(broken)) == ([], [])
    assert "shop.cart.0.2 failed on node a (boom): the next plan replaces it" in holds(broken)


def test_a_larger_disruption_budget_rolls_faster():
    old = held("0@a", "1@b", "2@c")
    new = held("0@a", "1@b", "2@c", made=2, spec=2)
    steps = decide(plan_of(*new), world(*reports(old)), cart(generation=2, max_unavailable=2))
    assert len(starts(steps)) == 2


def test_a_drained_node_is_emptied_after_the_replacement_or_within_the_budget():
    both, new = held("0@a", "1@b"), held("2@c", made=2)
    drained = {"a": Reach.DRAINING}
    waiting = decide(plan_of(both[1], *new), world(*reports(both), **drained))
    assert (starts(waiting), stops(waiting)) == ([("shop.cart.2.2", "c")], [])
    moved = decide(plan_of(both[1], *new), world(*reports(both), *reports(new), **drained))
    assert stops(moved) == [("shop.cart.0.1", "a")]
    no_home = decide(plan_of(both[1], wanted=2), world(*reports(both), **drained))
    assert stops(no_home) == [("shop.cart.0.1", "a")]
    strict = decide(plan_of(both[1], wanted=2), world(*reports(both), **drained), cart(max_unavailable=0))
    assert holds(strict) == ["shop.cart.0.1 stays: without it 1 of at least 2 replicas would run"]
    last = decide(plan_of(wanted=1), world(*reports(both[:1]), **drained))
    assert holds(last) == ["shop.cart.0.1 stays until a replacement runs"]


def test_a_revoked_identity_stops_at_once():
    steps = decide(plan_of(*held("1@b", made=2)), world(*reports(held("0@a")), a=Reach.REVOKED))
    assert stops(steps) == [("shop.cart.0.1", "a")]
    assert "the identity of node a is revoked: nothing may run there" in [s.reason for s in steps]


def test_work_that_lost_its_ground_leaves_after_its_replacement_runs():
    old, new = held("0@a"), held("1@b", made=2)
    plan = plan_of(*new, denied="a")
    waiting = decide(plan, world(*reports(old)), now=NOW + 20 * SECOND)
    assert stops(waiting) == []
    assert holds(waiting) == [
        "shop.cart.0.1 may no longer run on node a (gdpr.transfer-needs-basis); "
        "stays until its replacement runs, at most 40.0s more"
    ]
    done = decide(plan, world(*reports(old), *reports(new)))
    assert [s.reason for s in done if isinstance(s, Stop)] == [
        "shop.cart.0.1 may no longer run on node a (gdpr.transfer-needs-basis); its replacement runs"
    ]


def _bounded(plan: Plan, *bounds: int | None, because: str = "") -> Plan:
    """The same plan, its denials given by one rule per bound."""
    facts = (FactRead(subject=DENIED_BECAUSE, value=because),) if because else ()
    rules = tuple(
        Reason(rule=f"house.r{n}", cite="c", message="m", within_us=within, facts=facts)
        for n, within in enumerate(bounds)
    )
    stories = {
        w: replace(s, candidates=tuple(replace(c, reasons=(*rules, *c.reasons)) for c in s.candidates))
        for w, s in plan.explanations.items()
    }
    return replace(plan, explanations=stories)


def test_the_bound_of_the_strictest_rule_counts_and_the_domains_grace_where_a_rule_names_none():
    plan = plan_of(*held("1@b", made=2), denied="a", denied_at=NOW - 20 * SECOND)
    at = world(*reports(held("0@a")))
    hour = 3_600 * SECOND
    for bounds, is_gone in [((hour, 10 * SECOND), True), ((hour,), False), ((hour, None), False), ((0,), True)]:
        steps = decide(_bounded(plan, *bounds), at)
        assert any(isinstance(step, Stop) for step in steps) == is_gone, bounds
    late = plan_of(*held("1@b", made=2), denied="a", denied_at=NOW - 70 * SECOND)
    assert any(isinstance(step, Stop) for step in decide(_bounded(late, hour, None), at))
    assert not any(isinstance(step, Stop) for step in decide(_bounded(late, hour), at))


def test_what_stops_for_want_of_ground_says_which_rule_and_what_turned_it():
    plan = _bounded(plan_of(wanted=1, denied="a"), None, because="adequacy/eea-ch ended 2027-01-01")
    (stop,) = decide(plan, world(*reports(held("0@a"))))
    assert "(house.r0: adequacy/eea-ch ended 2027-01-01)" in stop.reason


def test_work_that_lost_its_ground_leaves_when_the_grace_is_over():
    plan = plan_of(*held("1@b", made=2), denied="a")
    (_, stop) = decide(plan, world(*reports(held("0@a"))), now=NOW + 60 * SECOND)
    assert stop.reason.endswith("60.0s of grace are over, with or without a replacement")
    replanned = plan_of(*held("1@b", made=2), denied="a", denied_at=NOW - 50 * SECOND)
    assert stops(decide(replanned, world(*reports(held("0@a"))), now=NOW + 10 * SECOND)) == [("shop.cart.0.1", "a")]


def test_work_without_a_legal_home_stops_at_once():
    (stop,) = decide(plan_of(wanted=1, denied="a"), world(*reports(held("0@a"))))
    assert stop.reason.endswith("and there is no legal home to wait for")


def test_a_failed_instance_stays_on_record_and_is_cleared_later():
    failed = reports(held("0@a"), Phase.FAILED)
    plan = plan_of(*held("1@b", made=2))
    assert stops(decide(plan, world(*failed))) == []
    later = decide(plan, world(*failed), now=NOW + 3_600 * SECOND)
    assert stops(later) == [("shop.cart.0.1", "a")]


def test_a_round_that_would_stop_too_much_stops_nothing_and_asks():
    workloads = [cart(name=f"w{i:03d}") for i in range(430)]
    running = [r for w in workloads for r in reports(held("0@a", workload=w.id))]
    homeless = plan_of(*[a for w in workloads[412:] for a in held("0@a", workload=w.id)])
    lost = {w.id: replace(homeless.explanations[W], workload=w.id, replicas_wanted=1) for w in workloads[:412]}
    denied = plan_of(denied="a").explanations[W].candidates
    lost = {w: replace(story, candidates=denied) for w, story in lost.items()}
    plan = replace(homeless, explanations={**homeless.explanations, **lost})
    steps = decide(plan, world(*running), *workloads)
    assert stops(steps) == []
    assert holds(steps)[-1] == (
        "would stop 412 of 430 running replicas, in 412 of 430 workloads, where 129 may be taken away at once: "
        "refused, needs confirmation of plan p2-test"
    )
    assert len(stops(decide(plan, world(*running), *workloads, confirmed=plan.id))) == 412


def test_many_moves_are_stopped_over_several_rounds():
    workloads = [cart(name=f"w{i:03d}") for i in range(100)]
    old = [a for w in workloads for a in held("0@a", workload=w.id)]
    new = [a for w in workloads for a in held("1@b", workload=w.id, made=2)]
    steps = decide(plan_of(*new), world(*reports(old), *reports(new)), *workloads)
    assert len(stops(steps)) == 60
    assert holds(steps) == ["40 of 100 stops wait for the next round: at most 60 replicas are stopped at once"]


def test_a_small_fabric_may_always_stop_a_few():
    running = reports(held("0@a", "1@b", "2@c", "3@d", "4@e"))
    assert len(stops(next_steps(plan_of(), world(*running), {}, now=NOW))) == 5


def test_the_story_of_one_round_reads_well():
    old, new = held("0@a", "1@b"), held("2@c", made=2)
    steps = decide(plan_of(old[1], *new), world(*reports(old), b=Reach.SUSPECT))
    told = [f"{type(s).__name__.lower()}: {s.reason}" for s in steps]
    assert told == [
        "start: plan p2-test holds replica 2 of shop.cart on node c",
        "hold: shop.cart.0.1 stays until a replacement runs",
    ]
