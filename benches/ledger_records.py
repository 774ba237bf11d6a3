"""One placement told in messages, a store in a dict, signers from seeds: what the ledger's benchmark and tests share.

`seed -> signer`, `nothing -> plan, order, report -> entries`. No measurement and no test stands here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from hanse.core.errors import ConflictError
from hanse.core.fabric import Operator, Resources, Site
from hanse.core.geo import Place
from hanse.core.ids import (
    CountryCode,
    Digest,
    InstanceId,
    NodeId,
    OperatorId,
    PlanId,
    SiteId,
    instance_id,
    workload_id,
)
from hanse.core.plan import Assignment, Candidate, Explanation, Plan, Score
from hanse.core.ports import Entry, Signer
from hanse.core.snapshot import Phase
from hanse.core.time import HOUR_US, MonoTime, WallTime
from hanse.core.verdict import Reason
from hanse.core.work import Kind, Route, Workload
from hanse.ledger import statement
from hanse.twin.ports.signer import MemorySigner, ed25519, ml_dsa_44
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order, PlanBody, Report

NOW = WallTime(1_795_000_000_000_000)
ORIGIN = "hanse.example/ledger"
SITE = Site(
    id=SiteId("berlin"),
    country=CountryCode("DE"),
    place=Place(city="Berlin", latitude_deg=52.52, longitude_deg=13.4),
    grid_zone="DE",
)
INSTANCE = InstanceId("clinic.triage.0.7")


def ed_signer(seed: int) -> MemorySigner:
    """An Ed25519 signer, the same for the same seed."""
    return ed25519(bytes([seed]) * 32)


def pq_signer(seed: int) -> MemorySigner:
    """An ML-DSA-44 signer, likewise."""
    return ml_dsa_44(bytes([seed]) * 32)


LOG_SIGNERS: tuple[Signer, ...] = (ed_signer(1), pq_signer(2))
CONTROLLER = ed_signer(3)
NODE = ed_signer(4)


class FixedClock:
    """A clock that stands."""

    def wall(self) -> WallTime:
        return NOW

    def monotonic(self) -> MonoTime:
        return MonoTime(0)


class DictStore:
    """The Store contract over a dict: revisions grow, puts compare and swap."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.revision = 0

    async def get(self, bucket: str, key: str) -> Entry | None:
        row = self.rows.get((bucket, key))
        return None if row is None else Entry(bucket=bucket, key=key, value=row[0], revision=row[1])

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        present = self.rows.get((bucket, key), (b"", 0))[1]
        if expected is not None and present != expected:
            raise ConflictError(f"{key} is at {present}, not {expected}")
        self.revision += 1
        self.rows[bucket, key] = (value, self.revision)
        return self.revision

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        present = self.rows.get((bucket, key), (b"", 0))[1]
        if expected is not None and present != expected:
            raise ConflictError(f"{key} is at {present}, not {expected}")
        self.rows.pop((bucket, key), None)

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        return [
            Entry(bucket=b, key=key, value=value, revision=revision)
            for (b, key), (value, revision) in sorted(self.rows.items())
            if b == bucket and (prefix in {"", key} or key.startswith(prefix + "."))
        ]

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry | None]:
        raise NotImplementedError


def workload() -> Workload:
    """The workload that is placed."""
    return Workload(
        id=workload_id("clinic", "triage"),
        kind=Kind.FUNCTION,
        namespace="clinic",
        name="triage",
        artifact=Digest("sha256:" + "ab" * 32),
        artifact_bytes=1_000_000,
        route=Route(path="/triage"),
        resources=Resources(cpu_milli=100, memory_bytes=64 << 20),
        env={"MODE": "night"},
    )


def plan(replicas: int = 3) -> Plan:
    """The plan that places it."""
    spec = workload()
    nodes = [NodeId(f"berlin-{at}") for at in range(replicas)]
    reason = Reason(
        rule="gdpr.location", cite="GDPR Art. 44", message="health data of EEA subjects stays in the EEA here"
    )
    score = Score(
        money_microeur=1, carbon_microeur=2, carbon_ug=3, latency_microeur=0, latency_us=9_000, moving_microeur=0
    )
    return Plan(
        id=PlanId("plan-7"),
        parent=PlanId("plan-6"),
        generation=7,
        created_us=WallTime(NOW - 60_000_000),
        inputs={"policies": "sha256:" + "01" * 32, "facts": "sha256:" + "02" * 32},
        assignments=tuple(
            Assignment(instance=instance_id(spec.id, at, 7), workload=spec.id, ordinal=at, node=node, spec_generation=1)
            for at, node in enumerate(nodes)
        ),
        unplaced=(),
        explanations={
            spec.id: Explanation(
                workload=spec.id,
                replicas_wanted=replicas,
                replicas_why="99.95 % from nodes that fail 5 h a month",
                candidates=tuple(
                    Candidate(node=node, is_feasible=True, limit="", reasons=(reason,), score=score, is_chosen=True)
                    for node in nodes
                ),
            )
        },
        objective_microeur=9,
        bound_microeur=9,
        trigger="operator nimbus came under US control",
    )


def sealed_order(**changes: Any) -> bytes:
    """The order to run its first replica, with other fields where given."""
    fields: dict[str, Any] = {
        "node": NodeId("berlin-0"),
        "instance": INSTANCE,
        "generation": 1,
        "wanted": True,
        "workload": workload(),
        "site": SITE,
        "operators": (Operator(id=OperatorId("hansecloud"), name="Hansecloud eG", seat=CountryCode("DE")),),
        "ordinal": 0,
        "plan": PlanId("plan-7"),
        "reason": "placed by plan-7",
        "issued_us": WallTime(NOW - 50_000_000),
        "expires_us": WallTime(NOW + 24 * HOUR_US),
    }
    return envelope.seal(Order(**{**fields, **changes}), CONTROLLER)


def sealed_report(order: bytes, signer: Signer = NODE, **changes: Any) -> bytes:
    """The node's report on an order, with other fields where given."""
    fields: dict[str, Any] = {
        "node": NodeId("berlin-0"),
        "instance": INSTANCE,
        "workload": workload().id,
        "generation": 1,
        "order_digest": canonical.digest_bytes(order),
        "phase": Phase.RUNNING,
        "since_us": WallTime(NOW - 40_000_000),
        "artifact": workload().artifact,
    }
    return envelope.seal(Report(**{**fields, **changes}), signer)


def story(order: bytes | None = None, report: bytes | None = None) -> tuple[bytes, bytes, bytes]:
    """The three entries of one placement."""
    order = sealed_order() if order is None else order
    report = sealed_report(order) if report is None else report
    body = canonical.digest_of(PlanBody(plan=plan()))
    return (
        statement.decision(plan(), body, CONTROLLER),
        statement.order(order, CONTROLLER),
        statement.receipt(report, NODE.public_key, CONTROLLER),
    )
