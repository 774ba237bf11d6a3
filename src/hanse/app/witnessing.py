"""Send this domain's checkpoints to its witnesses: the HTTP of C2SP tlog-witness.

`Cosigning -> POST add-checkpoint -> Cosigning`, after each checkpoint, while this controller leads. A witness that does
not answer is asked again at the next look; it holds nothing up.
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
from hanse.wire.messages import Witnesses

log = structlog.get_logger("control")

LOOK_S = 1.0
"""How often a new checkpoint is looked for: entries are integrated within a second, cosigned within two."""
DEADLINE_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024
_ASKS = 3
"""A witness may tell the size it knows once, and another controller may be quicker once."""


async def ask_witnesses(controller: Controller) -> None:
    """Keep asking until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        if not controller.lease.is_leader():
            continue
        try:
            record = await controller.cosigning.witnesses()
            if record is not None:
                await _ask_all(controller, record)
        except HanseError as error:
            log.warning("witness.unasked", code=error.code, reason=error.message)


async def _ask_all(controller: Controller, record: Witnesses) -> None:
    context = client_context(record.bundle_pem.encode()) if record.bundle_pem else ssl.create_default_context()
    async with httpx.AsyncClient(verify=context, timeout=DEADLINE_S, trust_env=False) as client:
        for target in targets_of(load_policy(record.policy.encode())):
            try:
                await ask_one(controller, client, target)
            except httpx.HTTPError as error:
                log.warning("witness.unreachable", url=target.url, reason=repr(error))


async def ask_one(controller: Controller, client: httpx.AsyncClient, target: Target) -> None:
    """Bring one witness to the newest checkpoint. Raises httpx.HTTPError, StoreError, LedgerDamaged."""
    for _ in range(_ASKS):
        asked = await controller.cosigning.request_for(target)
        if asked is None:
            return
        answer = await client.post(f"{target.url.rstrip('/')}/add-checkpoint", content=asked.encode())
        body = answer.content[: MAX_ANSWER_BYTES + 1]
        if len(body) > MAX_ANSWER_BYTES:
            log.warning("witness.bad_answer", url=target.url, reason=f"over {MAX_ANSWER_BYTES} bytes")
            return
        if not await controller.cosigning.take(target, asked, answer.status_code, body):
            return
