"""JetStream's names and answers: streams, subjects, API requests and the codes of its errors.

`NatsLink + JSON -> answers, or StoreError with a stable code`. Names follow ADR-8 (key-value) and ADR-20 (objects) of
nats-architecture-and-design, so the usual tools can read what is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nats.aio.msg import Msg

from hanse.adapters.nats_link import NatsLink
from hanse.core.errors import BusError, ConflictError, StoreError
from hanse.identity.nats_accounts import ingest_subject

WRONG_SEQUENCE = frozenset({10071, 10164})
"""JSStreamWrongLastSequence and its constant form: a compare-and-swap that lost."""
NO_STREAM: Final = 10059
CONFIG_DIFFERS: Final = 10058
_FULL = frozenset({10023, 10047, 10122})
"""Insufficient resources, storage resources exceeded, maximum bytes exceeded."""
_STORE_FAILED: Final = 10077


def kv_stream(bucket: str) -> str:
    """Name of the stream behind a key-value bucket."""
    return f"KV_{bucket}"


def kv_subject(bucket: str, key: str) -> str:
    """Subject under which a key is kept."""
    return f"$KV.{bucket}.{key}"


async def api(link: NatsLink, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Call the JetStream API. Raises StoreError."""
    data = json.dumps(body).encode() if body is not None else b""
    return parse(await ask(link, f"{link.config.api}.{verb}", data), what=verb)


async def ask(link: NatsLink, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> Msg:
    """Request on the link, with the bus's failures told as the store's."""
    try:
        return await link.request(subject, data, headers=headers)
    except BusError as error:
        raise store_error(error) from error


async def keep(link: NatsLink, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> Msg:
    """Send what is to be kept under `subject`, the way the bucket takes it."""
    return await ask(link, ingest_subject(link.config.ingest, subject), data, headers)


def parse(message: Msg, *, what: str) -> dict[str, Any]:
    """Read an API answer or a publish acknowledgement. Raises ConflictError or StoreError."""
    answer: dict[str, Any] = json.loads(message.data)
    error = answer.get("error")
    if error is None:
        return answer
    number, text = int(error.get("err_code", 0)), str(error.get("description", "unknown"))
    context: dict[str, str | int] = {"what": what, "err_code": number}
    if number in WRONG_SEQUENCE:
        raise ConflictError(f"{what}: {text}", context=context)
    if number in _FULL or (number == _STORE_FAILED and ("no space" in text or "maximum bytes" in text)):
        raise StoreError(
            f"{what}: {text}", code="store.full", hint="free space in the state directory", context=context
        )
    if number == NO_STREAM:
        raise StoreError(
            f"{what}: no such bucket",
            code="store.no_bucket",
            hint="the controller creates buckets when it first starts",
            context=context,
        )
    raise StoreError(f"{what}: {text}", context=context)


def store_error(error: BusError) -> StoreError:
    """Tell a bus failure as the store's: same sentence, code of the store."""
    code = {"bus.denied": "store.denied", "bus.too_large": "store.too_large"}.get(error.code, "store.unavailable")
    return StoreError(error.message, code=code, hint=error.hint, retry=error.retry, context=error.context)
