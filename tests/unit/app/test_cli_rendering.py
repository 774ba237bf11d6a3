"""What people read: whole answers, from views built by hand. A change of wording shows here first."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from view_samples import ACCEPTED, EXPLAIN, EXPLANATION, NODES, REFUSED, STATUS, instance, node, workload

from hanse.app.render import details, ledger, tables
from hanse.app.render import quantities as q
from hanse.app.render.explanation import explain
from hanse.app.render.fabric_map import HEIGHT, WIDTH, fabric_map
from hanse.app.render.failure import failure
from hanse.app.render.overview import overview
from hanse.app.render.submission import submission
from hanse.control.views import RoundTripView, SiteView, TopRow
from hanse.core.errors import HanseError
from hanse.core.ports import WorkerProcess


def text_of(renderable: RenderableType, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False).print(renderable)
    return "\n".join(row.rstrip() for row in out.getvalue().splitlines())


EXPLAINED = """\
clinic.triage   plan p2
because of: submitted by admin
2 replicas wanted: 2 replicas on different sites give 99.9933% and 99.95% is asked

   NODE   PLACE          OPERATOR  DECIDED BY                         EUR/MONTH  CO2e/MONTH  AS EUR  LATENCY  SCORE
●  fra-1  Frankfurt, DE  hansa     chosen                                  2.46       631 g    0.04    6.5ms   2.50
○  sto-1  Stockholm, SE  helvetia  feasible                                2.22        22 g  0.0013   18.0ms   2.22
✕  dub-1  Dublin, IE     nimbus    policy: control.excluded-operator          -           -       -        -      -

Chosen, permitted by
  fra-1: rule base.place (hanse: deny by default)
    on site/frankfurt.country = DE [grade 2]

Ruled out
  dub-1
    the law of US reaches nimbus, which runs dub-1, wherever the machine stands
      rule control.excluded-operator (spec: sovereignty.control.exclude)
      read operator/nimbus.control = IE, US; grade 2, certified; until 2027-01-01"""

ROUND_TRIPS = """\

Round trips
  Paris to frankfurt: 41.0ms, measured
  Paris to stockholm: 15.9ms, modelled"""

REFUSAL = """\
DOCUMENT                ACTION  NODES  COST/MONTH  CO2e/MONTH  LATENCY
Function clinic.triage  refuse  -      -           -           -

Function clinic.triage may run nowhere
  the law of US reaches nimbus, which runs dub-1, wherever the machine stands
    rule control.excluded-operator (spec: sovereignty.control.exclude)
    read operator/nimbus.control = IE, US; grade 2, certified; until 2027-01-01

What would allow more
  1. Have Nimbus Inc (US) give up control of nimbus -> allows dub-1
     fact: the operator's to change"""

DIFFERENCE = """\
DOCUMENT                ACTION  NODES                COST/MONTH            CO2e/MONTH      LATENCY
Function clinic.triage  update  fra-1 -dub-1 +sto-1  4.00 EUR -> 4.68 EUR  900 g -> 654 g  18.0ms"""

FAILURE = """\
error: a.yaml:3:5: spec.sead: unknown field
      did you mean `seat`?
  problems: 2
  hint: correct the problems named above and try again
  code: manifest.invalid"""


def test_an_explanation_reads_from_top_to_bottom() -> None:
    assert text_of(explain(EXPLAIN, NODES)) == EXPLAINED


def test_an_explanation_says_which_round_trips_were_measured() -> None:
    trips = (
        RoundTripView(origin="Paris", site="frankfurt", rtt_us=41_000, is_measured=True),
        RoundTripView(origin="Paris", site="stockholm", rtt_us=15_900, is_measured=False),
    )
    assert text_of(explain(replace(EXPLAIN, round_trips=trips), NODES)) == f"{EXPLAINED}\n{ROUND_TRIPS}"


def test_sites_show_what_was_measured_once_anything_was() -> None:
    plain = SiteView(
        id="frankfurt", city="Frankfurt", country="DE", latitude_deg=50.11, longitude_deg=8.68, grid_zone="DE",
        nodes=("fra-1",),
    )  # fmt: skip
    assert "MEASURED" not in text_of(tables.sites([plain]))
    lines = text_of(tables.sites([replace(plain, measured_us={"paris": 41_000})])).splitlines()
    assert lines[0].endswith("MEASURED TO")
    assert lines[1].endswith("fra-1  paris 41.0ms")


def test_a_refusal_names_rule_source_facts_and_the_way_out() -> None:
    assert text_of(submission(REFUSED)) == REFUSAL


def test_a_submission_shows_what_leaves_and_what_comes() -> None:
    assert text_of(submission(ACCEPTED)) == DIFFERENCE


def test_a_failure_is_one_block() -> None:
    message = "a.yaml:3:5: spec.sead: unknown field\n    did you mean `seat`?"
    hint = "correct the problems named above and try again"
    error = HanseError(message, code="manifest.invalid", hint=hint, context={"problems": 2, "files": "a.yaml"})
    assert text_of(failure(error)) == FAILURE


def test_an_overview_says_what_is_held_back() -> None:
    said = text_of(overview(STATUS, NODES, (workload(),)))
    assert "nodes      2 of 3 heard of" in said
    assert "Held back\n  clinic.triage: one step at a time" in said


def test_tables_keep_every_column_at_120() -> None:
    for made in (
        tables.nodes(NODES),
        tables.workloads((workload(),)),
        tables.instances((instance("clinic.triage.0.2", "fra-1", reason="a long reason " * 20),)),
    ):
        assert "…" not in text_of(made)


def test_who_has_a_process_of_its_own_is_shown_where_anybody_has() -> None:
    apart = {"isolation": "process-seccomp"}
    one = instance("clinic.triage.0.2", "fra-1", **apart)
    for shown in (
        text_of(tables.workloads((workload(), workload(**apart)))),
        text_of(tables.instances((one, instance("clinic.triage.1.2", "sto-1")))),
    ):
        head, *rows = shown.splitlines()
        assert "ISOLATION" in head
        assert sum("process-seccomp" in row for row in rows) == 1
        assert sum("shared" in row for row in rows) == 1
        assert "…" not in shown
    assert "ISOLATION" not in text_of(tables.workloads((workload(),)))
    assert "ISOLATION" not in text_of(tables.instances((instance("clinic.triage.0.2", "fra-1"),)))
    assert "isolation      process-seccomp" in text_of(details.instance(one))
    (head, *_) = text_of(explain(replace(EXPLAIN, isolation="process"), NODES)).splitlines()
    assert head == "clinic.triage   plan p2   isolation process"


def test_top_says_whose_process_it_is_and_which_wall_is_missing() -> None:
    def row(name: str, worker: WorkerProcess | None) -> TopRow:
        return TopRow(
            workload=name, node="fra-1", requests=1, errors=0, in_flight=0, latency_us_p50=1, latency_us_p99=1,
            forwarded=0, retried=0, cpu_us=1, peak_memory_bytes=1, worker=worker,
        )  # fmt: skip

    rows = (
        row("a.shared", None),
        row("b.apart", WorkerProcess(pid=71, landlock=6, restarts=2)),
        row("c.weaker", WorkerProcess(pid=72)),
        row("d.down", WorkerProcess(pid=0, restarts=1)),
    )
    said = text_of(tables.top(rows), width=200).splitlines()[1:]
    ends = ("shared", "71, 2 restarts", "72, no Landlock", "down, 1 restarts")
    assert [line.endswith(end) for line, end in zip(said, ends, strict=True)] == [True] * 4, said


def test_nothing_is_said_in_colour_alone() -> None:
    """Every candidate's fate stands in words, so that a pipe and a colour-blind reader lose nothing."""
    said = text_of(explain(EXPLAIN, NODES))
    for word in ("chosen", "feasible", "policy"):
        assert word in said


def test_square_brackets_in_messages_are_text() -> None:
    error = HanseError("no [bold]such[/bold] thing", code="not_found", hint="see [red]docs[/red]")
    assert "no [bold]such[/bold] thing" in text_of(failure(error))
    assert "[red]docs[/red]" in text_of(failure(error))


@given(
    latitude=st.floats(-90, 90), longitude=st.floats(-180, 180), reach=st.sampled_from(["ready", "unreachable", "odd"])
)
def test_the_map_never_fails_and_never_grows(latitude: float, longitude: float, reach: str) -> None:
    drawn = fabric_map([*NODES, node("anywhere-1", latitude_deg=latitude, longitude_deg=longitude, reach=reach)])
    rows = drawn.plain.split("\n")
    assert len(rows) == HEIGHT
    assert all(len(row) <= WIDTH for row in rows)


def test_the_map_names_its_nodes() -> None:
    drawn = fabric_map(NODES).plain
    assert all(f" {one.id}" in drawn or f"{one.id} " in drawn for one in NODES)
    assert "○" in drawn


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (q.euros(0), "0.00 EUR"),
        (q.euros(1_300), "0.0013 EUR"),
        (q.euros(12_400_000), "12.40 EUR"),
        (q.euros(1_234_567_890_000), "1,234,567.89 EUR"),
        (q.euros(None), "-"),
        (q.carbon(0), "0 g"),
        (q.carbon(1_500_000), "1.5 g"),
        (q.carbon(654_000_000), "654 g"),
        (q.carbon(3_000_000_000), "3.00 kg"),
        (q.carbon(2_500_000_000_000), "2.5 t"),
        (q.age(400_000), "now"),
        (q.age(7_000_000), "7s"),
        (q.age(3 * 3_600_000_000), "3h"),
        (q.power(110_000, is_modelled=True), "~110.0 W"),
        (q.plural(1, "replica"), "1 replica"),
        (tables.gap(105, 100), "5.0 %"),
        (tables.gap(100, 100), "0 %"),
        (tables.gap(100, None), "-"),
    ],
)
def test_quantities_read_well(said: str, expected: str) -> None:
    assert said == expected


def test_the_explanation_covers_every_candidate() -> None:
    said = text_of(explain(EXPLAIN, NODES))
    assert all(candidate.node in said for candidate in EXPLANATION.candidates)


def test_an_entry_of_the_ledger_shows_why_an_order_was_given() -> None:
    """`hanse audit show`: the rule that denies, and what turned it."""
    why = "clinic.triage.0.1 may no longer run on node par-1 (location.only: bloc/EEA: FR left); its replacement runs"
    row = {"index": 7, "kind": "OrderIssued", "subject": "order/clinic.triage.0.1", "predicate": {"reason": why}}
    assert why in " ".join(text_of(ledger.entry(row), width=400).split())
    assert why in text_of(ledger.entries([row]), width=400)
