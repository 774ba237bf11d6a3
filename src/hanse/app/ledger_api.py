"""The API of the ledger, and of this domain as a witness and mirror of others' ledgers.

`Controller -> APIRouter`. What the C2SP protocols serve needs no token: a signature is what admits a checkpoint, a
proof what admits an entry.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import Caller, guard, open_to_all
from hanse.app.bodies import inflated, read_body
from hanse.control.controller import Controller
from hanse.control.cosigning import CosigningView
from hanse.control.known_logs import LogView
from hanse.control.mirror import MirroredView
from hanse.control.mirroring import MirroringView
from hanse.control.service import FabricService, NotFound
from hanse.control.state_anchor import StateHealth
from hanse.core.ids import NodeId
from hanse.ledger.note import MAX_NOTE_BYTES
from hanse.ledger.tiles import CHECKPOINT_KEY
from hanse.ledger.witness import MAX_REQUEST_BYTES

UPLOAD_S = 600.0
"""A mirror's client that needs longer for one request is cut off; what it brought stays."""

Trusted = Annotated[Caller, guard("trust", "ledger")]


class PolicyBody(BaseModel):
    """A policy file (C2SP tlog-policy) as text."""

    model_config = ConfigDict(extra="forbid")
    policy: str = Field(max_length=2**20)


class NodeBody(BaseModel):
    """One node, by its id."""

    model_config = ConfigDict(extra="forbid")
    node: str


class WitnessesBody(PolicyBody):
    """Witnesses with their addresses, and the authorities of their servers (PEM)."""

    bundle_pem: str = Field(default="", max_length=2**18)


def ledger_router(controller: Controller) -> APIRouter:
    """Build the routes of users."""
    router = APIRouter()

    @router.get("/api/v1/ledger/checkpoint", dependencies=[guard("read", "fabric")])
    async def checkpoint() -> Response:
        """The newest signed checkpoint (C2SP tlog-checkpoint)."""
        return Response(await controller.journal.checkpoint(), media_type="text/plain; charset=utf-8")

    @router.get("/api/v1/ledger/policy", dependencies=[guard("read", "fabric")])
    async def ledger_policy() -> Response:
        """The keys that sign this domain's ledger (C2SP tlog-policy)."""
        return Response(await controller.cosigning.policy_text(), media_type="text/plain; charset=utf-8")

    @router.get("/api/v1/ledger/state", dependencies=[guard("audit", "ledger")])
    async def state_health() -> StateHealth:
        """The fabric's store against the state that the ledger anchored last: silent loss and rot."""
        return await controller.anchor.check()

    @router.post("/api/v1/ledger/gap-proofs", dependencies=[guard("audit", "ledger")])
    async def gap_proof(request: Request) -> Response:
        """Prove that nothing is missing between the checkpoint in the body (empty: the beginning) and the newest."""
        since = await read_body(request, MAX_NOTE_BYTES, code="ledger.too_large")
        return Response(await controller.journal.gap_proof(since), media_type="application/json")

    @router.get("/api/v1/ledger/entries", dependencies=[guard("audit", "ledger")])
    async def ledger_entries(after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Entries of the ledger from an index on, decoded."""
        return await controller.journal.entries(after, min(limit, 1_000))

    return router


def cosigners_router(controller: Controller, service: FabricService) -> APIRouter:
    """Build the users' routes about witnesses, in both directions, and alarms of either kind."""
    router = APIRouter()

    @router.get("/api/v1/ledger/witnesses", dependencies=[guard("audit", "ledger")])
    async def ledger_witnesses() -> CosigningView:
        """Who cosigns this domain's ledger, how far, and whether any of them saw another history."""
        return await controller.cosigning.view()

    @router.put("/api/v1/ledger/witnesses", status_code=202)
    async def use_witnesses(body: WitnessesBody, by: Trusted) -> dict[str, str]:
        """Have these witnesses cosign from now on (C2SP tlog-policy with their addresses)."""
        await service.note("set", "ledger/witnesses", user=by.id)
        await controller.cosigning.cosigners.use(body.policy.encode(), body.bundle_pem)
        return {"status": "asked"}

    @router.post("/api/v1/ledger/witnesses/nodes", status_code=202)
    async def add_node_witness(body: NodeBody, by: Trusted) -> dict[str, str]:
        """Have a node cosign from now on, beside those that do: its key is asked for and pinned."""
        await service.note("set", f"ledger/witnesses/node/{body.node}", user=by.id)
        return {"witness": await controller.node_witnesses.add(NodeId(body.node))}

    @router.get("/api/v1/witness/logs", dependencies=[guard("audit", "ledger")])
    async def witnessed_logs() -> tuple[LogView, ...]:
        """Logs of other domains that this domain cosigns."""
        return await controller.witness.known.views()

    @router.get("/api/v1/witness/keys", dependencies=[guard("read", "fabric")])
    async def witness_keys() -> list[str]:
        """The verifier keys of this domain as a witness, for others' policies."""
        return [key.vkey for key in controller.witness.keys]

    @router.put("/api/v1/witness/logs", status_code=202)
    async def witness_log(body: PolicyBody, by: Trusted) -> dict[str, str]:
        """Cosign another domain's log from now on, by that domain's policy."""
        await service.note("witness", "ledger/log", user=by.id)
        return {"origin": await controller.witness.known.add(body.policy.encode())}

    @router.delete("/api/v1/ledger/alarms")
    async def settle_alarm(url: str, by: Trusted) -> dict[str, bool]:
        """Drop the alarm of a witness or mirror that somebody has looked into."""
        await service.note("settle", "ledger/alarm", user=by.id)
        return {"settled": await controller.cosigning.settle_alarm(url)}

    @router.delete("/api/v1/witness/splits")
    async def forgive_split(origin: str, by: Trusted) -> dict[str, bool]:
        """Drop the evidence of a split view of another domain's log, once somebody has looked into it."""
        await service.note("forgive", "ledger/split", user=by.id)
        known = (controller.witness.known, controller.mirror.known)
        return {"settled": any([await one.forgive(origin) for one in known])}

    return router


def mirrors_router(controller: Controller, service: FabricService) -> APIRouter:
    """Build the users' routes about mirrors, in both directions."""
    router = APIRouter()

    @router.get("/api/v1/ledger/mirrors", dependencies=[guard("audit", "ledger")])
    async def ledger_mirrors() -> MirroringView:
        """Where copies of this domain's ledger are kept, and how far each is."""
        return await controller.mirroring.view()

    @router.put("/api/v1/ledger/mirrors", status_code=202)
    async def use_mirrors(body: WitnessesBody, by: Trusted) -> dict[str, str]:
        """Keep copies at these mirrors from now on (C2SP tlog-policy with their addresses)."""
        await service.note("set", "ledger/mirrors", user=by.id)
        await controller.mirroring.cosigners.use(body.policy.encode(), body.bundle_pem)
        return {"status": "asked"}

    @router.get("/api/v1/mirror/logs", dependencies=[guard("audit", "ledger")])
    async def mirrored_logs() -> tuple[MirroredView, ...]:
        """Logs of other domains that are mirrored here."""
        return await controller.mirror.logs()

    @router.get("/api/v1/mirror/keys", dependencies=[guard("read", "fabric")])
    async def mirror_keys() -> list[str]:
        """The verifier keys of this domain as a mirror, for others' policies."""
        return [key.vkey for key in controller.mirror.keys]

    @router.put("/api/v1/mirror/logs", status_code=202)
    async def mirror_log(body: PolicyBody, by: Trusted) -> dict[str, str]:
        """Mirror another domain's log from now on, by that domain's policy."""
        await service.note("mirror", "ledger/log", user=by.id)
        return {"origin": await controller.mirror.known.add(body.policy.encode())}

    return router


def open_router(controller: Controller) -> APIRouter:
    """Build the routes of the C2SP protocols, which are open."""
    router = APIRouter()

    @router.post("/witness/add-checkpoint", dependencies=[open_to_all()])
    async def add_checkpoint(request: Request) -> Response:
        """Cosign a checkpoint of a log that is witnessed here (C2SP tlog-witness): its signature is what admits it."""
        body = await read_body(request, MAX_REQUEST_BYTES, code="witness.too_large")
        answer = await controller.witness.add_checkpoint(body)
        return Response(answer.body, answer.status, media_type=answer.media_type)

    @router.get("/witness/{origin_hash}/checkpoint", dependencies=[open_to_all()])
    async def witnessed_checkpoint(origin_hash: str) -> Response:
        """The last cosigned checkpoint of a log, by the SHA-256 of its origin."""
        found = await controller.witness.checkpoint(origin_hash) if re.fullmatch("[0-9a-f]{64}", origin_hash) else None
        if found is None:
            raise NotFound("no such log is witnessed here")
        return Response(found, media_type="text/plain; charset=utf-8")

    @router.post("/mirror/add-checkpoint", dependencies=[open_to_all()])
    async def mirror_checkpoint(request: Request) -> Response:
        """Move the pending checkpoint of a mirrored log on (C2SP tlog-mirror): its signature is what admits it."""
        body = await read_body(request, MAX_REQUEST_BYTES, code="witness.too_large")
        answer = await controller.mirror.add_checkpoint(body)
        return Response(answer.body, answer.status, media_type=answer.media_type)

    @router.post("/mirror/add-entries", dependencies=[open_to_all()])
    async def mirror_entries(request: Request) -> Response:
        """Take entries of a mirrored log in: the proof in each package is what admits it."""
        chunks = inflated(request.stream()) if request.headers.get("content-encoding") == "gzip" else request.stream()
        async with asyncio.timeout(UPLOAD_S):
            answer = await controller.mirror.add_entries(chunks)
        return Response(answer.body, answer.status, media_type=answer.media_type, headers={"accept-encoding": "gzip"})

    @router.get("/mirror/{origin_hash}/{path:path}", dependencies=[open_to_all()])
    async def mirrored_file(origin_hash: str, path: str) -> Response:
        """A file of a mirrored log (C2SP tlog-tiles), by the SHA-256 of its origin."""
        found = await controller.mirror.file(origin_hash, path) if re.fullmatch("[0-9a-f]{64}", origin_hash) else None
        if found is None:
            raise NotFound("no such file of a mirrored log")
        is_text = path == CHECKPOINT_KEY
        return Response(found, media_type="text/plain; charset=utf-8" if is_text else "application/octet-stream")

    return router
