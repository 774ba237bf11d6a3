"""The loop that witnesses and mirrors of this domain's log are asked in. `Cosigners -> send to each server`.

While this controller leads, every server is brought to the newest checkpoint; one that does not answer holds nothing
up and is asked again at the next look. What is sent is the business of `witnessing` and `mirroring`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import httpx
import structlog

from hanse.adapters.tls import client_context
from hanse.control.controller import Controller
from hanse.control.cosigners import Cosigners, Target, targets_of
from hanse.core.errors import HanseError
from hanse.ledger import load_policy
from hanse.wire.messages import Witnesses

log = structlog.get_logger("control")

MAX_ANSWER_BYTES = 64 * 1024
ASKS = 3
"""A server may tell the size it knows once, and another controller may be quicker once."""

Send = Callable[[httpx.AsyncClient, Target], Awaitable[None]]


async def keep_asking(
    controller: Controller, cosigners: Cosigners, send: Send, *, look_s: float, deadline_s: float
) -> None:
    """Bring every server up to date each `look_s` seconds until cancelled; `deadline_s` bounds one request."""
    while True:
        await asyncio.sleep(look_s)
        if not controller.lease.is_leader():
            continue
        try:
            record = await cosigners.record()
            if record is not None:
                await _send_all(record, send, deadline_s)
        except HanseError as error:
            log.warning("cosigner.unasked", code=error.code, reason=error.message)


async def _send_all(record: Witnesses, send: Send, deadline_s: float) -> None:
    context = client_context(record.bundle_pem.encode()) if record.bundle_pem else ssl.create_default_context()
    async with httpx.AsyncClient(verify=context, timeout=deadline_s, trust_env=False) as client:
        for target in targets_of(load_policy(record.policy.encode())):
            try:
                await send(client, target)
            except (httpx.HTTPError, HanseError) as error:
                log.warning("cosigner.unreachable", url=target.url, reason=repr(error))
