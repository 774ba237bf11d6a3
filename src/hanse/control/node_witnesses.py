"""Nodes as witnesses of this domain's log: asked over the bus, named ``node://id`` in the quorum file.

`checkpoint -> sealed request -> node -> sealed answer`, the protocol of C2SP tlog-witness in other wires. What the node
holds is its own: the key it cosigns with, and the last checkpoint it cosigned. Both stay with it when controllers
change, so a domain that wants to show its nodes another history has to change the nodes' disks, too.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from hanse.control.cosigners import WitnessesRefused
from hanse.control.cosigning import Cosigning
from hanse.control.journal import Journal
from hanse.control.state import FabricState
from hanse.core.errors import BusError
from hanse.core.ids import NodeId
from hanse.core.ports import ControlPorts
from hanse.core.time import US_PER_S
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import parse_vkey
from hanse.ledger.witness import Asked
from hanse.wire import canonical, envelope
from hanse.wire.messages import WitnessAnswer, WitnessKey, WitnessKeyRequest, WitnessRequest
from hanse.wire.subjects import tell

_T = TypeVar("_T", bound=msgspec.Struct)
SCHEME = "node://"
DEADLINE_US = 5 * US_PER_S
"""For one answer: the node writes to its disk before it gives it."""


class NodeWitnesses:
    """What controllers say to nodes that witness."""

    def __init__(self, ports: ControlPorts, state: FabricState, cosigning: Cosigning, journal: Journal) -> None:
        self._ports = ports
        self._state = state
        self._cosigning = cosigning
        self._journal = journal

    async def add(self, node: NodeId) -> str:
        """Have a node cosign from now on, beside those that do; returns its verifier key, which is pinned.

        Its cosignature is demanded besides the quorum that stands. Raises BusError where the node does not answer,
        WitnessesRefused where it witnesses already or is not enrolled.
        """
        if not self._state.node_key(node):
            raise WitnessesRefused(f"{node} is not an enrolled node", hint="see `hanse get nodes`")
        sealed = envelope.seal(WitnessKeyRequest(at_us=self._ports.clock.wall()), self._ports.signer)
        told = await self._ask(node, "witness-key", sealed, WitnessKey)
        try:
            name = parse_vkey(told.vkey).name
        except LedgerFormatError as error:
            raise WitnessesRefused(f"{node} tells no key of a witness: {error.message}") from None
        if told.node != node or not name.endswith(f"/node/{node}"):
            raise WitnessesRefused(f"{node} tells the key of {name}")
        record = await self._cosigning.cosigners.record()
        text = _with_node("" if record is None else record.policy, node, told.vkey)
        await self._cosigning.cosigners.use(text.encode(), "" if record is None else record.bundle_pem)
        return told.vkey

    async def ask(self, node: NodeId, asked: Asked) -> tuple[int, bytes]:
        """Status and body of the standard's answer. Raises BusError, WireError, SignatureError."""
        question = WitnessRequest(log=self._journal.policy_text(None).decode(), body=asked.encode())
        sealed = envelope.seal(question, self._ports.signer)
        answer = await self._ask(node, "witness", sealed, WitnessAnswer)
        if answer.node != node or answer.request != canonical.digest_bytes(sealed):
            raise BusError(f"{node} answered another request", code="witness.wrong_answer", retry=True)
        return answer.status, answer.body

    async def _ask(self, node: NodeId, what: str, sealed: bytes, kind: type[_T]) -> _T:
        data = await self._ports.bus.request(tell(node, what), sealed, DEADLINE_US)
        return envelope.open_sealed(data, kind, self._state.node_key(node)).message


def node_of(url: str) -> NodeId | None:
    """The node that an address of a quorum file names; None for a server."""
    return NodeId(url.removeprefix(SCHEME).rstrip("/")) if url.startswith(SCHEME) else None


def _with_node(policy: str, node: NodeId, vkey: str) -> str:
    """A quorum file with one node more, whose cosignature is demanded besides what it demanded."""
    lines = policy.splitlines()
    if any(line.split()[-1:] == [f"{SCHEME}{node}"] for line in lines):
        raise WitnessesRefused(f"{node} witnesses already")
    quorum = next((line.split()[1] for line in lines if line.startswith("quorum ")), "none")
    name = f"node-{node}"
    fresh = [line for line in lines if not line.startswith("quorum ")]
    fresh.append(f"witness {name} {vkey} {SCHEME}{node}")
    if quorum == "none":
        return "\n".join([*fresh, f"quorum {name}", ""])
    return "\n".join([*fresh, f"group with-{name} all {quorum} {name}", f"quorum with-{name}", ""])
