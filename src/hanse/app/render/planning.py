"""Answers about plans as text: what would change, an exit, money against carbon, what still fits, why not there.

`views -> text`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from hanse.app.render import quantities as q
from hanse.app.render.explanation import reason_lines, refusal
from hanse.app.render.style import BAD, FAINT, GOOD, WARN, heading, line, stack, table
from hanse.app.render.submission import nodes_difference
from hanse.control.planning import ChangeView, ExitView, FrontierAnswer, PlanAnswer, ShiftView
from hanse.core.units import format_resource
from hanse.placement import Capacity, Free, Headroom, WhyNot

PLOT_COLUMNS, PLOT_ROWS = 60, 14


def preview(of: PlanAnswer) -> Group:
    """What would change and why; totals before and after; how far from the optimum that can be."""
    parts: list[RenderableType] = []
    if of.changes:
        parts += [_changes(of.changes), Text()]
    else:
        parts.append(Text("nothing would change", style=GOOD))
    parts.append(Text(f"{q.plural(of.unchanged, 'workload')} as they are", style=FAINT))
    parts.append(
        line(
            f"all together: {_step(q.euros(of.money_microeur_month_before), q.euros(of.money_microeur_month_after))} "
            f"and {_step(q.carbon(of.carbon_ug_month_before), q.carbon(of.carbon_ug_month_after))} CO2e a month"
        )
    )
    gap = of.gap_permille
    if gap is not None:
        said = f"at most {gap / 10:.1f} % above the best legal plan there is, known after {q.latency(of.solved_us)}"
        parts.append(line(Text(said, style=FAINT)))
    for one in of.displaced:
        to = "nowhere" if one.to is None else one.to
        told = f"{one.workload} (priority {one.priority}) gives way on {one.node} to {one.by} "
        parts.append(line(Text(f"{told}(priority {one.by_priority}) -> {to}: {one.loses}", style=WARN)))
    for entry in of.unplaced:
        parts.append(refusal(entry, with_head=True))
    return stack(*parts)


def leaving(of: ExitView) -> Group:
    """The rehearsed exit."""
    head = f"without {', '.join(of.without)}: {q.plural(len(of.nodes), 'node')} gone"
    parts: list[RenderableType] = [heading(head), line(Text(", ".join(of.nodes), style=FAINT), indent=2), Text()]
    if of.changes:
        parts += [_changes(of.changes), Text()]
    parts.append(
        line(
            f"{q.plural(of.moves, 'replica')} start elsewhere, {q.size(of.bytes_to_fetch)} to fetch, "
            f"all serve again after about {q.latency(of.duration_us)}"
        )
    )
    money, carbon = of.money_microeur_month, of.carbon_ug_month
    parts.append(line(f"{_signed(money, q.euros)} and {_signed(carbon, q.carbon)} CO2e a month"))
    if not of.homeless:
        parts.append(Text("everything keeps a legal home", style=GOOD))
    for one in of.homeless:
        why = (
            "legal places are left, but full, too far or too dear"
            if one.is_legal_anywhere
            else "no legal place is left"
        )
        parts += [Text(), Text(f"{one.workload}: {q.plural(one.missing, 'replica')} without a home: {why}", style=BAD)]
        parts.append(refusal(one.entry))
    return stack(*parts)


def frontier(of: FrontierAnswer) -> Group:
    """The table, then the plot."""
    right = ("EUR/t", "COST/MONTH", "CO2e/MONTH", "MOVES")
    made = table(*right, "", right=right)
    for point in of.points:
        made.add_row(
            str(point.carbon_price_eur_per_t),
            q.euros(point.money_microeur_month),
            q.carbon(point.carbon_ug_month),
            str(point.moves),
            f"{q.plural(point.missing, 'replica')} missing" if point.missing else "",
        )
    now = f"in force: {q.euros(of.money_microeur_month)} and {q.carbon(of.carbon_ug_month)} CO2e a month"
    return stack(made, Text(), Text(plot(of)), Text(now, style=FAINT))


def plot(of: FrontierAnswer) -> str:
    """Money to the right, carbon upwards; ``o`` a plan of the frontier, ``x`` the plan in force."""
    points = [(p.money_microeur_month, p.carbon_ug_month, "o") for p in of.points]
    points.append((of.money_microeur_month, of.carbon_ug_month, "x"))
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    cells = [[" "] * PLOT_COLUMNS for _ in range(PLOT_ROWS)]
    for money, carbon, mark in points:
        column = (money - left) * (PLOT_COLUMNS - 1) // max(right - left, 1)
        row = (high - carbon) * (PLOT_ROWS - 1) // max(high - low, 1)
        cells[row][column] = mark
    labels = [q.carbon(high), *[""] * (PLOT_ROWS - 2), q.carbon(low)]
    width = max(len(label) for label in labels)
    rows = [f"{label:>{width}} |{''.join(cells[i]).rstrip()}" for i, label in enumerate(labels)]
    foot = f"{q.euros(left)}{q.euros(right):>{PLOT_COLUMNS - len(q.euros(left))}}"
    return "\n".join([*rows, " " * width + " +" + "-" * PLOT_COLUMNS, " " * (width + 2) + foot])


def svg(of: FrontierAnswer) -> str:
    """The same plot as a file that a browser shows."""
    points = [(p.money_microeur_month, p.carbon_ug_month) for p in of.points]
    every = [*points, (of.money_microeur_month, of.carbon_ug_month)]
    left, right = min(p[0] for p in every), max(p[0] for p in every)
    low, high = min(p[1] for p in every), max(p[1] for p in every)

    def at(point: tuple[int, int]) -> tuple[int, int]:
        x = 90 + (point[0] - left) * 500 // max(right - left, 1)
        y = 40 + (high - point[1]) * 300 // max(high - low, 1)
        return x, y

    path = " ".join(f"{x},{y}" for x, y in map(at, points))
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="4" fill="#0b6"><title>{p.carbon_price_eur_per_t} EUR/t</title></circle>'
        for p, (x, y) in zip(of.points, map(at, points), strict=True)
    )
    x, y = at(every[-1])
    now = f'<path d="M{x - 5} {y - 5}l10 10m0 -10l-10 10" stroke="#c30" stroke-width="2"><title>in force</title></path>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 420" font-family="sans-serif" font-size="12">'
        '<rect width="640" height="420" fill="white"/>'
        '<path d="M90 40V340H590" fill="none" stroke="#333"/>'
        f'<polyline points="{path}" fill="none" stroke="#0b6" stroke-dasharray="3"/>{dots}{now}'
        f'<text x="84" y="44" text-anchor="end">{q.carbon(high)}</text>'
        f'<text x="84" y="344" text-anchor="end">{q.carbon(low)}</text>'
        f'<text x="90" y="360">{q.euros(left)}</text><text x="590" y="360" text-anchor="end">{q.euros(right)}</text>'
        '<text x="340" y="385" text-anchor="middle">cost per month</text>'
        '<text x="340" y="405" text-anchor="middle" fill="#666">dots: plans that no other found beats in both; '
        "cross: the plan in force</text>"
        '<text x="20" y="190" transform="rotate(-90 20 190)" text-anchor="middle">CO2e per month</text></svg>\n'
    )


def shifts(of: Sequence[ShiftView]) -> Group:
    """Per node: when, how clean, and why."""
    made = table("NODE", "ZONE", "WHEN (UTC)", "g/kWh", "AT ONCE", "SAVED", "WHY", right=("g/kWh", "AT ONCE", "SAVED"))
    for one in of:
        when = ", ".join(f"{q.moment(start)[:-3]} to {q.moment(end)[6:-3]}" for start, end in one.runs)
        saved = f"{one.saved_permille / 10:.1f} %"
        made.add_row(one.node, one.zone, when, str(one.g_per_kwh), str(one.g_per_kwh_now), saved, one.why)
    return stack(made if of else Text("no node that may take it has a forecast that reaches so far"))


def capacity(of: Capacity) -> Group:
    """What is free per resource, and how many more of each workload."""
    free = table("RESOURCE", "FREE", "OF", "LARGEST PIECE", "ON", right=("FREE", "OF", "LARGEST PIECE"))
    for one in of.free:
        free.add_row(
            one.resource, *(_resource(one, n) for n in (one.free, one.total, one.largest)), one.node or q.NOTHING
        )
    more = table("WORKLOAD", "MORE REPLICAS", "RUNS OUT FIRST", "MOST ON", "RULED OUT", right=("MORE REPLICAS",))
    for found in of.headrooms:
        more.add_row(
            found.workload,
            str(found.replicas),
            found.scarce or q.NOTHING,
            found.largest or q.NOTHING,
            _ruled_out(found),
        )
    return stack(free, Text(), more)


def why_not(of: WhyNot) -> Group:
    """Every limit in the way, nearest first."""
    if of.is_there:
        return stack(Text(f"{of.workload} is on node {of.node}: nothing is in the way", style=GOOD))
    parts: list[RenderableType] = [heading(f"Between {of.workload} and node {of.node}, nearest first")]
    for number, obstacle in enumerate(of.obstacles, 1):
        parts.append(line(Text(f"{number}. {obstacle.limit}", style="bold"), indent=2))
        parts.extend(reason_lines(obstacle.reasons, indent=5))
        for change in obstacle.changes:
            parts.append(line(Text(f"-> {change.what}", style=GOOD), indent=5))
    return stack(*parts)


def _changes(of: Sequence[ChangeView]) -> RenderableType:
    made = table("WORKLOAD", "ACTION", "NODES", "COST/MONTH", "CO2e/MONTH", "LATENCY", "WHY", fold=("WHY",))
    for one in of:
        made.add_row(
            one.workload,
            one.action,
            nodes_difference((*one.kept, *one.removed), (*one.kept, *one.added)),
            _step(q.euros(one.money_microeur_month_before), q.euros(one.money_microeur_month_after)),
            _step(q.carbon(one.carbon_ug_month_before), q.carbon(one.carbon_ug_month_after)),
            _step(q.latency(one.latency_us_before), q.latency(one.latency_us_after)),
            "; ".join(one.why),
        )
    return made


def _step(was: str, will: str) -> str:
    return will if was == will else f"{was} -> {will}"


def _signed(value: int, spell: Callable[[int], str]) -> str:
    return f"{'+' if value >= 0 else '-'}{spell(abs(value))}"


def _resource(of: Free, amount: int) -> str:
    return f"{amount / 1_000:g} GPU" if of.resource == "gpu" else format_resource(of.resource, amount)


def _ruled_out(of: Headroom) -> str:
    return ", ".join(f"{limit} {count}" for limit, count in of.nodes_by_limit.items()) or q.NOTHING
