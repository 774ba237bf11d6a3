"""Reading request bodies within bounds: `stream -> bytes`, or the pieces of a packed one."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from fastapi import Request

from hanse.core.errors import HanseError

INFLATE_BYTES = 256 * 1024
"""At most so much of a packed body is unpacked at once, whatever a few of its bytes stand for."""


class TooLarge(HanseError):
    """Raised when a request body is over its limit."""

    code = "api.too_large"


async def read_body(request: Request, at_most: int, *, code: str) -> bytes:
    """The whole body. Raises TooLarge over `at_most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            raise TooLarge(f"body over {at_most} bytes", code=code)
    return bytes(body)


async def inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Unpack a gzip body as it comes, never more than `INFLATE_BYTES` at once; stops at the first damage.

    What cannot be unpacked ends the body: the reader answers what it answers to an upload that breaks off.
    """
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    async for chunk in chunks:
        packed = chunk
        while packed and not unpacker.eof:
            try:
                yield unpacker.decompress(packed, INFLATE_BYTES)
            except zlib.error:
                return
            packed = unpacker.unconsumed_tail
