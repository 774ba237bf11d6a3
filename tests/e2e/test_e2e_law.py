"""Facts that change over real HTTP move what runs: a credential that comes and goes, a landmark that finds a liar."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from credential_kit import SUBJECT, credential, did_key
from fabric_kit import EAST, NORTH, WEST, Harness, Kit, Refusal, function

pytestmark = pytest.mark.fabric
NEEDS_C5 = "sovereignty: {packs: [c5]}"
LANDMARK = """\
apiVersion: hanse.dev/v1
kind: Site
metadata: {name: hamburg}
spec:
  country: DE
  place: {city: Hamburg, latitude: 53.5511, longitude: 9.9937}
  gridZone: DE
  landmark: true
---
apiVersion: hanse.dev/v1
kind: Site
metadata: {name: dublin}
spec: {country: AU, place: {city: Sydney, latitude: -33.8688, longitude: 151.2093}, gridZone: AU-NSW}
"""
"""The west now claims a place so far away that no load on this machine makes its answers late enough."""


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


def test_a_credential_gives_work_a_home_for_as_long_as_the_domain_holds_it(harness: Harness) -> None:
    today = datetime.datetime.now(datetime.UTC)
    body = {
        "operator": "hansa", "subject": SUBJECT, "issuers": [{"did": did_key(), "certifies": ["bsi-c5"]}],
        "credential": credential(today + datetime.timedelta(days=30), since=f"{today.year - 1}-01-01T00:00:00Z"),
    }  # fmt: skip

    async def scenario(kit: Kit) -> None:
        with pytest.raises(Refusal, match=r"C5 attestation|no node|c5\.attestation"):
            await kit.submit(function("certified", more=NEEDS_C5), "certified")

        over = {**body, "credential": credential(today - datetime.timedelta(days=1), since="2020-01-01T00:00:00Z")}
        with pytest.raises(Refusal) as refused:
            await kit.send("POST", "credentials", json=over)
        assert refused.value.code.startswith("credential.")
        assert await kit.get("credentials") == []

        held = await kit.send("POST", "credentials", json=body)
        assert (held["operator"], held["certificate"]) == ("hansa", "bsi-c5")
        rows = await kit.deploy("certified", more=NEEDS_C5)
        assert [row["node"] for row in rows] == [NORTH], "the cheapest of the operator that is certified now"

        await kit.send("DELETE", f"credentials/hansa/{held['id']}")

        async def gone() -> bool:
            return not await kit.serving("certified")

        await kit.until(gone, "the work having stopped with its credential")
        await kit.delete("certified")

    harness.run(scenario(harness.kit))


def test_a_landmark_contradicts_nodes_that_claim_to_be_elsewhere(harness: Harness) -> None:
    """All processes are on one machine, so who answers Hamburg within milliseconds is not in Sydney."""

    async def scenario(kit: Kit) -> None:
        before = {row["id"]: row["measured"] for row in await kit.get("nodes")}
        assert before == {NORTH: None, EAST: None, WEST: None}
        await kit.submit(LANDMARK)

        async def found_out() -> bool:
            measured = {row["id"]: row["measured"] for row in await kit.get("nodes")}
            return bool(measured[EAST] and measured[WEST])

        await kit.until(found_out, "the landmark having measured the others")
        measured = {row["id"]: row["measured"] for row in await kit.get("nodes")}
        assert "Sydney is" in measured[WEST]["contradiction"]
        assert measured[WEST]["landmarks"] == [f"node/{NORTH}"]

    harness.run(scenario(harness.kit))
