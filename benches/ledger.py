"""Measure the ledger: durable appends, reopening, fsck, proofs and receipts. Prints one JSON line.

`python -m benches.ledger --json [--entries N] [--batch N] [--disk DIR]`. Without `--disk` the store is a dict, so the
figures are the ledger's own cost; with it they include the disk store and its fsyncs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from hanse.control.ledger_writer import LedgerWriter
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
from hanse.core.plan import Assignment, Plan
from hanse.core.ports import Entry, Store
from hanse.core.snapshot import Phase
from hanse.core.time import HOUR_US, MonoTime, WallTime
from hanse.core.work import Kind, Route, Workload
from hanse.ledger import Verified, load_policy, path_of, statement, verify_receipt
from hanse.ledger.proof import parse_proof
from hanse.wire import canonical, envelope
from hanse.wire.messages import Order, PlanBody, Report

ENTRY_BYTES = 1_024
NOW = WallTime(1_795_000_000_000_000)
VERIFICATIONS = 300


class _Signer:
    """A fresh key of either algorithm."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._key = Ed25519PrivateKey.generate() if algorithm == "ed25519" else MLDSA44PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self.public_key).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class _Clock:
    def wall(self) -> WallTime:
        return NOW

    def monotonic(self) -> MonoTime:
        return MonoTime(0)


class _Dict:
    """The Store contract over a dict: what the ledger costs without a disk."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, int]] = {}
        self.revision = 0

    async def get(self, bucket: str, key: str) -> Entry | None:
        row = self.rows.get(key)
        return None if row is None else Entry(bucket=bucket, key=key, value=row[0], revision=row[1])

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        if expected is not None and self.rows.get(key, (b"", 0))[1] != expected:
            raise ConflictError(key)
        self.revision += 1
        self.rows[key] = (value, self.revision)
        return self.revision

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        self.rows.pop(key, None)

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        keys = sorted(key for key in self.rows if key.startswith(prefix + ".") or key == prefix)
        return [Entry(bucket=bucket, key=key, value=self.rows[key][0], revision=self.rows[key][1]) for key in keys]

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry | None]:
        raise NotImplementedError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line (the default)")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--disk", type=Path, help="an empty directory for a store on disk")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(_measure(options.entries, options.batch, options.disk))))


async def _measure(count: int, batch: int, directory: Path | None) -> dict[str, int | float | str]:
    store = _store(directory)
    signers = (_Signer("ed25519"), _Signer("ml-dsa-44"))
    controller, node = _Signer("ed25519"), _Signer("ed25519")
    writer = LedgerWriter(store, signers, _Clock(), "bench.example/ledger")
    await writer.open()
    placed, plan, sealed = _placement(controller, node)
    await writer.append(placed)

    commits_us: list[int] = []
    for first in range(0, count, batch):
        entries = tuple(
            number.to_bytes(8, "big") * (ENTRY_BYTES // 8) for number in range(first, min(first + batch, count))
        )
        at = time.perf_counter_ns()
        await writer.append(entries)
        commits_us.append((time.perf_counter_ns() - at) // 1_000)
    append_s = sum(commits_us) / 1e6

    started = time.perf_counter()
    again = LedgerWriter(store, signers, _Clock(), "bench.example/ledger")
    await again.open()
    open_s = time.perf_counter() - started
    started = time.perf_counter()
    health = await again.fsck()
    fsck_s = time.perf_counter() - started
    if health.findings:
        raise SystemExit(f"the log is damaged: {health.findings[0]}")

    located = await again.locate(InstanceId("bench.work.0.1"))
    receipt = await again.receipt(located, plan=plan, sealed_order=sealed)
    proof = parse_proof(await again.proof(again.size // 2))
    policy = load_policy(again.policy_text([controller.public_key]))
    verified_us: list[int] = []
    for _ in range(VERIFICATIONS):
        at = time.perf_counter_ns()
        verdict = verify_receipt(receipt, policy, NOW)
        verified_us.append((time.perf_counter_ns() - at) // 1_000)
        if not isinstance(verdict, Verified):
            raise SystemExit(f"the receipt does not verify: {verdict[0]}")
    return {
        "bench": "ledger",
        "store": "memory" if directory is None else "disk",
        "entries": count,
        "entry_bytes": ENTRY_BYTES,
        "batch": batch,
        "appends_per_s": round(count / append_s),
        "commit_us_p50": round(statistics.median(commits_us)),
        "commit_us_p99": sorted(commits_us)[len(commits_us) * 99 // 100],
        "open_s": round(open_s, 3),
        "fsck_s": round(fsck_s, 3),
        "checkpoint_bytes": len(again.checkpoint()),
        "proof_bytes": len(proof.encode()) - len(proof.checkpoint),
        "proof_hash_bytes": 32 * len(proof.hashes),
        "receipt_bytes": len(receipt),
        "receipt_verify_us_p50": round(statistics.median(verified_us)),
        "receipt_verify_us_p99": sorted(verified_us)[VERIFICATIONS * 99 // 100],
    }


def _store(directory: Path | None) -> Store:
    if directory is None:
        return _Dict()
    from hanse.adapters.disk_store import DiskStore

    return DiskStore(directory, path_of=lambda _, key: path_of(key))


def _placement(controller: _Signer, node: _Signer) -> tuple[tuple[bytes, ...], Plan, bytes]:
    """The three entries of one placement, its plan and its order."""
    workload = Workload(
        id=workload_id("bench", "work"),
        kind=Kind.FUNCTION,
        namespace="bench",
        name="work",
        artifact=Digest("sha256:" + "ab" * 32),
        artifact_bytes=1_000_000,
        route=Route(path="/work"),
        resources=Resources(cpu_milli=100, memory_bytes=64 << 20),
    )
    instance = instance_id(workload.id, 0, 1)
    placed = Assignment(instance=instance, workload=workload.id, ordinal=0, node=NodeId("bench-1"), spec_generation=1)
    plan = Plan(
        id=PlanId("plan-1"),
        parent=None,
        generation=1,
        created_us=NOW,
        inputs={},
        assignments=(placed,),
        unplaced=(),
        explanations={},
        objective_microeur=0,
        bound_microeur=None,
        trigger="benchmark",
    )
    order = Order(
        node=placed.node,
        instance=instance,
        generation=1,
        wanted=True,
        workload=workload,
        site=Site(
            id=SiteId("bench"),
            country=CountryCode("DE"),
            place=Place(city="Berlin", latitude_deg=52.52, longitude_deg=13.4),
            grid_zone="DE",
        ),
        operators=(Operator(id=OperatorId("bench"), name="Bench", seat=CountryCode("DE")),),
        ordinal=0,
        plan=plan.id,
        reason="benchmark",
        issued_us=NOW,
        expires_us=WallTime(NOW + HOUR_US),
    )
    sealed = envelope.seal(order, controller)
    report = Report(
        node=placed.node,
        instance=instance,
        workload=workload.id,
        generation=1,
        order_digest=canonical.digest_bytes(sealed),
        phase=Phase.RUNNING,
        since_us=NOW,
    )
    entries = (
        statement.decision(plan, canonical.digest_of(PlanBody(plan=plan)), controller),
        statement.order(sealed, controller),
        statement.receipt(envelope.seal(report, node), node.public_key, controller),
    )
    return entries, plan, sealed


if __name__ == "__main__":
    main()
