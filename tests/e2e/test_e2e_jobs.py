"""Work that may wait, on real nodes: it waits for its hours, runs, ends, is retried, and says when it is late."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fabric_kit import Harness, Kit, Row

pytestmark = pytest.mark.fabric


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


def manifest(name: str, more: str) -> str:
    return (
        f"apiVersion: hanse.dev/v1\nkind: Job\nmetadata: {{name: {name}, namespace: test}}\n"
        f"spec: {{source: guest.wasm, {more}}}\n"
    )


async def _job(kit: Kit, name: str) -> Row | None:
    rows: list[Row] = await kit.get("jobs")
    return next((row for row in rows if row["workload"] == f"test.{name}"), None)


async def _until_state(kit: Kit, name: str, state: str) -> Row:
    async def look() -> Row | None:
        row = await _job(kit, name)
        return row if row is not None and row["state"] == state else None

    return await kit.until(look, f"job {name} being {state}")


def test_a_job_waits_for_the_clean_step_runs_there_and_is_over(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        step_us, now_us = 2_000_000, time.time_ns() // 1_000
        start_us = now_us - now_us % step_us
        # So far ahead that it is planned before, also by a machine that runs much else.
        clean = 10
        series = {
            "start_us": start_us,
            "step_us": step_us,
            "values": [500] * clean + [30] * 2 + [500] * 300,
        }
        zones = {row["grid_zone"]: series for row in await kit.get("sites")}
        await kit.send("PUT", "feeds/carbon", json={"source": "test", "error_permille": 50, "zones": zones})
        await kit.submit(manifest("clean", "duration: 2s, within: 180s"), "clean")

        async def has_hours() -> Row | None:
            row = await _job(kit, "clean")
            return row if row is not None and row["runs"] else None

        planned = await kit.until(has_hours, "its hours being planned")
        assert planned["runs"][0][0] == start_us + clean * step_us
        assert "94.0 % less than at once, the forecast errs by 5 %" in planned["why"]
        done = await _until_state(kit, "clean", "succeeded")
        assert done["ended_us"] >= planned["runs"][0][0]
        assert done["late"] == ""
        shown = (await kit.get("workloads/test/clean"))["summary"]
        assert (shown["status"], shown["path"]) == ("succeeded", "")

        async def is_over() -> bool:
            return not await kit.wanted("clean")

        await kit.until(is_over, "nothing of it being ordered any more")
        phases = [row["predicate"] for row in await kit.ledger() if row["kind"] == "ReceiptTaken"]
        assert any("succeeded" in str(row) for row in await kit.ledger()), phases[-1:]

    harness.run(scenario(harness.kit))


def test_a_job_that_fails_is_tried_elsewhere_as_often_as_it_may_and_says_why(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.submit(manifest("broken", "duration: 1s, within: 180s, retries: 1"), "broken", guest="trap")
        row = await _until_state(kit, "broken", "failed")
        assert row["failures"] == 2
        assert row["reason"].startswith("it failed 2 times, last: test.broken answered 5")
        assert row["late"].startswith("its deadline cannot be met: it failed 2 times")
        # A node that is silent for a while on a busy machine is replaced as well: then there is a third.
        tried = {one["node"] for one in await kit.instances("broken")}
        assert len(tried) >= 2, "a second node was tried"

    harness.run(scenario(harness.kit))


def test_a_job_that_reads_data_runs_within_its_fence_or_is_refused(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        node = min(await kit.get("nodes"), key=lambda row: row["id"])
        site = node["site"]
        fenced = (
            "apiVersion: hanse.dev/v1\nkind: Dataset\nmetadata: {name: records, namespace: test}\n"
            f"spec: {{size: 1Gi, sites: [{site}], fence: {{only: [{node['country']}]}}}}\n"
        )
        await kit.submit(fenced)
        await kit.submit(manifest("reader", "duration: 1s, within: 180s, data: {reads: [{name: records}]}"), "reader")
        await _until_state(kit, "reader", "succeeded")
        assert {row["node"] for row in await kit.instances("reader")} == {node["id"]}

    harness.run(scenario(harness.kit))
