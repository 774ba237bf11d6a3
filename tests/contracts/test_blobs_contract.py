"""The `Blobs` contract, over memory, disk and real NATS: bytes by digest, never other bytes than asked for."""

from __future__ import annotations

import asyncio
import random

import pytest

from aio import run
from hanse.core.errors import BlobError
from hanse.core.ids import Digest
from hanse.wire.canonical import digest_bytes


@pytest.mark.parametrize("size", [0, 1, 256 * 2**10, 256 * 2**10 + 1, 3 * 2**20 + 17])
def test_what_was_put_is_what_is_got(blob_stores, size):
    async def scenario():
        async with blob_stores() as s:
            data = random.Random(size).randbytes(size)
            digest = await s.mine.put(data)
            assert digest == digest_bytes(data)
            assert await s.other.has(digest)
            assert await s.other.get(digest) == data

    run(scenario())


def test_putting_again_is_free_of_effect(blob_stores):
    async def scenario():
        async with blob_stores() as s:
            first, second = await asyncio.gather(s.mine.put(b"same" * 1_000), s.other.put(b"same" * 1_000))
            assert first == second == await s.mine.put(b"same" * 1_000)
            assert await s.mine.get(first) == b"same" * 1_000

    run(scenario())


def test_a_missing_blob_is_named(blob_stores):
    async def scenario():
        async with blob_stores() as s:
            digest = Digest("sha256:" + "0" * 64)
            assert not await s.mine.has(digest)
            with pytest.raises(BlobError) as failed:
                await s.mine.get(digest)
            assert failed.value.code == "blob.missing"
            assert digest in failed.value.message
            await s.mine.delete(digest)

    run(scenario())


def test_a_deleted_blob_is_gone_and_can_be_put_again(blob_stores):
    async def scenario():
        async with blob_stores() as s:
            digest = await s.mine.put(b"x" * 300_000)
            kept = await s.mine.put(b"y" * 300_000)
            await s.mine.delete(digest)
            assert not await s.other.has(digest)
            assert await s.other.get(kept) == b"y" * 300_000
            assert await s.mine.put(b"x" * 300_000) == digest
            assert await s.other.get(digest) == b"x" * 300_000

    run(scenario())


def test_never_other_bytes_than_the_digest_says(blob_stores):
    async def scenario():
        async with blob_stores() as s:
            digest, other = await s.mine.put(b"genuine" * 1_000), await s.mine.put(b"planted" * 1_000)
            await s.damage(digest, other)
            with pytest.raises(BlobError) as failed:
                await s.other.get(digest)
            assert failed.value.code == "blob.damaged"
            await s.mine.delete(digest)
            await s.mine.put(b"genuine" * 1_000)
            assert await s.other.get(digest) == b"genuine" * 1_000, "it can be healed"

    run(scenario())
