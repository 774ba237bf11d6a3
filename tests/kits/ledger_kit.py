"""Shared by the ledger's tests: signers with fixed keys, a small store, and one placement told in messages."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

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
from hanse.core.ports import Entry
from hanse.core.snapshot import Phase
from hanse.core.time import HOUR_US, MonoTime, WallTime
from hanse.core.verdict import Reason
from hanse.core.work import Kind, Route, Workload
from hanse.ledger import policy_text, show_placement, statement, tree, write_receipt
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import log_key, sign_checkpoint
from hanse.ledger.note import VerifierKey
from hanse.ledger.proof import TlogProof
from hanse.ledger.quorum import Policy, load_policy
from hanse.ledger.receipt import ProvenEntry
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order, PlanBody, Report

T = TypeVar("T")

SHARED = Path(os.environ.get("HANSE_SHARED", Path(__file__).parents[3] / "shared"))
NOW = WallTime(1_795_000_000_000_000)
ORIGIN = "hanse.example/ledger"
SITE = Site(
    id=SiteId("berlin"),
    country=CountryCode("DE"),
    place=Place(city="Berlin", latitude_deg=52.52, longitude_deg=13.4),
    grid_zone="DE",
)
INSTANCE = InstanceId("clinic.triage.0.7")


class EdSigner:
    algorithm = "ed25519"

    def __init__(self, seed: int) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self.public_key).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class PqSigner:
    algorithm = "ml-dsa-44"

    def __init__(self, seed: int) -> None:
        self._key = MLDSA44PrivateKey.from_seed_bytes(bytes([seed]) * 32)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self.public_key).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class FixedClock:
    def wall(self) -> WallTime:
        return NOW

    def monotonic(self) -> MonoTime:
        return MonoTime(0)


LOG_SIGNERS = (EdSigner(1), PqSigner(2))
CONTROLLER = EdSigner(3)
NODE = EdSigner(4)
STRANGER = EdSigner(5)
LOG_KEYS = tuple(log_key(ORIGIN, signer.algorithm, signer.public_key) for signer in LOG_SIGNERS)


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


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def policy() -> Policy:
    return load_policy(policy_bytes())


def policy_bytes(keys: Sequence[VerifierKey] = LOG_KEYS) -> bytes:
    return policy_text(keys[0], keys[1:], [CONTROLLER.public_key])


def workload() -> Workload:
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


def sealed_report(order: bytes, signer: EdSigner = NODE, **changes: Any) -> bytes:
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


def bundle(entries: Sequence[bytes], *, order: bytes | None = None, is_whole: bool = True, filler: int = 20) -> bytes:
    """A receipt of three entries in a tree that holds `filler` others around them."""
    others = [b"other %d" % at for at in range(filler)]
    leaves = [*others[: filler // 2], *entries, *others[filler // 2 :]]
    hashes = [tree.hash_leaf(leaf) for leaf in leaves]
    checkpoint = Checkpoint(origin=ORIGIN, size=len(leaves), root=tree.root_of(hashes))
    note = sign_checkpoint(checkpoint, LOG_SIGNERS, NOW)
    read = tree.reader_of(hashes)
    proven = [
        ProvenEntry(
            entry=leaves[index],
            proof=TlogProof(index=index, hashes=tree.inclusion_proof(read, index, len(leaves)), checkpoint=note),
        )
        for index in range(filler // 2, filler // 2 + 3)
    ]
    return write_receipt(
        *proven,
        sealed_order=(sealed_order() if order is None else order) if is_whole else None,
        placement=show_placement(plan(), INSTANCE) if is_whole else None,
    )


@functools.cache
def sample() -> bytes:
    """A complete, true receipt; the same bytes at each call (ML-DSA signatures are randomised)."""
    return bundle(story())
