"""Call a workload through the front of a node. `workload, node -> answer, who served it, how long it took`."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from hanse.control.views import NodeView, WorkloadView
from hanse.core.errors import HanseError

SERVED_BY = "hanse-node"
"""Response header of the engine: the node whose instance answered."""
ERROR_HEADER = "hanse-error"
"""Response header of the engine: the stable code where the fabric, not the function, answered."""


class NoFront(HanseError):
    """Raised when there is no node to call through."""

    code = "front.unavailable"
    retry = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One answered request."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    through: str
    """The node whose front took the request."""
    served_by: str
    """The node that answered, as the engine says; empty if it does not."""
    took_us: int
    error_code: str

    @property
    def is_ok(self) -> bool:
        """Whether the function answered and not with an error."""
        return self.status < 400


def front_url(node: NodeView) -> str:
    """The base URL of a node's front."""
    return node.front if "://" in node.front else f"http://{node.front}"


def pick_front(workload: WorkloadView, nodes: Sequence[NodeView], wanted: str | None) -> NodeView:
    """The node to call through: the one named, else one that serves the workload, else any that is heard of.

    Raises NoFront; ``not_found`` for a node that does not exist.
    """
    if wanted is not None:
        for node in nodes:
            if node.id == wanted:
                return _with_front(node)
        raise NoFront(
            f"no node {wanted}", code="not_found", hint=f"there is: {', '.join(n.id for n in nodes)}", retry=False
        )
    ready = [node for node in nodes if node.reach in ("ready", "draining", "suspect") and node.front]
    if not ready:
        raise NoFront("no node is heard of", hint="see `hanse get nodes`")
    return min(ready, key=lambda node: (node.id not in workload.nodes, node.reach != "ready", node.id))


def call(
    base_url: str,
    path: str,
    *,
    through: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
    ca_path: Path | None = None,
) -> Invocation:
    """Send one request; `ca_path` names authorities beside the public ones.

    Raises NoFront if the node does not answer in time.
    """
    began = time.perf_counter()
    try:
        with httpx.Client(timeout=timeout_s, trust_env=False, verify=_trust(ca_path)) as client:
            answer = client.request(method, base_url.rstrip("/") + path, content=body, headers=dict(headers or {}))
    except httpx.TransportError as error:
        raise NoFront(
            f"the front of {through} at {base_url} does not answer: {error}",
            hint="call through another node with --node",
        ) from error
    return Invocation(
        status=answer.status_code,
        headers=dict(answer.headers),
        body=answer.content,
        through=through,
        served_by=answer.headers.get(SERVED_BY, ""),
        took_us=round((time.perf_counter() - began) * 1e6),
        error_code=answer.headers.get(ERROR_HEADER, ""),
    )


def _trust(ca_path: Path | None) -> ssl.SSLContext:
    """The public authorities, and the domain's own, which issues a front's certificate where its owner gives none."""
    context = ssl.create_default_context()
    if ca_path is not None:
        context.load_verify_locations(cafile=ca_path)
    return context


def _with_front(node: NodeView) -> NodeView:
    if not node.front:
        raise NoFront(f"{node.id} has not said where its front is", hint="see `hanse get nodes`")
    return node
