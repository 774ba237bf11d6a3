"""What a node offers, as its owner says on the command line: `NAME=AMOUNT texts, Node -> Node`.

Amounts are written as in a manifest. What is not named stays as the Node document says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hanse.core import units
from hanse.core.errors import UnitError
from hanse.core.fabric import PARTS, Gpus, Node, Resources

_HINT = "write it like `disk=200Gi`, `bandwidth=1Gbit/s`, `gpu=L4:2`, `licence=4`"


def with_offers(node: Node, texts: Iterable[str]) -> Node:
    """A node that offers what the texts say; 0 withdraws an offer. Raises UnitError."""
    for text in texts:
        name, equals, amount = text.partition("=")
        if not equals or not name or not amount:
            raise UnitError(f"not an offer: {text!r}", hint=_HINT)
        node = _with_gpus(node, amount) if name == "gpu" else _with_amount(node, name, amount)
    return node


def _with_gpus(node: Node, text: str) -> Node:
    model, colon, count = text.partition(":")
    if text == "0":
        return replace(node, gpus=None)
    if not model or (colon and not count.isdecimal()) or not 1 <= int(count or 1) <= 64:
        raise UnitError(f"not GPUs: {text!r}", hint="write MODEL:COUNT with 1 to 64 devices, like `gpu=L4:2`")
    memory = node.gpus.memory_bytes if node.gpus is not None and node.gpus.model == model else 0
    return replace(node, gpus=Gpus(model=model, count=int(count or 1), memory_bytes=memory))


def _with_amount(node: Node, name: str, text: str) -> Node:
    capacity = node.capacity
    if name in PARTS:
        read = {"cpu": units.cpu_milli, "bandwidth": units.bandwidth_bps}.get(name, units.memory_bytes)
        amount = 0 if text == "0" else read(text)
        parts = {field: capacity.of(part) for part, field in PARTS.items()} | {PARTS[name]: amount}
        return replace(node, capacity=Resources(**parts, custom=capacity.custom))
    if not text.isdecimal():
        raise UnitError(f"not a whole number of {name}: {text!r}", hint=_HINT)
    custom = {**dict(capacity.custom), name: int(text)}
    offered = tuple(sorted((key, amount) for key, amount in custom.items() if amount))
    return replace(node, capacity=replace(capacity, custom=offered))
