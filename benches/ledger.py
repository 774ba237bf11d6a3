"""Measure the ledger: durable appends, reopening, fsck, proofs and receipts. Prints one JSON line.

`python -m benches.ledger --json [--entries N] [--batch N] [--disk DIR | --memory]`. The store is on disk with all its
fsyncs, in a temporary directory if no other is given; with `--memory` a dict, which shows the ledger's own cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from benches.ledger_records import (
    CONTROLLER,
    INSTANCE,
    LOG_SIGNERS,
    NOW,
    DictStore,
    FixedClock,
    plan,
    sealed_order,
    story,
)
from benches.report import header
from hanse.control.ledger_writer import LedgerWriter
from hanse.core.ports import Store
from hanse.ledger import Verified, load_policy, path_of, verify_receipt
from hanse.ledger.proof import parse_proof

ENTRY_BYTES = 1_024
VERIFICATIONS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line (the default)")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1_000)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--disk", type=Path, help="an empty directory for the store")
    where.add_argument("--memory", action="store_true", help="no disk: the ledger's own cost")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as temporary:
        directory = None if options.memory else options.disk or Path(temporary)
        measured = asyncio.run(_measure(options.entries, options.batch, directory))
    print(json.dumps({**header("ledger"), **measured}))


async def _measure(count: int, batch: int, directory: Path | None) -> dict[str, int | float | str]:
    store = _store(directory)
    writer = LedgerWriter(store, LOG_SIGNERS, FixedClock(), "bench.example/ledger")
    await writer.open()
    await writer.append(story())

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
    again = LedgerWriter(store, LOG_SIGNERS, FixedClock(), "bench.example/ledger")
    await again.open()
    open_s = time.perf_counter() - started
    started = time.perf_counter()
    health = await again.fsck()
    fsck_s = time.perf_counter() - started
    if health.findings:
        raise SystemExit(f"the log is damaged: {health.findings[0]}")

    located = await again.locate(INSTANCE)
    receipt = await again.receipt(located, plan=plan(), sealed_order=sealed_order())
    proof = parse_proof(await again.proof(again.size // 2))
    policy = load_policy(again.policy_text([CONTROLLER.public_key]))
    verified_us: list[int] = []
    for _ in range(VERIFICATIONS):
        at = time.perf_counter_ns()
        verdict = verify_receipt(receipt, policy, NOW)
        verified_us.append((time.perf_counter_ns() - at) // 1_000)
        if not isinstance(verdict, Verified):
            raise SystemExit(f"the receipt does not verify: {verdict[0]}")
    return {
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
        return DictStore()
    from hanse.adapters.disk_store import DiskStore

    return DiskStore(directory, path_of=lambda _, key: path_of(key))


if __name__ == "__main__":
    main()
