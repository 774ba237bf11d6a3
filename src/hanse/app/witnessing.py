"""Send this domain's checkpoints to its witnesses: the HTTP of C2SP tlog-witness, and the bus for nodes.

`Cosigning -> add-checkpoint -> Cosigning`, after each checkpoint, while this controller leads.
"""

from __future__ import annotations

import httpx
import structlog

from hanse.app.cosigners import ASKS, MAX_ANSWER_BYTES, keep_asking
from hanse.control.controller import Controller
from hanse.control.cosigners import Target
from hanse.control.node_witnesses import node_of
from hanse.ledger.witness import Asked

log = structlog.get_logger("control")

LOOK_S = 1.0
"""How often a new checkpoint is looked for: entries are integrated within a second, cosigned within two."""
DEADLINE_S = 5.0


async def ask_witnesses(controller: Controller) -> None:
    """Keep asking until cancelled."""

    async def send(client: httpx.AsyncClient, target: Target) -> None:
        await ask_one(controller, client, target)

    await keep_asking(controller, controller.cosigning.cosigners, send, look_s=LOOK_S, deadline_s=DEADLINE_S)


async def ask_one(controller: Controller, client: httpx.AsyncClient, target: Target) -> None:
    """Bring one witness to the newest checkpoint. Raises httpx.HTTPError, BusError, StoreError, LedgerDamaged."""
    for _ in range(ASKS):
        asked = await controller.cosigning.request_for(target)
        if asked is None:
            return
        status, body = await _post(controller, client, target, asked)
        if len(body) > MAX_ANSWER_BYTES:
            log.warning("witness.bad_answer", url=target.url, reason=f"over {MAX_ANSWER_BYTES} bytes")
            return
        if not await controller.cosigning.take(target, asked, status, body):
            return


async def _post(controller: Controller, client: httpx.AsyncClient, target: Target, asked: Asked) -> tuple[int, bytes]:
    node = node_of(target.url)
    if node is not None:
        return await controller.node_witnesses.ask(node, asked)
    answer = await client.post(f"{target.url.rstrip('/')}/add-checkpoint", content=asked.encode())
    return answer.status_code, answer.content[: MAX_ANSWER_BYTES + 1]
