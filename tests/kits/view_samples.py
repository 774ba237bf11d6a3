"""Views built by hand, as the API gives them: one small fabric of three nodes."""

from __future__ import annotations

from typing import Any

from hanse.control.views import (
    ExplainView,
    InstanceView,
    NodeView,
    StatusView,
    Submission,
    WorkloadChange,
    WorkloadView,
)
from hanse.core.ids import NodeId, WorkloadId
from hanse.core.plan import Candidate, Explanation, Score, Unplaced
from hanse.core.verdict import Change, FactRead, Reason

TRIAGE = WorkloadId("clinic.triage")


def node(name: str, **changes: Any) -> NodeView:
    values: dict[str, Any] = {
        "id": name, "site": "frankfurt", "city": "Frankfurt", "country": "DE", "operator": "hansa", "tier": "core",
        "reach": "ready", "silence_us": 400_000, "front": "127.0.0.1:8080", "mesh": "127.0.0.1:8443", "incarnation": 1,
        "cpu_milli": 16_000, "cpu_milli_used": 100, "memory_bytes": 64 * 2**30, "memory_bytes_used": 64 * 2**20,
        "rss_bytes": 80 * 2**20, "power_mw": 110_000, "is_power_modelled": True, "workloads": ("clinic.triage",),
        "latitude_deg": 50.11, "longitude_deg": 8.68, "grid_zone": "DE", "intensity_g_per_kwh": 481,
    }  # fmt: skip
    return NodeView(**{**values, **changes})


NODES = (
    node("fra-1"),
    node("sto-1", site="stockholm", city="Stockholm", country="SE", operator="helvetia", tier="regional",
         latitude_deg=59.33, longitude_deg=18.07, grid_zone="SE-SE3", intensity_g_per_kwh=23),
    node("dub-1", site="dublin", city="Dublin", country="IE", operator="nimbus", tier="regional", reach="unreachable",
         silence_us=7_000_000, workloads=(), latitude_deg=53.35, longitude_deg=-6.26, grid_zone="IE",
         intensity_g_per_kwh=None),
)  # fmt: skip


def instance(name: str, where: str, **changes: Any) -> InstanceView:
    values: dict[str, Any] = {
        "id": name, "workload": "clinic.triage", "node": where, "ordinal": int(name.split(".")[2]),
        "spec_generation": 1, "wanted": True, "phase": "running", "since_us": 1_795_270_277_000_000, "code": "",
        "reason": "", "order_reason": "plan p2 holds it", "order_generation": 1,
        "order_expires_us": 1_795_356_677_000_000, "plan": "p2",
    }  # fmt: skip
    return InstanceView(**{**values, **changes})


def workload(**changes: Any) -> WorkloadView:
    values: dict[str, Any] = {
        "id": "clinic.triage", "kind": "Function", "namespace": "clinic", "name": "triage", "path": "/triage",
        "host": None, "generation": 1, "artifact": "sha256:" + "0" * 64, "status": "running", "running": 2,
        "wanted": 2, "nodes": ("fra-1", "sto-1"), "money_microeur_month": 4_680_000,
        "carbon_ug_month": 654_000_000, "latency_us": 18_000,
    }  # fmt: skip
    return WorkloadView(**{**values, **changes})


def score(money: int, carbon: int, carbon_ug: int, latency_us: int, moving: int = 0) -> Score:
    return Score(
        money_microeur=money, carbon_microeur=carbon, carbon_ug=carbon_ug, latency_microeur=0,
        latency_us=latency_us, moving_microeur=moving,
    )  # fmt: skip


PERMITTED = Reason(
    rule="base.place",
    cite="hanse: deny by default",
    message="clinic.triage may run here",
    facts=(FactRead(subject="site/frankfurt.country", value="DE", grade=2),),
)
EXCLUDED = Reason(
    rule="control.excluded-operator",
    cite="spec: sovereignty.control.exclude",
    message="the law of US reaches nimbus, which runs dub-1, wherever the machine stands",
    facts=(FactRead(subject="operator/nimbus.control", value="IE, US", grade=2, until="2027-01-01"),),
)
GIVE_UP = Change(what="Have Nimbus Inc (US) give up control of nimbus", target="fact", allows=(NodeId("dub-1"),))

EXPLANATION = Explanation(
    workload=TRIAGE,
    replicas_wanted=2,
    replicas_why="2 replicas on different sites give 99.9933% and 99.95% is asked",
    candidates=(
        Candidate(node=NodeId("dub-1"), is_feasible=False, limit="policy", reasons=(EXCLUDED,), score=None,
                  is_chosen=False),
        Candidate(node=NodeId("fra-1"), is_feasible=True, limit="", reasons=(PERMITTED,),
                  score=score(2_460_000, 40_000, 631_000_000, 6_500), is_chosen=True),
        Candidate(node=NodeId("sto-1"), is_feasible=True, limit="", reasons=(PERMITTED,),
                  score=score(2_220_000, 1_300, 22_000_000, 18_000), is_chosen=False),
    ),
)  # fmt: skip

UNPLACED = Unplaced(workload=TRIAGE, missing=1, reasons=(EXCLUDED,), changes=(GIVE_UP,))

EXPLAIN = ExplainView(
    workload=TRIAGE, plan="p2", plan_generation=2, trigger="submitted by admin", explanation=EXPLANATION,
    unplaced=None, changes=(),
)  # fmt: skip

ACCEPTED = Submission(
    is_accepted=True,
    is_dry_run=False,
    changes=(
        WorkloadChange(
            document="Function clinic.triage", action="update", before=("dub-1", "fra-1"), after=("fra-1", "sto-1"),
            money_microeur_month_before=4_000_000, money_microeur_month_after=4_680_000,
            carbon_ug_month_before=900_000_000, carbon_ug_month_after=654_000_000, latency_us_after=18_000,
        ),
    ),
)  # fmt: skip

REFUSED = Submission(
    is_accepted=False,
    is_dry_run=False,
    changes=(WorkloadChange(document="Function clinic.triage", action="refuse", unplaced=UNPLACED),),
)

STATUS = StatusView(
    domain="europe.hanse", version="0.1.0", controller="controller-1", leader="controller-1", leader_api="", term=1,
    is_leader=True, is_caught_up=True, is_connected=True, plan="p2", plan_generation=2, nodes_ready=2, nodes=3,
    workloads=1, workloads_running=1, holds=("clinic.triage: one step at a time",), rejected={}, ledger_size=25,
)  # fmt: skip
