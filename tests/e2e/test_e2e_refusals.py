"""Bad input gets a clear error with a stable code, changes nothing, and stores nothing."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabric_kit import NODES, NORTH, Harness, Kit, Refusal, function, running_kit, short_folder

from hanse.app.launch import LaunchController, LaunchNode
from hanse.core.errors import HanseError
from hanse.wire import canonical

pytestmark = pytest.mark.fabric


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path]) -> Iterator[Harness]:
    with Harness(guests) as running:
        yield running


async def refused(asking: Coroutine[Any, Any, Any]) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await asking
    return refusal.value


BAD_MANIFESTS = {
    "unknown field": ("replica: 2", "replica", "did you mean"),
    "wrong unit": ("timeout: 3 parsecs", "spec.timeout", ""),
    "wrong type": ("replicas: many", "spec.replicas", ""),
    "out of range": ("resources: {memory: 1Ti}", "spec.resources.memory", ""),
}


@pytest.mark.parametrize("mistake", BAD_MANIFESTS)
def test_a_manifest_with_a_mistake_is_refused_with_file_line_field_and_fix(harness: Harness, mistake: str):
    more, field, fix = BAD_MANIFESTS[mistake]

    async def scenario(kit: Kit) -> None:
        before = await kit.get("workloads")
        refusal = await refused(kit.submit(function("bad", replicas=None, more=more), "bad"))
        assert (refusal.status, refusal.code) == (422, "manifest.invalid")
        (problem,) = refusal.details
        assert problem["file"] == "test.yaml"
        assert problem["line"] == 7
        assert field in problem["field"]
        assert fix in problem["fix"]
        assert await kit.get("workloads") == before

    harness.run(scenario(harness.kit))


def test_two_functions_cannot_claim_one_route(harness: Harness):
    async def scenario(kit: Kit) -> None:
        both = function("first", path="/same") + "---\n" + function("second", path="/same")
        refusal = await refused(kit.submit(both, "first", "second"))
        assert (refusal.status, refusal.code) == (422, "manifest.invalid")
        assert "/same" in refusal.message

        await kit.deploy("owner")
        refusal = await refused(kit.submit(function("thief", path="/owner"), "thief"))
        assert refusal.status == 422
        assert "/owner" in refusal.message
        assert "test.owner" in refusal.message
        assert {row["id"] for row in await kit.get("workloads")} == {"test.owner"}
        await kit.delete("owner")

    harness.run(scenario(harness.kit))


def test_a_component_that_hanse_cannot_run_is_refused_by_name(harness: Harness):
    async def scenario(kit: Kit) -> None:
        whole = kit.guests["hello"].read_bytes()
        cases = {
            "component.not_wasi_http": kit.guests["command"].read_bytes(),
            "component.unsupported_import": kit.guests["exotic"].read_bytes(),
            "component.not_a_component": kit.guests["core"].read_bytes(),
            "component.truncated": whole[: len(whole) // 2],
        }
        for code, component in cases.items():
            refusal = await refused(kit.put_artifact(component))
            assert (refusal.status, refusal.code) == (422, code)
        refusal = await refused(kit.put_artifact(bytes(64 * 2**20 + 1)))
        assert (refusal.status, refusal.code) == (413, "component.too_large")

    harness.run(scenario(harness.kit))


def test_a_deployment_whose_component_nobody_stored_is_refused(harness: Harness):
    async def scenario(kit: Kit) -> None:
        for digest in ("sha256:" + "0" * 64, "latest"):
            body = {
                "files": [{"name": "test.yaml", "text": function("hollow")}],
                "artifacts": {"test.hollow": digest},
            }
            refusal = await refused(kit.send("POST", "submissions", json=body))
            assert (refusal.status, refusal.code) == (422, "artifact.missing")
        assert await kit.get("workloads") == []

    harness.run(scenario(harness.kit))


def test_nothing_is_answered_without_the_token(harness: Harness):
    async def scenario(kit: Kit) -> None:
        async with kit.fabric.client() as api:
            for headers in ({"authorization": ""}, {"authorization": "Bearer guessed"}):
                for path in ("status", "workloads", "nodes", "ledger/entries", "watch"):
                    answer = await api.get(f"/api/v1/{path}", headers=headers)
                    assert answer.status_code == 401, path
                    assert answer.json()["error"]["code"] == "api.unauthorised"
                answer = await api.delete("/api/v1/functions/test.x", headers=headers)
                assert answer.status_code == 401

    harness.run(scenario(harness.kit))


def test_an_operator_or_a_site_in_use_cannot_be_deleted(harness: Harness):
    async def scenario(kit: Kit) -> None:
        for path in ("operators/hansa", "sites/hamburg"):
            refusal = await refused(kit.send("DELETE", path))
            assert (refusal.status, refusal.code) == (422, "spec.in_use")
            assert NORTH in refusal.message
        refusal = await refused(kit.send("DELETE", "functions/test.nobody"))
        assert (refusal.status, refusal.code) == (404, "not_found")
        assert len(await kit.get("operators")) == 2

    harness.run(scenario(harness.kit))


def test_work_that_no_node_may_run_is_refused_with_rule_citation_and_nearest_change(harness: Harness):
    async def scenario(kit: Kit) -> None:
        entries = len(await kit.ledger())
        text = function("abroad", more="sovereignty: {location: {only: [CN]}}")
        refusal = await refused(kit.submit(text, "abroad"))
        assert (refusal.status, refusal.code) == (422, "spec.refused")
        (change,) = refusal.details["changes"]
        reasons = change["unplaced"]["reasons"]
        assert reasons
        assert all(reason["rule"] and reason["cite"] and reason["message"] for reason in reasons)
        assert change["unplaced"]["changes"], "what would make the answer yes"
        assert await kit.get("workloads") == []
        assert len(await kit.ledger()) == entries, "nothing was stored"

        answer = await kit.submit(text, "abroad", is_dry_run=True)
        assert not answer["is_accepted"]
        assert answer["changes"][0]["action"] == "refuse"

    harness.run(scenario(harness.kit))


def test_a_request_larger_than_allowed_is_refused_by_the_front(harness: Harness):
    async def scenario(kit: Kit) -> None:
        await kit.deploy("small", guest="echo", more="limits: {requestBody: 1Ki}")
        for node in NODES:
            answer = await kit.http.post(kit.url(node, "/small"), content=b"x" * 1024)
            assert (answer.status_code, len(answer.content)) == (200, 1024)
            answer = await kit.http.post(kit.url(node, "/small"), content=b"x" * 1025)
            assert (answer.status_code, answer.headers["hanse-error"]) == (413, "request.too_large")
        await kit.delete("small")

    harness.run(scenario(harness.kit))


def test_a_second_fabric_in_the_same_state_directory_is_refused_and_the_first_one_runs_on(harness: Harness):
    async def scenario(kit: Kit) -> None:
        with pytest.raises(HanseError) as refusal:
            async with running_kit(kit.fabric.layout.root, kit.guests):
                pytest.fail("two fabrics in one state directory")
        assert refusal.value.code == "process.already_running"
        assert "another state directory" in refusal.value.hint
        assert (await kit.get("status"))["nodes_ready"] == len(NODES)

    harness.run(scenario(harness.kit))


def test_a_port_in_use_is_named_with_a_hint(harness: Harness):
    """A controller and a node that are told to listen where somebody listens already."""

    async def scenario(kit: Kit) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for what, launch in _launches(kit, port).items():
                code, said = await _start(launch)
                assert code == 1, what
                assert "in_use" in said, said
                assert str(port) in said, said

    harness.run(scenario(harness.kit))


def _launches(kit: Kit, port: int) -> Mapping[str, bytes]:
    """Launch files of the running fabric's first controller and of a node, both with a port that is taken."""
    folder, state = kit.fabric.layout, short_folder()
    controller = canonical.decode((folder.root / "controller-1.launch.json").read_bytes(), LaunchController)
    node = canonical.decode((folder.node(NORTH) / "launch.json").read_bytes(), LaunchNode)
    shutil.copytree(folder.node(NORTH) / "identity", state / "identity")
    return {
        "controller": canonical.encode(LaunchController(options=replace(controller.options, api_port=port))),
        "node": canonical.encode(
            LaunchNode(options=replace(node.options, state=str(state), front=f"127.0.0.1:{port}"), join=None)
        ),
    }


async def _start(launch: bytes) -> tuple[int, str]:
    """Run a process of the fabric to its end; returns its exit code and what it said."""
    file = short_folder() / "launch.json"
    file.write_bytes(launch)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hanse.app.launch", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
