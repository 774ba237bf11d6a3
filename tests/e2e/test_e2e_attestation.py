"""Attestation on real processes with software TPMs: joining, references, drift, work that moves, what is written."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from fabric_kit import NODES, WEST, Kit, running_kit, short_folder

pytestmark = [
    pytest.mark.fabric,
    pytest.mark.skipif(
        shutil.which("swtpm") is None or shutil.which("tpm2_quote") is None,
        reason="needs swtpm, swtpm-tools and tpm2-tools (Debian packages)",
    ),
]
SECONDS = 600.0


def test_a_node_that_drifts_from_its_reference_loses_the_work_that_asks_for_integrity(
    guests: Mapping[str, Path],
) -> None:
    folder = short_folder()
    try:
        asyncio.run(_bounded(folder, guests))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _bounded(folder: Path, guests: Mapping[str, Path]) -> None:
    async with asyncio.timeout(SECONDS), running_kit(folder / "s", guests, has_tpms=True, attest_us=2_000_000) as kit:
        await _scenario(kit)


async def _scenario(kit: Kit) -> None:
    views = {row["id"]: row for row in await kit.get("nodes")}
    for node in NODES:
        assert views[node]["joined_with"] == "tpm affirming (simulated)"
        assert views[node]["attested"]["origin"] == "simulated"
    await kit.send("PUT", "attest/references/golden", json={"from_node": WEST})
    integral = "sovereignty: {packs: [attested-rehearsal]}"
    rows = await kit.deploy("guarded", more=integral)
    assert [row["node"] for row in rows] == [WEST], "the cheapest node, and it matches"

    tcti = f"swtpm:path={kit.fabric.tpm_socket(WEST)}"
    env = {**os.environ, "TPM2TOOLS_TCTI": tcti}
    extend = ["tpm2_pcrextend", "13:sha256=" + "ab" * 32]
    await asyncio.to_thread(subprocess.run, extend, env=env, check=True, capture_output=True)

    async def moved() -> bool:
        return bool(await kit.serving("guarded")) and WEST not in await kit.serving("guarded")

    await kit.until(moved, "the work having moved")
    view = next(row for row in await kit.get("nodes") if row["id"] == WEST)
    assert (view["attested"]["status"], view["attested"]["code"]) == ("contraindicated", "attest.log_mismatch")
    reasons = str(await kit.get("workloads/test/guarded/explain"))
    assert "does not run what the domain's reference values say: tpm contraindicated (simulated)" in reasons
    ledger = await kit.ledger()
    said = [row["predicate"]["says"] for row in ledger if row["subject"] == f"attested/{WEST}"]
    assert said[0] == "tpm affirming (simulated)"
    assert said[-1].startswith("tpm contraindicated (simulated): PCR 13 holds what the event log does not explain")
    orders = [row["predicate"] for row in ledger if row["kind"] == "OrderIssued"]
    assert {order["attested"] for order in orders if order["wanted"]} == {"tpm affirming (simulated)"}
    joins = [row["predicate"]["evidence"] for row in ledger if row["kind"] == "NodeJoined"]
    assert joins == ["tpm affirming (simulated)"] * len(NODES)
