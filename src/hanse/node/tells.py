"""Answers to the controller's questions: `sealed question -> sealed answer`. A question nobody trusted asked gets
none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.core.ports import BusMessage, NodePorts
from hanse.wire import envelope
from hanse.wire.messages import LogsReply, LogsRequest, SecretsChanged, StatsReply, StatsRequest

log = structlog.get_logger("node")

LINES_MAX = 1_000
"""Most log lines in one answer: keeps it under the bus's payload limit."""


async def answer(
    message: BusMessage,
    ports: NodePorts,
    *,
    trusted: Mapping[str, bytes],
    me: NodeId,
    on_secrets: Callable[[], None],
) -> bytes | None:
    """Answer one question; None where it is not to be answered. `on_secrets`: called when secrets have changed."""
    what = message.subject.rpartition(".")[2]
    try:
        match what:
            case "logs":
                asked = envelope.open_sealed(message.data, LogsRequest, trusted).message
                lines = await ports.runtime.logs(asked.workload, asked.after, min(asked.limit, LINES_MAX))
                return envelope.seal(LogsReply(node=me, lines=tuple(lines)), ports.signer)
            case "stats":
                envelope.open_sealed(message.data, StatsRequest, trusted)
                return envelope.seal(StatsReply(node=me, workloads=await ports.runtime.stats()), ports.signer)
            case "secrets":
                envelope.open_sealed(message.data, SecretsChanged, trusted)
                on_secrets()
                return None
            case _:
                return None
    except HanseError as error:
        log.warning("tell.refused", what=what, code=error.code, reason=error.message)
        return None
