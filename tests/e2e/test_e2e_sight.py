"""Only nurses of one issuer: a real fabric's fronts, TLS, keys of the issuer; and what can be seen of it afterwards."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fabric_kit import ANSWER_S, NODES, Harness, Kit, function

from hanse.adapters.tls import client_context
from hanse.app.options import FrontOptions, SightOptions

pytestmark = pytest.mark.fabric
ISSUER, OTHER, AUDIENCE = "https://id.clinic.example", "https://id.elsewhere.example", "wards"
ACCESS = {
    "users": [{"issuer": ISSUER}],
    "rules": (
        '@id("nurses-only") @message("the wards are for nurses")\n'
        'forbid (principal, action == Action::"invoke", resource)\n'
        'unless { principal is User && principal.hasTag("role") && principal.getTag("role").contains("nurse") };'
    ),
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
FOREIGN = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))


def jwks(key: Ed25519PrivateKey) -> str:
    return json.dumps(
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(key.public_key().public_bytes_raw())}]}
    )


def token(key: Ed25519PrivateKey = KEY, **changed: Any) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "erika", "role": "nurse", "exp": int(time.time()) + 300} | changed
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": "k"}, claims)]
    return ".".join([*parts, b64(key.sign(".".join(parts).encode()))])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sight") / "access.jsonl"


@pytest.fixture(scope="module")
def harness(guests: Mapping[str, Path], log: Path) -> Iterator[Harness]:
    keys = log.parent / "issuer.json"
    keys.write_text(jwks(KEY))
    front = FrontOptions(
        is_tls=True,
        issuers={ISSUER: str(keys)},
        sight=SightOptions(access_log=str(log), access_log_ratio_ppm=0, account_us=1_000_000),
    )
    with Harness(guests, front=front) as running:
        yield running


def test_only_nurses_of_one_issuer_get_in_wherever_they_ask(harness: Harness, log: Path) -> None:
    async def scenario(kit: Kit) -> None:
        auth = {"jwt": {"issuer": ISSUER, "audience": AUDIENCE}}
        more = f"auth: {json.dumps(auth)}\naccess: {json.dumps(ACCESS)}"
        await kit.submit(function("wards", more=more), "wards", guest="mirror")
        [row] = await kit.until_running("wards", 1)
        verify = client_context(kit.fabric.domain.bundle_pem)
        async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=ANSWER_S) as client:

            async def ask(node: str, bearer: str | None) -> httpx.Response:
                headers = {} if bearer is None else {"authorization": f"Bearer {bearer}"}
                return await client.get(kit.url(node, "/wards/erika?born=1970"), headers=headers)

            for node in NODES:
                # The one that runs it, and two that pass the request on to it.
                nurse = await ask(node, token())
                assert (nurse.status_code, nurse.headers["hanse-node"]) == (200, row["node"])
                assert "hanse-subject: erika" in nurse.text
                assert (await ask(node, token(role=["clerk", "nurse"]))).status_code == 200
                clerk = await ask(node, token(role="clerk"))
                assert (clerk.status_code, clerk.headers["hanse-error"]) == (403, "policy.denied")
                assert clerk.json()["message"] == "nurses-only: the wards are for nurses"
                assert (await ask(node, token(role=None))).json()["message"].startswith("nurses-only:")
                assert (await ask(node, None)).status_code == 401
                elsewhere = await ask(node, token(FOREIGN, iss=OTHER))
                assert elsewhere.status_code == 401
                forged = await ask(node, token(FOREIGN))
                assert (forged.status_code, forged.headers["hanse-error"]) == (401, "auth.signature")

            async def accounted() -> dict[str, int] | None:
                seen: dict[str, int] = {}
                for entry in await kit.get("ledger/entries?limit=1000"):
                    if entry["kind"] != "AccountGiven":
                        continue
                    for one in entry["account"]["decisions"]:
                        assert one["principal"] in {"user", "anonymous"}
                        name = f"{one['outcome']} {' '.join(one['policies'])}"
                        seen[name] = seen.get(name, 0) + one["count"]
                return seen if sum(seen.values()) == 4 * len(NODES) else None

            seen = await kit.until(accounted, "every decision standing in the ledger")
        assert seen["deny nurses-only"] == 2 * len(NODES)
        entries = json.dumps(await kit.get("ledger/entries?limit=1000"))
        assert "erika" not in entries
        [usage] = [one for one in await kit.get("usage") if one["workload"] == "test.wards"]
        assert usage["cpu_us"] > 0
        assert usage["peak_memory_bytes"] > 0

        async def told() -> str | None:
            text = log.read_text() if log.exists() else ""
            denied = [line for line in text.splitlines() if json.loads(line)["error"] == "policy.denied"]
            return text if len(denied) == 2 * len(NODES) else None

        # Refusals always, what went well never: that is what the share of zero says.
        text = await kit.until(told, "every refusal being in the access log")
        assert "erika" not in text
        assert "1970" not in text
        lines = [json.loads(line) for line in text.splitlines()]
        assert {"auth.missing", "auth.signature"} <= {line["error"] for line in lines}
        assert all(line["status"] >= 400 for line in lines)

    harness.run(scenario(harness.kit))
