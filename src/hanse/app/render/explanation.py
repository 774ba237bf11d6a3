"""Why work is where it is, or nowhere.

Candidates, what decided, rules with citations, facts with grades, the nearest change.

`Explanation, Unplaced, changes -> text`. It shows what the planner and the policy said and decides nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render.style import BAD, CHOSEN, FAINT, FEASIBLE, GOOD, RULED_OUT, heading, line, stack, table
from hanse.control.views import ExplainView, NodeView, RoundTripView, VerdictView
from hanse.core.plan import Candidate, Explanation, Score, Unplaced
from hanse.core.time import WallTime, to_datetime
from hanse.core.verdict import Change, FactRead, Reason

GRADES = ("claimed", "signed", "certified", "measured", "attested")
_WHO = {
    "spec": "the workload's owner may change it",
    "fact": "the operator's to change",
    "rule": "the domain's to change",
}


def verdict(view: VerdictView) -> Group:
    """The answer to `hanse explain --node`: yes or no, by which rules, on which facts, and what would turn it."""
    word = Text("allowed", style=GOOD) if view.is_allowed else Text("denied", style=BAD)
    day = to_datetime(WallTime(view.asked_us)).date()
    again = None
    if view.valid_until_us is not None:
        again = Text(
            f"a fact read here is dated: asked again on {to_datetime(WallTime(view.valid_until_us)).date()}",
            style=FAINT,
        )
    return stack(
        Text.assemble((view.workload, "bold"), " on ", (view.node, "bold"), ": ", word),
        Text(),
        *reason_lines(view.reasons, indent=2, today=day),
        again,
        _in_the_plan(view.candidate),
        changes(view.changes, "What would allow it"),
    )


def _in_the_plan(candidate: Candidate | None) -> RenderableType | None:
    if candidate is None:
        return None
    said = (
        "chosen" if candidate.is_chosen else "feasible" if candidate.is_feasible else f"ruled out by {candidate.limit}"
    )
    return Text(f"in the committed plan: {said}", style=FAINT)


def explain(view: ExplainView, nodes: Sequence[NodeView]) -> Group:
    """The whole answer to `hanse explain`."""
    apart = "" if view.isolation == "shared" else f"   isolation {view.isolation}"
    head = Text.assemble((view.workload, "bold"), (f"   plan {view.plan or 'none yet'}", FAINT), apart)
    because = Text(f"because of: {view.trigger}", style=FAINT) if view.trigger else None
    if view.explanation is None and view.unplaced is None:
        return stack(head, Text("no plan speaks of it yet"))
    return stack(
        head,
        because,
        None if view.explanation is None else explanation(view.explanation, nodes),
        _demand(view),
        _round_trips(view.round_trips),
        None if view.unplaced is None else refusal(view.unplaced, with_head=True),
        None if view.unplaced is not None else changes(view.changes),
    )


_SOURCES = {
    "stated": "as measured; placement goes by what its owner states",
    "measured": "measured, and placement goes by it",
    "unmeasured": "to be measured; placement goes by what its owner states until enough is",
}


def _demand(view: ExplainView) -> RenderableType | None:
    if not view.demand and view.demand_source == "stated":
        return None
    lines = []
    for one in view.demand:
        stands = f"{q.rate(one.rate_milli)} for {q.age(one.age_us)}, " if one.rate_milli else ""
        lines.append(line(Text(f"{one.site}: {stands}{q.rate(one.measured_milli)} now"), indent=2))
    return stack(Text(), heading(f"Demand ({_SOURCES[view.demand_source]})"), *lines)


def _round_trips(trips: Sequence[RoundTripView]) -> RenderableType | None:
    if not trips:
        return None
    lines = [
        line(
            Text(
                f"{one.origin} to {one.site}: {q.latency(one.rtt_us)}, {'measured' if one.is_measured else 'modelled'}"
            ),
            indent=2,
        )
        for one in trips
    ]
    return stack(Text(), heading("Round trips"), *lines)


def explanation(of: Explanation, nodes: Sequence[NodeView]) -> Group:
    """One row per candidate, then why each of the others was ruled out."""
    candidates = of.candidates
    wanted = Text(f"{q.plural(of.replicas_wanted, 'replica')} wanted: {of.replicas_why}")
    return stack(wanted, Text(), candidate_table(candidates, nodes), why_allowed(candidates), why_not(candidates))


def candidate_table(candidates: Iterable[Candidate], nodes: Sequence[NodeView]) -> Table:
    """Chosen ones first, then feasible ones by score, then those ruled out; each group in the order of (score, id)."""
    known = {view.id: view for view in nodes}
    shown = sorted(candidates, key=_rank)
    scores = [one.score for one in shown if one.score is not None]
    extra = [
        (head, spell)
        for head, spell in (("LATE EUR", _late), ("MOVING EUR", _moving))
        if any(spell(score) for score in scores)
    ]
    heads = ("EUR/MONTH", "CO2e/MONTH", "AS EUR", *(head for head, _ in extra), "LATENCY", "SCORE")
    made = table("", "NODE", "PLACE", "OPERATOR", "DECIDED BY", *heads, right=heads, fold=("DECIDED BY",))
    for candidate in shown:
        made.add_row(*_who_and_what(candidate, known), *_figures(candidate.score, [spell for _, spell in extra]))
    return made


def why_not(candidates: Iterable[Candidate]) -> RenderableType | None:
    """For each node ruled out: the rule or limit, its citation, and the facts it read."""
    ruled_out = [c for c in candidates if not c.is_feasible]
    if not ruled_out:
        return None
    parts: list[RenderableType] = [Text(), heading("Ruled out")]
    for reason_set, names in _alike(ruled_out):
        parts.append(line(Text(", ".join(names), style="bold"), indent=2))
        parts.extend(reason_lines(reason_set, indent=4))
    return stack(*parts)


def why_allowed(candidates: Iterable[Candidate]) -> RenderableType | None:
    """The rules that permit the chosen nodes, and the facts they rest on."""
    grounds = _alike([c for c in candidates if c.is_chosen and c.reasons])
    if not grounds:
        return None
    parts: list[RenderableType] = [Text(), heading("Chosen, permitted by")]
    for reason_set, names in grounds:
        for reason in reason_set:
            source = f"rule {reason.rule}" + (f" ({reason.cite})" if reason.cite else "")
            parts.append(line(Text.assemble((", ".join(names), "bold"), f": {source}"), indent=2))
            if reason.facts:
                facts = "; ".join(f"{f.subject} = {f.value} [grade {f.grade}]" for f in reason.facts)
                parts.append(line(Text(f"on {facts}", style=FAINT), indent=4))
    return stack(*parts)


def refusal(of: Unplaced, *, with_head: bool = False) -> Group:
    """Why replicas have no place, and the nearest changes that would give them one."""
    head = Text(f"{q.plural(of.missing, 'replica')} of {of.workload} have no place", style=BAD)
    return stack(
        Text() if with_head else None,
        head if with_head else None,
        *reason_lines(of.reasons, indent=2),
        changes(of.changes),
    )


def reason_lines(reasons: Iterable[Reason], *, indent: int, today: datetime.date | None = None) -> list[RenderableType]:
    """A sentence, then the rule and the law or contract it comes from, then the facts it read (how old on `today`)."""
    lines: list[RenderableType] = []
    for reason in reasons:
        lines.append(line(reason.message, indent=indent))
        source = f"rule {reason.rule}" + (f" ({reason.cite})" if reason.cite else "")
        lines.append(line(Text(source, style=FAINT), indent=indent + 2))
        lines.extend(line(Text(fact_text(fact, today), style=FAINT), indent=indent + 2) for fact in reason.facts)
    return lines


def fact_text(fact: FactRead, today: datetime.date | None = None) -> str:
    """``read operator/nimbus.control = US; grade 1, signed; stated 2026-08-05, 108 days ago; until 2027-01-01``."""
    grade = GRADES[fact.grade] if 0 <= fact.grade < len(GRADES) else "unknown"
    until = "" if fact.until is None else f"; until {fact.until}"
    return f"read {fact.subject} = {fact.value}; grade {fact.grade}, {grade}{_age(fact, today)}{until}"


def _age(fact: FactRead, today: datetime.date | None) -> str:
    if fact.as_of is None:
        return ""
    if today is None:
        return f"; stated {fact.as_of}"
    days = (today - datetime.date.fromisoformat(fact.as_of)).days
    return f"; stated {fact.as_of}, {'today' if days == 0 else q.plural(days, 'day') + ' ago'}"


def changes(of: Sequence[Change], head: str = "What would allow more") -> RenderableType | None:
    """What would turn the answer, nearest first, and whose it is to change."""
    if not of:
        return None
    parts: list[RenderableType] = [Text(), heading(head)]
    for number, change in enumerate(of, 1):
        allows = f" -> allows {', '.join(change.allows)}" if change.allows else ""
        parts.append(line(Text.assemble(f"{number}. {change.what}", (allows, GOOD)), indent=2))
        whose = f"whose to make: {', then '.join(change.by)}" if change.by else _WHO.get(change.target, "")
        parts.append(line(Text(f"{change.target}: {whose}", style=FAINT), indent=5))
    return stack(*parts)


def _rank(candidate: Candidate) -> tuple[int, int, str]:
    group = 0 if candidate.is_chosen else 1 if candidate.is_feasible else 2
    score = candidate.score.total_microeur if candidate.score is not None else 0
    return group, score, candidate.node


def _who_and_what(candidate: Candidate, known: Mapping[str, NodeView]) -> tuple[RenderableType, ...]:
    view = known.get(candidate.node)
    place = q.NOTHING if view is None else f"{view.city}, {view.country}"
    operator = q.NOTHING if view is None else view.operator
    if candidate.is_chosen:
        mark, decided = Text(CHOSEN, style=GOOD), Text("chosen", style=GOOD)
    elif candidate.is_feasible:
        mark, decided = Text(FEASIBLE), Text("feasible")
    else:
        mark = Text(RULED_OUT, style=BAD)
        rule = candidate.reasons[0].rule if candidate.reasons else ""
        decided = Text(f"{candidate.limit}: {rule}" if rule else candidate.limit, style=BAD)
    return mark, candidate.node, place, operator, decided


def _figures(score: Score | None, extra: Sequence[Callable[[Score], int]]) -> tuple[str, ...]:
    """The parts of a score; all but carbon itself and latency are euros a month and add up to the last one."""
    if score is None:
        return (q.NOTHING,) * (5 + len(extra))
    return (
        q.amount(score.money_microeur),
        q.carbon(score.carbon_ug),
        q.amount(score.carbon_microeur),
        *(q.amount(spell(score)) for spell in extra),
        q.latency(score.latency_us),
        q.amount(score.total_microeur),
    )


def _late(score: Score) -> int:
    return score.latency_microeur


def _moving(score: Score) -> int:
    return score.moving_microeur


def _alike(candidates: Sequence[Candidate]) -> list[tuple[tuple[Reason, ...], list[str]]]:
    """Candidates that were judged in the same words, together; in the order of their first node."""
    groups: list[tuple[tuple[Reason, ...], list[str]]] = []
    for candidate in sorted(candidates, key=lambda c: c.node):
        for reasons, names in groups:
            if reasons == candidate.reasons:
                names.append(candidate.node)
                break
        else:
            groups.append((candidate.reasons, [candidate.node]))
    return groups
