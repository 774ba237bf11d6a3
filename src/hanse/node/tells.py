"""Answers to the controller's questions: `sealed question -> sealed answer`. A question nobody trusted asked gets
none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from hanse.core.errors import HanseError
from hanse.core.ids import NodeId
from hanse.core.ports import BusMessage, NodePorts
from hanse.node.surveying import dial, survey
from hanse.node.witness import NodeWitness
from hanse.wire import canonical, envelope
from hanse.wire.messages import LogsReply, LogsRequest, StatsReply, StatsRequest
from hanse.wire.secret_messages import SecretsChanged
from hanse.wire.survey_messages import DialReply, DialRequest, Ping, Pong, SurveyReply, SurveyRequest
from hanse.wire.witness_messages import WitnessAnswer, WitnessKey, WitnessKeyRequest, WitnessRequest

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
    witness: NodeWitness,
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
            case "witness-key":
                envelope.open_sealed(message.data, WitnessKeyRequest, trusted)
                return envelope.seal(WitnessKey(node=me, vkey=await witness.vkey()), ports.signer)
            case "witness":
                question = envelope.open_sealed(message.data, WitnessRequest, trusted).message
                status, body = await witness.answer(question)
                request = canonical.digest_bytes(message.data)
                return envelope.seal(WitnessAnswer(node=me, request=request, status=status, body=body), ports.signer)
            case "ping":
                # Whoever asks: the answer says no more than that this node's key is here.
                return envelope.seal(Pong(node=me, nonce=canonical.decode(message.data, Ping).nonce), ports.signer)
            case "survey":
                wanted = envelope.open_sealed(message.data, SurveyRequest, trusted).message
                found = await survey(wanted.targets, ports.bus, ports.clock, ports.entropy)
                return envelope.seal(SurveyReply(node=me, answered=found), ports.signer)
            case "dial":
                sites = envelope.open_sealed(message.data, DialRequest, trusted).message.targets
                return envelope.seal(DialReply(node=me, dialled=await dial(sites, ports.dialer)), ports.signer)
            case "secrets":
                envelope.open_sealed(message.data, SecretsChanged, trusted)
                on_secrets()
                return None
            case _:
                return None
    except HanseError as error:
        log.warning("tell.refused", what=what, code=error.code, reason=error.message)
        return None
