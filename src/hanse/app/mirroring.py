"""Send this domain's log to its mirrors: the HTTP of C2SP tlog-mirror.

`Mirroring -> POST add-checkpoint, POST add-entries -> Mirroring`, every few seconds while this controller leads. A
mirror that does not answer holds nothing up and catches up later.
"""

from __future__ import annotations

import httpx

from hanse.app.cosigners import ASKS, MAX_ANSWER_BYTES, keep_asking
from hanse.control.controller import Controller
from hanse.control.cosigners import Target
from hanse.ledger.mirror import UPLOAD_TYPE

LOOK_S = 5.0
"""How often a mirror is brought up to date. Each time costs it a few partial files, so not at every checkpoint."""
DEADLINE_S = 30.0
_UPLOADS = 100
"""Resumed uploads in one look; a mirror that accepts one package at a time is caught up with at the next."""


async def keep_mirrors(controller: Controller) -> None:
    """Keep sending until cancelled."""

    async def send(client: httpx.AsyncClient, target: Target) -> None:
        await send_one(controller, client, target)

    await keep_asking(controller, controller.mirroring.cosigners, send, look_s=LOOK_S, deadline_s=DEADLINE_S)


async def send_one(controller: Controller, client: httpx.AsyncClient, target: Target) -> None:
    """Bring one mirror to the newest checkpoint. Raises httpx.HTTPError, StoreError, LedgerDamaged."""
    mirroring, base = controller.mirroring, target.url.rstrip("/")
    for _ in range(ASKS):
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
