"""What a deployment gives: served through every node's front, by the nodes that the plan names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from fabric_kit import EAST, NODES, NORTH, WEST, Harness, Kit, function

pytestmark = pytest.mark.fabric


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


def test_a_function_is_served_through_every_front_and_forwarded_where_it_does_not_run(harness: Harness):
    async def scenario(kit: Kit) -> None:
        homes = {row["node"] for row in await kit.deploy("hello", replicas=2)}
        assert len(homes) == 2
        for node in NODES:
            answer = await kit.call(node, "/hello")
            assert (answer.status_code, answer.text) == (200, "hello\n")
            assert answer.headers["hanse-ingress"] == node
            served_by = answer.headers["hanse-node"]
            assert served_by == node if node in homes else served_by in homes

    harness.run(scenario(harness.kit))


def test_nodes_forward_over_mutual_tls_and_turn_away_whoever_has_no_identity(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.deploy("inner", replicas=1)
        mesh = kit.fabric.nodes[WEST].mesh
        async with httpx.AsyncClient(verify=False, http2=False) as stranger:
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"https://{mesh}/inner")
            with pytest.raises(httpx.TransportError):
                await stranger.get(f"http://{mesh}/inner")

    harness.run(scenario(harness.kit))


def test_an_operator_under_foreign_control_loses_the_work_that_excludes_it_and_no_other(harness: Harness):
    """One changed fact: a US company takes over the operator in Dublin, whose servers stay where they are."""

    async def scenario(kit: Kit) -> None:
        await kit.submit(function("strict", more="sovereignty: {control: {exclude: [US]}}"), "strict")
        await kit.submit(function("easy"), "easy")
        strict, easy = await kit.until_running("strict", 1), await kit.until_running("easy", 1)
        assert strict[0]["node"] == easy[0]["node"] == WEST, "the cheapest place"
        operator = (
            "apiVersion: hanse.dev/v1\nkind: Operator\nmetadata: {name: nimbus}\n"
            "spec: {name: Nimbus Ltd, seat: IE, grade: 2, seal: {legal: 3, operational: 3}%s}\n"
        )
        await kit.submit(operator % ", parents: [{name: Nimbus Inc, country: US, share: 100%}]")

        async def has_left() -> bool:
            return await kit.serving("strict") in ({NORTH}, {EAST})

        await kit.until(has_left, "the strict function serving elsewhere")
        moved = await kit.until_running("strict", 1)
        assert moved[0]["node"] != WEST
        assert await kit.wanted("easy") == easy, "the same instance under the same order"
        await kit.submit(operator % "")

    harness.run(scenario(harness.kit))


def test_a_drained_node_is_emptied_without_a_failed_request_and_takes_work_again(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.deploy("steady", replicas=2)
        assert WEST in await kit.serving("steady")
        async with kit.load("/steady") as load:
            await kit.send("POST", f"nodes/{WEST}/drain")

            async def is_empty() -> bool:
                return WEST not in {row["node"] for row in await kit.wanted("steady")}

            await kit.until(is_empty, "the drained node being empty")
            rows = await kit.until_running("steady", 2)
        assert load.failures == []
        assert load.answered > 0
        assert {row["node"] for row in rows} == {NORTH, EAST}
        await kit.send("POST", f"nodes/{WEST}/drain?undo=true")
        await kit.until_reach(WEST, "ready")

    harness.run(scenario(harness.kit))


MISBEHAVING = (
    ("trap", "", 500, "guest.trap"),
    ("loop", "timeout: 500ms", 504, "guest.deadline"),
    ("hog", "resources: {memory: 8Mi}", 507, "guest.memory"),
    ("egress", "", 502, "guest.egress_denied"),
)


def test_a_guest_that_misbehaves_gets_a_defined_status_and_its_neighbours_serve_on(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.deploy("neighbour", replicas=1)
        for guest, more, _, _ in MISBEHAVING:
            await kit.submit(function(guest, more=more), guest, guest=guest)
        await kit.submit(function("flood", more="limits: {responseBody: 1Mi}"), "flood", guest="flood")
        async with kit.load("/neighbour") as load:
            for guest, _, status, code in MISBEHAVING:
                path = f"/{guest}?elsewhere.example" if guest == "egress" else f"/{guest}"
                answer = await kit.first_call(NORTH, path)
                assert (answer.status_code, answer.headers["hanse-error"]) == (status, code)
            with pytest.raises(httpx.RemoteProtocolError):
                await kit.first_call(NORTH, "/flood")
        assert load.failures == []
        for guest, _, _, code in MISBEHAVING:
            await _is_told(kit, guest, code)
        await _is_told(kit, "flood", "guest.response_too_large")

    harness.run(scenario(harness.kit))


async def _is_told(kit: Kit, name: str, code: str) -> None:
    """The owner reads in the logs what went wrong."""

    async def told() -> bool:
        return any(row["text"].startswith(code) for row in await kit.get(f"workloads/test/{name}/logs"))

    await kit.until(told, f"the logs of {name} saying {code}")


def test_a_client_that_goes_away_leaves_nothing_running(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.submit(function("slow", more="timeout: 60s"), "slow", guest="sleep")

        async def in_flight() -> int:
            return sum(row["in_flight"] for row in await kit.get("top") if row["workload"] == "test.slow")

        calling = asyncio.create_task(kit.first_call(NORTH, "/slow"))
        await kit.until(in_flight, "the request being under way")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)

        async def is_over() -> bool:
            return await in_flight() == 0

        # Sooner than anything else would end it: no request lasts longer than 30 s (`EngineConfig.request_timeout_ms`).
        await kit.until(is_over, "the node having ended the request", within_s=20.0)

    harness.run(scenario(harness.kit))
