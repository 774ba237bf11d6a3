"""Send this domain's log to its mirrors: the HTTP of C2SP tlog-mirror.

`Mirroring -> POST add-checkpoint, POST add-entries -> Mirroring`, every few seconds while this controller leads. A
mirror that does not answer holds nothing up and catches up later.
"""

from __future__ import annotations

import asyncio
import ssl

import httpx
import structlog

from hanse.adapters.tls import client_context
from hanse.control.controller import Controller
from hanse.control.cosigning import Target, targets_of
from hanse.core.errors import HanseError
from hanse.ledger import load_policy
from hanse.ledger.mirror import UPLOAD_TYPE
from hanse.wire.messages import Witnesses

log = structlog.get_logger("control")

LOOK_S = 5.0
"""How often a mirror is brought up to date. Each time costs it a few partial files, so not at every checkpoint."""
DEADLINE_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024
_ASKS = 3
_UPLOADS = 100
"""Resumed uploads in one look; a mirror that accepts one package at a time is caught up with at the next."""


async def keep_mirrors(controller: Controller) -> None:
    """Keep sending until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        if not controller.lease.is_leader():
            continue
        try:
            record = await controller.mirroring.mirrors()
            if record is not None:
                await _send_all(controller, record)
        except HanseError as error:
            log.warning("mirror.unsent", code=error.code, reason=error.message)


async def _send_all(controller: Controller, record: Witnesses) -> None:
    context = client_context(record.bundle_pem.encode()) if record.bundle_pem else ssl.create_default_context()
    async with httpx.AsyncClient(verify=context, timeout=DEADLINE_S, trust_env=False) as client:
        for target in targets_of(load_policy(record.policy.encode())):
            try:
                await send_one(controller, client, target)
            except httpx.HTTPError as error:
                log.warning("mirror.unreachable", url=target.url, reason=repr(error))


async def send_one(controller: Controller, client: httpx.AsyncClient, target: Target) -> None:
    """Bring one mirror to the newest checkpoint. Raises httpx.HTTPError, StoreError, LedgerDamaged."""
    mirroring, base = controller.mirroring, target.url.rstrip("/")
    for _ in range(_ASKS):
        asked = await mirroring.request_for(target)
        if asked is None:
            return
        answer = await client.post(f"{base}/add-checkpoint", content=asked.encode())
        is_admitted = await mirroring.admitted(target, asked, answer.status_code, answer.content[:MAX_ANSWER_BYTES])
        if is_admitted is None:
            continue
        if not is_admitted:
            return
        upload = mirroring.first_upload(asked, target)
        for _ in range(_UPLOADS):
            answer = await client.post(
                f"{base}/add-entries", content=mirroring.body(upload), headers={"content-type": UPLOAD_TYPE}
            )
            body = answer.content[:MAX_ANSWER_BYTES]
            following = mirroring.uploaded(target, asked, upload, answer.status_code, body)
            if following is None:
                return
            upload = following
