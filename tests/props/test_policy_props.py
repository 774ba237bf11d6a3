"""Proves safety on random fabrics: rules only narrow, classes change no answer, what ended never allows."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, reduce
from itertools import combinations, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.adapters.package_data import read_packs
from hanse.core.fabric import (
    Fabric,
    Grade,
    KeyHolder,
    Measured,
    Node,
    Offer,
    Operator,
    Parent,
    Power,
    Price,
    Resources,
    Site,
    Tier,
)
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, WorkloadId, workload_id
from hanse.core.time import WallTime, from_datetime
from hanse.core.verdict import Change
from hanse.core.work import Data, Kind, Route, Sovereignty, Workload
from hanse.policy import PackSet, parse_packs, screen, screen_order
from hanse.policy.changes import EDITS_MAX
from hanse.policy.edits import Case, edits_for
from hanse.policy.entities import object_of, subject_of
from hanse.policy.evaluate import Cedar
from hanse.policy.explain import Question
from hanse.policy.facts import Adequacy, Assurance, Membership, facts_at
from hanse.policy.schema import SEAL_OBJECTIVES

FILES = read_packs()
PACKS = parse_packs(FILES)
NOW = from_datetime(datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))
EXAMPLES = settings(max_examples=40, deadline=None)

COUNTRIES = st.sampled_from(["DE", "FR", "IE", "NO", "CH", "GB", "BR", "US", "CN", "IN", "GP", "XX"]).map(CountryCode)
CERTIFICATES = st.lists(
    st.sampled_from(["scc-tia", "us-dpf", "hipaa-baa", "scc-tia@2026-11-21", "us-dpf@2027-01-01", "scc-tia@never"]),
    unique=True, max_size=3,
).map(tuple)  # fmt: skip
SEAL = st.dictionaries(st.sampled_from(SEAL_OBJECTIVES), st.integers(0, 4), max_size=3)
NAMED = st.sampled_from(["gdpr", "us-dpf", "hipaa", "measured", "secnumcloud", "none"])
CLASSES = st.sampled_from(["public", "personal", "health", "phi", "odd"])
GRADES = st.sampled_from(list(Grade))
PARENTS = st.lists(
    st.builds(
        Parent, name=st.sampled_from(["op0", "op1", "Holder"]), country=COUNTRIES,
        share_permille=st.sampled_from([100, 500, 501, 1_000]), has_veto=st.booleans(),
        votes_permille=st.sampled_from([None, 100, 900]),
    ),
    max_size=2,
).map(tuple)  # fmt: skip


MEASURED = st.one_of(
    st.none(),
    st.builds(
        Measured, landmarks=st.just(("node/n0",)), radius_m=st.sampled_from([100_000, 1_000_000, 5_000_000]),
        contradiction=st.sampled_from(["", "", "it is elsewhere"]), since_us=st.just(0),
        until_us=st.sampled_from([NOW - 1, NOW, NOW + 1]),
    ),
)  # fmt: skip
SHOWN = tuple(
    Measured(landmarks=("node/n0",), radius_m=100_000, contradiction=why, since_us=0, until_us=until)
    for why in ("", "it is elsewhere") for until in (NOW - 1, NOW, NOW + 1)
)  # fmt: skip
"""The nearest that landmarks could show, or the worst, and ended or not."""
KEYS = st.lists(st.builds(KeyHolder, name=st.sampled_from(["op0", "Vault"]), country=COUNTRIES), max_size=1).map(tuple)


@st.composite
def fabrics(draw: st.DrawFn) -> Fabric:
    operators = [
        Operator(
            id=OperatorId(f"op{n}"), name=f"op{n}", seat=draw(COUNTRIES), parents=draw(PARENTS), seal=draw(SEAL),
            certificates=draw(CERTIFICATES), grade=draw(GRADES), cada=draw(st.integers(0, 4)), key_holders=draw(KEYS),
            support=draw(st.lists(COUNTRIES, unique=True, max_size=1).map(tuple)),
            offers=(Offer(name="apart", seal=draw(SEAL), cada=draw(st.sampled_from([None, 0, 4])),
                          certificates=draw(CERTIFICATES)),),
        )
        for n in range(draw(st.integers(1, 3)))
    ]  # fmt: skip
    place = Place(city="x", latitude_deg=0.0, longitude_deg=0.0)
    sites = [
        Site(id=SiteId(f"s{n}"), country=draw(COUNTRIES), place=place, grid_zone="X")
        for n in range(draw(st.integers(1, 3)))
    ]
    nodes = [
        Node(
            id=NodeId(f"n{n}"), site=draw(st.sampled_from(sites)).id, operator=draw(st.sampled_from(operators)).id,
            tier=draw(st.sampled_from(list(Tier))), capacity=Resources(), power=Power(idle_mw=0, per_core_mw=0),
            price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0), grade=draw(GRADES),
            measured=draw(MEASURED), service=draw(st.sampled_from(["", "", "apart", "unknown"])),
        )
        for n in range(draw(st.integers(1, 6)))
    ]  # fmt: skip
    nodes.append(replace(_twin(draw, draw(st.sampled_from(nodes))), id=NodeId(f"n{len(nodes)}")))
    return Fabric(
        sites={s.id: s for s in sites}, operators={o.id: o for o in operators}, nodes={n.id: n for n in nodes}
    )


def _twin(draw: st.DrawFn, node: Node) -> Node:
    """A node that differs in one thing alone: a sorting into kinds that forgets that thing takes the two for one."""
    match draw(st.sampled_from(["measured", "measured", "service", "tier", "grade"])):
        case "measured":
            return replace(node, measured=draw(st.sampled_from([None, *SHOWN])))
        case "service":
            return replace(node, service=draw(st.sampled_from(["", "apart", "unknown"])))
        case "tier":
            return replace(node, tier=draw(st.sampled_from(list(Tier))))
        case _:
            return replace(node, grade=draw(GRADES))


@st.composite
def workloads(draw: st.DrawFn) -> Mapping[WorkloadId, Workload]:
    made = [
        Workload(
            id=workload_id("ns", f"w{n}"), kind=Kind.FUNCTION, namespace="ns", name=f"w{n}",
            artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path=f"/{n}"), resources=Resources(),
            data=Data(
                classes=draw(st.lists(CLASSES, max_size=2).map(tuple)),
                subjects=draw(st.lists(st.sampled_from(["EEA", "EU", "DE", "NO", "US", "??"]), max_size=2).map(tuple)),
            ),
            sovereignty=Sovereignty(
                packs=draw(st.lists(NAMED, unique=True, max_size=4).map(tuple)),
                seal=draw(SEAL), grade=draw(st.integers(0, 4)), cada=draw(st.integers(0, 4)),
                control_exclude=draw(st.lists(COUNTRIES, unique=True, max_size=2).map(tuple)),
                location_only=draw(st.lists(st.sampled_from(["EU", "EEA", "EFTA", "DE"]), max_size=1).map(tuple)),
            ),
        )
        for n in range(draw(st.integers(1, 3)))
    ]  # fmt: skip
    alike = replace(made[-1], id=workload_id("ns", f"w{len(made)}"), name=f"w{len(made)}")
    own = alike.sovereignty
    one: dict[str, Any] = draw(st.sampled_from([
        {}, {"grade": (own.grade + 1) % 5}, {"cada": (own.cada + 1) % 5}, {"packs": ()}, {"control_exclude": ()},
        {"location_only": ("EU",)}, {"seal": {"legal": 4}},
    ]))  # fmt: skip
    made.append(replace(alike, sovereignty=replace(own, **one)))
    return {w.id: w for w in made}


@st.composite
def lone_workloads(draw: st.DrawFn) -> Workload:
    """One that asks for one thing, so that this thing decides."""
    work = next(iter(draw(workloads()).values()))
    asks = draw(st.sampled_from(["nothing", "grade", "measured", "gdpr", "us-dpf"]))
    return replace(
        work, data=Data(classes=("personal",), subjects=(draw(st.sampled_from(["EEA", "DE", "US"])),)),
        sovereignty=Sovereignty(
            packs=(asks,) if asks in PACKS.packs and asks != "grade" else (),
            grade=draw(st.integers(1, 4)) if asks == "grade" else 0,
        ),
    )  # fmt: skip


@st.composite
def plain_fabrics(draw: st.DrawFn) -> Fabric:
    """One to three nodes, each of an operator of its own country that nobody holds: most demands are met there."""
    place = Place(city="x", latitude_deg=0.0, longitude_deg=0.0)
    countries = draw(st.lists(COUNTRIES, min_size=1, max_size=3))
    return Fabric(
        sites={SiteId(f"s{n}"): Site(id=SiteId(f"s{n}"), country=c, place=place, grid_zone="X")
               for n, c in enumerate(countries)},
        operators={OperatorId(f"op{n}"): Operator(
            id=OperatorId(f"op{n}"), name=f"op{n}", seat=c, certificates=("us-dpf",),
            grade=draw(st.one_of(st.just(Grade.ATTESTED), GRADES)),
        ) for n, c in enumerate(countries)},
        nodes={NodeId(f"n{n}"): Node(
            id=NodeId(f"n{n}"), site=SiteId(f"s{n}"), operator=OperatorId(f"op{n}"), tier=Tier.CORE,
            capacity=Resources(), power=Power(idle_mw=0, per_core_mw=0), grade=draw(GRADES),
            price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0),
            measured=draw(st.sampled_from([None, *SHOWN])),
        ) for n in range(len(countries))},
    )  # fmt: skip


WORKS = st.one_of(lone_workloads().map(lambda work: {work.id: work}), workloads())
FABRICS = st.one_of(plain_fabrics(), fabrics())
"""Plain ones first: where everything is drawn at random something always denies, and what should change nothing does so
unseen."""


def _allowed(works: Mapping[WorkloadId, Workload], fabric: Fabric, packs: PackSet) -> set[tuple[str, str]]:
    screening = screen(works, fabric, packs, NOW)
    return {(work, node) for work in works for node in screening.allowed(work)}


DEMANDS = ("grade", "cada", "packs", "seal", "control_exclude")
DAYS = st.one_of(st.integers(-2, 2), st.integers(-4_000, 4_000))


def _decided(works: Mapping[WorkloadId, Workload], fabric: Fabric) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Every verdict by the rules that decided: a denial by two rules does not hide that one of them is wrong."""
    screening = screen(works, fabric, PACKS, NOW)
    return {(w, n): tuple(r.rule for r in screening.of(w, n).reasons) for w in works for n in fabric.nodes}


@EXAMPLES
@given(works=WORKS, fabric=fabrics())
def test_class_by_class_equals_node_by_node(works: Mapping[WorkloadId, Workload], fabric: Fabric) -> None:
    screening = screen(works, fabric, PACKS, NOW)
    facts = facts_at(PACKS.facts, NOW)
    for node in fabric.nodes.values():
        own = fabric.site_of(node), fabric.operator_of(node)
        assert screening.objects[node.id] == object_of(node, *own, fabric.operators, facts=facts, reads=PACKS.reads)
    for work in works.values():
        assert screening.subjects[work.id] == subject_of(work, PACKS, facts, (), PACKS.reads)
        for node in fabric.nodes.values():
            alone = screen_order(
                work, node, fabric.site_of(node), fabric.operator_of(node), PACKS, None, NOW, operators=fabric.operators
            )
            assert alone == screening.of(work.id, node.id)
            assert alone.reasons


FORBIDS = st.sampled_from(
    [
        'resource.grade < 2', 'resource.location in Jurisdiction::"EU"', 'principal in DataClass::"personal"',
        'resource.operator.reach.contains(Jurisdiction::"US")', 'resource == Node::"n0"', 'resource in Site::"s1"',
        'principal == Workload::"ns.w0"', 'resource.operator == Operator::"op0"', 'true', 'false',
        'resource.operator.certificates.isEmpty()', 'resource.tier like "e*"',
    ]
)  # fmt: skip


@cache
def _with_forbid(pack: str, condition: str) -> PackSet:
    rule = f'@id("{pack}.zz") @cite("c") @message("m") forbid (principal is Workload, action == Action::"place", '
    return parse_packs({**FILES, f"{pack}/zz.cedar": f"{rule} resource is Node) when {{ {condition} }};"})


@EXAMPLES
@given(works=WORKS, fabric=FABRICS, pack=st.sampled_from(["base", "grade"]), condition=FORBIDS)
def test_adding_a_forbid_never_enlarges(
    works: Mapping[WorkloadId, Workload], fabric: Fabric, pack: str, condition: str
) -> None:
    assert _allowed(works, fabric, _with_forbid(pack, condition)) <= _allowed(works, fabric, PACKS)


@EXAMPLES
@given(works=WORKS, fabric=FABRICS, data=st.data())
def test_asking_for_more_never_enlarges(
    works: Mapping[WorkloadId, Workload], fabric: Fabric, data: st.DataObject
) -> None:
    demands = data.draw(st.lists(st.sampled_from(DEMANDS), min_size=1, max_size=3))
    stricter = {}
    for id_, work in works.items():
        own = work.sovereignty
        pack = data.draw(st.sampled_from(list(PACKS.packs)))
        more = replace(
            own, grade=min(4, own.grade + data.draw(st.integers(1, 4))),
            cada=min(4, own.cada + data.draw(st.integers(1, 4))),
            packs=tuple(dict.fromkeys((*own.packs, pack))),
            seal={**own.seal, "legal": min(4, own.seal.get("legal", 0) + 1)},
            control_exclude=(*own.control_exclude, data.draw(COUNTRIES)),
        )  # fmt: skip
        stricter[id_] = replace(work, sovereignty=replace(own, **{name: getattr(more, name) for name in demands}))
    assert _allowed(stricter, fabric, PACKS) <= _allowed(works, fabric, PACKS)


def test_a_grade_demanded_leaves_exactly_the_nodes_that_have_it() -> None:
    """Every grade demanded of every grade stated of operator and node, whatever landmarks show: few enough for all."""
    stated = list(product(Grade, Grade, [None, *SHOWN]))
    site = Site(id=SiteId("s"), country=CountryCode("DE"), place=Place(city="x", latitude_deg=0.0, longitude_deg=0.0),
                grid_zone="DE")  # fmt: skip
    operators = {g: Operator(id=OperatorId(f"op{g}"), name=f"op{g}", seat=CountryCode("DE"), grade=g) for g in Grade}
    nodes = [
        Node(
            id=NodeId(f"n{n:03}"), site=site.id, operator=operators[of_operator].id, tier=Tier.CORE, grade=of_node,
            capacity=Resources(), power=Power(idle_mw=0, per_core_mw=0), measured=measured,
            price=Price(cpu_core_hour_microeur=0, memory_gib_hour_microeur=0),
        )
        for n, (of_operator, of_node, measured) in enumerate(stated)
    ]  # fmt: skip
    fabric = Fabric(
        sites={site.id: site}, operators={o.id: o for o in operators.values()}, nodes={n.id: n for n in nodes}
    )
    asking = [
        Workload(
            id=workload_id("ns", f"w{int(grade)}"), kind=Kind.FUNCTION, namespace="ns", name=f"w{int(grade)}",
            artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path=f"/{int(grade)}"),
            resources=Resources(), sovereignty=Sovereignty(grade=int(grade)),
        )
        for grade in Grade
    ]  # fmt: skip
    found = _allowed({work.id: work for work in asking}, fabric, PACKS)
    have_it = {
        (work.id, node.id)
        for work in asking
        for node in nodes
        if min(_shown_grade(node), fabric.operator_of(node).grade) >= work.sovereignty.grade
    }
    assert found == have_it


def _shown_grade(node: Node) -> Grade:
    """By hand: what landmarks show counts until it ends, then what is stated."""
    found = node.measured
    if found is None or found.until_us <= NOW:
        return node.grade
    return Grade.CLAIMED if found.contradiction else max(node.grade, Grade.MEASURED)


@EXAMPLES
@given(works=WORKS, fabric=FABRICS, offset_days=st.integers(0, 4_000))
def test_a_row_that_ended_or_was_never_verified_never_allows(
    works: Mapping[WorkloadId, Workload], fabric: Fabric, offset_days: int
) -> None:
    ended = datetime.date(2026, 11, 21) - datetime.timedelta(days=offset_days)
    begun = ended - datetime.timedelta(days=1)
    assured: list[tuple[Assurance, datetime.date | None]] = [("verified", ended), ("unverified", None)]
    rows = [
        Adequacy(
            id=f"{assurance}-{scope}", exporters=("EEA", "US"), importers=("IN", "CN", "US", "BR", "XX"), scope=scope,
            cite="c", assurance=assurance, as_of=ended, since=begun, until=until,
        )
        for assurance, until in assured
        for scope in ("general", "us-certified", "commercial")
    ]  # fmt: skip
    facts = replace(PACKS.facts, adequacy=(*PACKS.facts.adequacy, *rows))
    assert not {row.id for row in rows} & {row.id for row in facts_at(facts, NOW).in_force}
    assert _allowed(works, fabric, replace(PACKS, facts=facts)) == _allowed(works, fabric, PACKS)


@EXAMPLES
@given(works=WORKS, fabric=FABRICS, ended_us=st.sampled_from([0, 1, 10**12]), data=st.data())
def test_what_was_measured_and_has_ended_says_nothing(
    works: Mapping[WorkloadId, Workload], fabric: Fabric, ended_us: int, data: st.DataObject
) -> None:
    shown = data.draw(st.sampled_from(SHOWN))
    ended = {i: replace(n, measured=replace(shown, until_us=NOW - ended_us)) for i, n in fabric.nodes.items()}
    never = {i: replace(n, measured=None) for i, n in fabric.nodes.items()}
    assert _decided(works, replace(fabric, nodes=ended)) == _decided(works, replace(fabric, nodes=never))


@EXAMPLES
@given(works=workloads(), fabric=fabrics(), when=st.integers(0, 80 * 365))
def test_between_two_dates_nothing_changes_and_the_cache_is_exact(
    works: Mapping[WorkloadId, Workload], fabric: Fabric, when: int
) -> None:
    now = WallTime(when * 86_400_000_000)
    first = screen(works, fabric, PACKS, now)
    last = WallTime(first.next_change_us - 1) if first.next_change_us is not None else WallTime(now * 2)
    again = screen(works, fabric, PACKS, last, first.cache)
    fresh = screen(works, fabric, PACKS, last)
    assert again.asked == 0
    assert again.digest == fresh.digest == first.digest
    assert [again.allowed(w) for w in works] == [fresh.allowed(w) for w in works] == [first.allowed(w) for w in works]


@settings(max_examples=15, deadline=None)
@given(works=workloads(), fabric=fabrics())
def test_every_reported_change_names_denied_nodes_and_a_target(
    works: Mapping[WorkloadId, Workload], fabric: Fabric
) -> None:
    screening = screen(works, fabric, PACKS, NOW, guardrails=("ns:gdpr",))
    for work in works:
        changes = screening.changes(work)
        allowed = set(screening.allowed(work))
        assert all(c.allows and not allowed & set(c.allows) for c in changes)
        assert {c.target for c in changes} <= {"spec", "fact", "rule"}
        assert changes == screening.changes(work)


@settings(max_examples=60, deadline=None)
@given(
    when=st.integers(-365 * 30, 365 * 100),
    begins=DAYS,
    lasts=DAYS,
    assurance=st.sampled_from(["verified", "secondary", "unverified"]),
)
def test_rows_in_force_are_exactly_those_begun_not_ended_and_verified(
    when: int, begins: int, lasts: int, assurance: Assurance
) -> None:
    today = datetime.date(2026, 11, 21) + datetime.timedelta(days=when)
    since = today + datetime.timedelta(days=begins)
    until = since + datetime.timedelta(days=abs(lasts))
    row = Adequacy(
        id="drawn", exporters=("EEA",), importers=("IN",), scope="general", cite="c", assurance=assurance,
        as_of=since, since=since, until=until,
    )  # fmt: skip
    joined = Membership(
        bloc="Drawn", countries=("IN",), cite="c", assurance=assurance, as_of=since, since=since, until=until
    )
    rows = (*PACKS.facts.adequacy, row)
    facts = replace(PACKS.facts, adequacy=rows, memberships=(*PACKS.facts.memberships, joined))
    found = facts_at(facts, WallTime(NOW + when * 86_400_000_000))
    by_hand = [one for one in rows if _runs(one, today)]
    assert list(found.in_force) == by_hand
    assert found.members["Drawn"] == (("IN",) if _runs(joined, today) else ())
    drawn = {at for at in found.covered if any(one.id == "drawn" for one in found.covered[at].values())}
    assert not drawn or _runs(row, today)


def _runs(row: Adequacy | Membership, today: datetime.date) -> bool:
    """By hand, in dates: from its first day, until the day before its last; a row in doubt from when it was seen."""
    if row.assurance == "unverified" or row.since is None:
        return False
    first = max(row.since, row.as_of) if isinstance(row, Adequacy) and row.dates == "unverified" else row.since
    return first <= today and (row.until is None or today < row.until)


FEW = settings(max_examples=8, deadline=None)


def _least_by_brute_force(
    work: Workload, node: Node, fabric: Fabric, packs: PackSet, most: int
) -> tuple[int, set[frozenset[str]]]:
    """Ask Cedar, whole, about every set of up to `most` edits: the least size that helps, and all that help."""
    facts = facts_at(packs.facts, NOW)
    site, operator = fabric.site_of(node), fabric.operator_of(node)
    case = Case(workload=work, node=node, site=site, operator=operator, guardrails=("gdpr",))
    question = Question(workload=work, node=node, site=site, operator=operator, operators=fabric.operators, facts=facts)
    verdict = screen({work.id: work}, fabric, packs, NOW, guardrails=("gdpr",)).of(work.id, node.id)
    named = {reason.rule for reason in verdict.reasons}
    denying = tuple(rule for rule in packs.rules_of(tuple(packs.packs)) if rule.id in named)
    edits = list({edit.what: edit for edit in edits_for(case, question, denying, packs)}.values())
    sets = [some for size in range(1, most + 1) for some in combinations(edits, size)]
    pairs = []
    for some in sets:
        edited = reduce(lambda at, edit: edit.apply(at), some, case)
        rows = (*packs.facts.adequacy, *edited.decisions)
        then = facts_at(replace(packs.facts, adequacy=rows), NOW) if edited.decisions else facts
        pairs.append((
            subject_of(edited.workload, packs, then, edited.guardrails, packs.reads),
            object_of(edited.node, site, edited.operator, fabric.operators, facts=facts, reads=packs.reads),
        ))  # fmt: skip
    answers = Cedar(packs, facts).ask(pairs)
    helping = {frozenset(e.what for e in some) for some, a in zip(sets, answers, strict=True) if a.is_allowed}
    return min(map(len, helping), default=0), helping


@FEW
@given(works=workloads(), fabric=fabrics())
def test_the_nearest_change_is_least_of_all_there_are(works: Mapping[WorkloadId, Workload], fabric: Fabric) -> None:
    screening = screen(works, fabric, PACKS, NOW, guardrails=("gdpr",))
    work = min(works.values(), key=lambda w: w.id)
    denied = [n for n in fabric.nodes.values() if not screening.allows(work.id, n.id)]
    least: dict[str, int] = {}
    for node in denied[:2]:
        told = screening.changes_on(work.id, node.id)
        most = max((len(change.by) for change in told), default=EDITS_MAX)
        size, helping = _least_by_brute_force(work, node, fabric, PACKS, most)
        assert [len(change.by) for change in told] == sorted(len(change.by) for change in told)
        assert (len(told[0].by) if told else 0) == size
        for change in told:
            whats = frozenset(_edits_of(change))
            assert whats in helping
            assert not any(smaller < whats for smaller in helping), "no edit of a reported set is idle"
        if size:
            least[node.id] = size
    told = screening.changes(work.id)
    assert not least or 0 < len(told[0].by) <= min(least.values())


def _edits_of(change: Change) -> list[str]:
    parts = change.what.split("; and ")
    bare = [re.sub(r" \((spec|fact|rule)\)$", "", part) if len(parts) > 1 else part for part in parts]
    return [bare[0][0].lower() + bare[0][1:], *bare[1:]]
