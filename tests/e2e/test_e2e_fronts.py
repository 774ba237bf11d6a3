"""The public front of a running fabric: TLS of the domain's authority, users' tokens, services, hot restarts."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fabric_kit import ANSWER_S, EAST, NODES, NORTH, PATIENCE_S, WEST, Harness, Kit, function
from spiffe import WorkloadApiClient
from spiffe.errors import PySpiffeError

from hanse.adapters.componentize import build
from hanse.adapters.tls import client_context
from hanse.app.options import FrontOptions
from hanse.app.steering import steered

pytestmark = pytest.mark.fabric
ISSUER, AUDIENCE = "https://id.example", "wards"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
JWK = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(KEY.public_key().public_bytes_raw())}


def token(**changed: Any) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "nurse-7", "exp": int(time.time()) + 300} | changed
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": "k"}, claims)]
    return ".".join([*parts, b64(KEY.sign(".".join(parts).encode()))])


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A program beside the nodes: a WebSocket server of one line, which is what a Service leads to."""
    program = (
        "import asyncio\n"
        "def svid(path):\n"
        "    from spiffe import WorkloadApiClient\n"
        "    with WorkloadApiClient('unix://' + path) as client: return client.fetch_x509_svid()\n"
        "async def serve(r, w):\n"
        "    head = await r.readuntil(b'\\r\\n\\r\\n')\n"
        "    if b'x-socket: ' in head:\n"
        "        path = head.partition(b'x-socket: ')[2].partition(b'\\r\\n')[0].decode()\n"
        "        said = str((await asyncio.to_thread(svid, path)).spiffe_id).encode()\n"
        "        w.write(b'HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n' % len(said) + said); await w.drain()\n"
        "        return w.close()\n"
        "    if b'upgrade: websocket' in head.lower():\n"
        "        w.write(b'HTTP/1.1 101 x\\r\\nupgrade: websocket\\r\\nconnection: upgrade\\r\\n\\r\\n')\n"
        "        while data := await r.read(4096): w.write(data); await w.drain()\n"
        "    elif b'GET /scheme' in head:\n"
        "        said = b'; '.join(l for l in head.lower().split(b'\\r\\n') if b'-proto: ' in l or b'-scheme: ' in l)\n"
        "        w.write(b'HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n' % len(said) + said); await w.drain()\n"
        "    else:\n"
        "        w.write(b'HTTP/1.1 200 OK\\r\\ncontent-length: 3\\r\\n\\r\\nold'); await w.drain()\n"
        "    w.close()\n"
        "async def main():\n"
        "    s = await asyncio.start_server(serve, '127.0.0.1', 0)\n"
        "    print(s.sockets[0].getsockname()[1], flush=True)\n"
        "    await s.serve_forever()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path], upstream: str) -> Iterator[Harness]:
    with Harness(guests, front=FrontOptions(is_tls=True, upstreams={upstream: ""})) as running:
        yield running


@asynccontextmanager
async def believing(kit: Kit) -> AsyncIterator[httpx.AsyncClient]:
    """A client that believes the domain's authority and nobody else."""
    verify = client_context(kit.fabric.domain.bundle_pem)
    async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=ANSWER_S) as client:
        yield client


def test_fronts_show_a_certificate_of_the_domain_and_never_answer_in_the_clear(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.deploy("hello", replicas=1)
        async with believing(kit) as client:
            for node in NODES:
                url = kit.url(node, "/hello")
                assert url.startswith("https://127.0.0.1:")
                assert (await client.get(url)).text == "hello\n"
                plain = await client.get(url.replace("https://", "http://"))
                assert (plain.status_code, plain.headers["hanse-error"]) == (400, "request.plain_http")

    harness.run(scenario(harness.kit))


def test_a_workload_that_demands_tokens_is_closed_to_all_others_through_every_front(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        auth = json.dumps({"jwt": {"issuer": ISSUER, "audience": AUDIENCE, "keys": [JWK]}})
        await kit.submit(function("guarded", more=f"auth: {auth}"), "guarded", guest="mirror")
        await kit.until_running("guarded", 1)
        async with believing(kit) as client:
            for node in NODES:
                url = kit.url(node, "/guarded")
                bare = await client.get(url, headers={"hanse-subject": "root"})
                assert (bare.status_code, bare.headers["www-authenticate"]) == (401, "Bearer")
                for bad, code in (
                    (token(aud="other"), "auth.audience"),
                    (token(exp=1), "auth.expired"),
                    (token()[:-8] + "AAAAAAAA", "auth.signature"),
                ):
                    answer = await client.get(url, headers={"authorization": f"Bearer {bad}"})
                    assert (answer.status_code, answer.headers["hanse-error"]) == (401, code)
                good = await client.get(
                    url, headers={"authorization": f"Bearer {token()}", "hanse-subject": "root", "hanse-x": "y"}
                )
                told = [line for line in good.text.splitlines() if line.startswith("hanse-")]
                assert sorted(line for line in told if "claims" not in line) == [
                    f"hanse-issuer: {ISSUER}",
                    "hanse-principal: user",
                    "hanse-subject: nurse-7",
                ]

    harness.run(scenario(harness.kit))


SERVICE = """\
apiVersion: hanse.dev/v1
kind: Service
metadata: {name: %s, namespace: test}
spec: {upstream: "%s", route: {path: /%s}, replicas: 1}
"""


def test_a_service_is_reached_through_every_front_and_its_websockets_too(harness: Harness, upstream: str) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.submit(SERVICE % ("legacy", upstream, "legacy"))
        await kit.until_running("legacy", 1)
        async with believing(kit) as client:
            for node in NODES:
                assert (await client.get(kit.url(node, "/legacy/x"))).text == "old"
        for node in NODES:
            host, _, port = kit.fabric.nodes[node].front.rpartition(":")
            tls = client_context(kit.fabric.domain.bundle_pem)
            reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
            writer.write(
                b"GET /legacy/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            for message in (b"ahoy", b"again"):
                writer.write(message)
                assert await reader.readexactly(len(message)) == message
            writer.close()
            await writer.wait_closed()

    harness.run(scenario(harness.kit))


def test_a_service_is_told_that_the_client_came_by_tls_whatever_the_client_says(
    harness: Harness, upstream: str
) -> None:
    """Through each front: the one beside the program, and those that forward over the mesh."""

    async def scenario(kit: Kit) -> None:
        await kit.submit(SERVICE % ("scheme", upstream, "scheme"))
        await kit.until_running("scheme", 1)
        async with believing(kit) as client:
            for node in NODES:
                lies = {"x-forwarded-proto": "http", "hanse-scheme": "http"}
                answer = await client.get(kit.url(node, "/scheme"), headers=lies)
                assert answer.text == "x-forwarded-proto: https"

    harness.run(scenario(harness.kit))


TELLS = """\
from hanse_guest import Request, Response


def handle(request: Request) -> Response:
    return Response.text(request.scheme)
"""


@pytest.mark.toolchain
def test_a_guest_sees_that_the_client_came_by_tls(harness: Harness, tmp_path: Path) -> None:
    async def scenario(kit: Kit) -> None:
        source = tmp_path / "tells.py"
        source.write_text(TELLS)
        built = await asyncio.to_thread(build, source)
        await replace(kit, guests={"tells": built.path}).submit(function("tells"), "tells", guest="tells")
        # A Python guest is 18 MB of machine code to be made first.
        await kit.until_running("tells", 1, within_s=3 * PATIENCE_S)
        async with believing(kit) as client:
            for node in NODES:
                answer = await client.get(kit.url(node, "/tells"), headers={"hanse-scheme": "http"})
                assert (answer.status_code, answer.text) == (200, "https")

    harness.run(scenario(harness.kit))


def test_the_program_behind_a_service_fetches_its_svid_and_others_get_none(harness: Harness, upstream: str) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.submit(SERVICE % ("board", upstream, "board"))
        await kit.until_running("board", 1)
        (node,) = {row["node"] for row in await kit.instances("board") if row["phase"] == "running"}
        path = kit.fabric.layout.node(node) / "workload.sock"
        async with believing(kit) as client:
            answer = await client.get(kit.url(NODES[0], "/board"), headers={"x-socket": str(path)})
            assert answer.text == f"spiffe://{kit.fabric.domain.name}/ns/test/board"
        # This process holds no socket of the program: the same question gets it nothing.
        with pytest.raises(PySpiffeError, match="no identity issued"):
            await asyncio.to_thread(WorkloadApiClient(f"unix://{path}").fetch_x509_svid)

    harness.run(scenario(harness.kit))


def test_a_service_that_the_owner_does_not_allow_never_runs(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.submit(SERVICE % ("inside", "127.0.0.1:22", "inside"))

        async def refused() -> bool:
            return any(row["code"] == "service.upstream_not_allowed" for row in await kit.instances("inside"))

        await kit.until(refused, "the refusal being reported")
        await kit.send("DELETE", "services/test.inside")

        async def is_gone() -> bool:
            return "test.inside" not in {row["id"] for row in await kit.get("workloads")}

        await kit.until(is_gone, "the service being deleted")

    harness.run(scenario(harness.kit))


def test_every_node_is_restarted_hot_under_load_without_a_failed_request(harness: Harness) -> None:
    async def scenario(kit: Kit) -> None:
        rows = await kit.deploy("steady", replicas=1)
        home = rows[0]["node"]
        state = kit.fabric.layout.root
        async with steered(kit.fabric), kit.load("/steady") as load:
            for node in (home, *(other for other in (NORTH, EAST, WEST) if other != home)):
                before = kit.fabric.nodes[node].child
                said = json.loads(await _cli("node", "restart", node, "--hot", "--state", str(state), "-o", "json"))
                assert said == {"node": node, "hot": True, "pid": kit.fabric.nodes[node].child.pid}
                assert said["pid"] != before.pid
                async with asyncio.timeout(PATIENCE_S):
                    await before.wait_down()
                await kit.until_reach(node, "ready")
        assert load.failures == []
        assert load.answered > 0
        assert await kit.wanted("steady") == rows, "the same instance under the same order: nothing moved"

    harness.run(scenario(harness.kit))


async def _cli(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hanse", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out
