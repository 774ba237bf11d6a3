"""Secrets on real processes: from the command line to a running function, and in no file, log or message between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from fabric_kit import NODES, PATIENCE_S, WEST, Kit, running_kit, short_folder

from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.nats_bus import NatsBus
from hanse.adapters.nats_link import LinkConfig, NatsCredentials, NatsLink
from hanse.adapters.tls import client_context
from hanse.core.ids import NodeId

pytestmark = pytest.mark.fabric
EXAMPLE = Path(__file__).parents[2] / "examples" / "secrets"
SECRET = "clinic.sealing-key"
LETTER = b"Dear colleague"
SECONDS = 900.0


def test_a_secret_reaches_the_work_and_nothing_else(tmp_path: Path) -> None:
    folder = short_folder()
    try:
        asyncio.run(_bounded(folder, tmp_path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _bounded(folder: Path, tmp: Path) -> None:
    async with asyncio.timeout(SECONDS), running_kit(folder / "s", {}) as kit, _tapped(kit) as heard:
        await _scenario(kit, folder / "s", tmp, heard)


async def _scenario(kit: Kit, state: Path, tmp: Path, heard: list[bytes]) -> None:
    first, second = "swordfish-Zm9vYmFy-1", "swordfish-cXV1eA-2"
    value = tmp / "value"
    value.write_text(first + "\n")
    await _hanse(state, "deploy", str(EXAMPLE / "secret.yaml"))
    set_to = await _hanse(state, "secret", "set", SECRET, "--from-file", str(value))
    assert set_to["version"] == 1
    await _hanse(state, "deploy", str(EXAMPLE / "function.yaml"), "--no-wait")
    await kit.until(lambda: _seals_with(kit, first), "the letter sealed with the first key", within_s=3 * PATIENCE_S)

    shown = await _hanse(state, "secret", "show", SECRET)
    (holder,) = shown["holders"]
    value.write_text(second)
    await _hanse(state, "secret", "rotate", SECRET, "--from-file", str(value))
    await kit.until(lambda: _seals_with(kit, second), "the letter sealed with the second key")
    reads = [row["predicate"] for row in await kit.ledger() if row["kind"] == "SecretRead"]
    assert {read["version"] for read in reads if read["is_released"]} == {1, 2}
    assert all(read["rules"] == ["base.read-own"] for read in reads if read["is_released"])

    await kit.send("POST", f"nodes/{holder['node']}/revoke")
    exposed = await _hanse(state, "secret", "show", SECRET)
    assert f"{holder['node']} was told it and is revoked" in exposed["advice"]
    await _hanse(state, "secret", "rotate", SECRET)
    assert (await _hanse(state, "secret", "show", SECRET))["advice"] == ""

    files = {path: path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()}
    assert any(b"sealing-key" in data for data in files.values()), "the search looks at the right bytes"
    assert any(b"secrets.v1" in _opened(message) for message in heard), "the answer was overheard"
    for plain in (first, second):
        forms = (plain.encode(), plain.encode().hex().encode(), base64.b64encode(plain.encode())[:24])
        for form in forms:
            assert [str(path) for path, data in files.items() if form in data] == []
            assert not any(form in message or form in _opened(message) for message in heard)


def _payload(message: bytes) -> bytes:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(message)["payload"]).encode()
    return b""


def _opened(message: bytes) -> bytes:
    """What an envelope carries: base64 would hide a plaintext from a search."""
    with contextlib.suppress(ValueError):
        return base64.b64decode(_payload(message))
    return b""


async def _seals_with(kit: Kit, key: str) -> bool:
    expected = hmac.new(key.encode(), LETTER, hashlib.sha256).hexdigest()
    with contextlib.suppress(httpx.HTTPError, ValueError):
        answer = await kit.http.post(kit.url(_any(kit), "/seals"), content=LETTER)
        return answer.status_code == 200 and answer.json()["seal"] == expected
    return False


def _any(kit: Kit) -> NodeId:
    del kit
    return NODES[0] if NODES[0] != WEST else NODES[1]


async def _hanse(state: Path, *arguments: str) -> Any:
    """Run one command as a user would; returns its JSON answer."""
    command = [sys.executable, "-m", "hanse", *arguments, "--state", str(state), "--output", "json"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(said)


@contextlib.asynccontextmanager
async def _tapped(kit: Kit) -> Any:
    """Everything that goes over the substrate, as its administrator could see it."""
    domain, entropy = kit.fabric.domain, SystemEntropy()
    link = NatsLink(
        LinkConfig(urls=(kit.fabric._substrate_url(),), name="tap", connect_timeout_us=30_000_000),
        rng=entropy.stream("tap"),
        credentials=lambda: NatsCredentials(jwt=domain.controller_jwt, seed=domain.controller_user.seed),
        tls=lambda: client_context(domain.bundle_pem),
    )
    heard: list[bytes] = []

    async def listen() -> None:
        async for message in NatsBus(link).subscribe(">"):
            heard.append(message.data)

    await link.start()
    await link.wait_connected(60_000_000)
    listening = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await link.stop()
