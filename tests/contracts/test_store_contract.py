"""The `Store` contract, over memory, disk and real NATS: what controllers and nodes may rely on."""

from __future__ import annotations

import asyncio

import pytest

from aio import run, soon, take, until
from hanse.core.errors import ConflictError, StoreError
from hanse.core.ports import Store


def test_a_write_is_read_back_with_its_revision(stores):
    async def scenario():
        async with stores() as s:
            assert await s.mine.get(s.bucket, "a.b") is None
            first = await s.mine.put(s.bucket, "a.b", b"one")
            second = await s.mine.put(s.bucket, "a.c", b"")
            assert 0 < first < second
            entry = await s.other.get(s.bucket, "a.b")
            assert (entry.bucket, entry.key, entry.value, entry.revision) == (s.bucket, "a.b", b"one", first)
            empty = await s.other.get(s.bucket, "a.c")
            assert empty.value == b"", "an empty value is a value, not absence"

    run(scenario())


def test_create_conflicts_with_a_present_key_and_leaves_it(stores):
    async def scenario():
        async with stores() as s:
            await s.mine.put(s.bucket, "k", b"mine", 0)
            with pytest.raises(ConflictError):
                await s.other.put(s.bucket, "k", b"other", 0)
            assert (await s.mine.get(s.bucket, "k")).value == b"mine"

    run(scenario())


def test_compare_and_swap_takes_only_the_current_revision(stores):
    async def scenario():
        async with stores() as s:
            first = await s.mine.put(s.bucket, "k", b"1")
            second = await s.mine.put(s.bucket, "k", b"2", first)
            for wrong in (first, second + 1_000):
                with pytest.raises(ConflictError):
                    await s.mine.put(s.bucket, "k", b"3", wrong)
            assert (await s.mine.get(s.bucket, "k")).value == b"2"
            with pytest.raises(ConflictError):
                await s.mine.put(s.bucket, "absent", b"x", 7)

    run(scenario())


def test_create_after_delete_succeeds_and_revisions_never_fall(stores):
    async def scenario():
        async with stores() as s:
            revision = await s.mine.put(s.bucket, "k", b"1", 0)
            for round_ in range(3):
                await s.mine.delete(s.bucket, "k", revision)
                assert await s.mine.get(s.bucket, "k") is None
                again = await s.other.put(s.bucket, "k", b"%d" % round_, 0)
                assert again > revision
                revision = again

    run(scenario())


def test_delete_of_an_absent_key_is_fine_unless_a_revision_is_expected(stores):
    async def scenario():
        async with stores() as s:
            await s.mine.delete(s.bucket, "never")
            await s.mine.delete(s.bucket, "never", 0)
            with pytest.raises(ConflictError):
                await s.mine.delete(s.bucket, "never", 3)
            revision = await s.mine.put(s.bucket, "k", b"1")
            with pytest.raises(ConflictError):
                await s.mine.delete(s.bucket, "k", revision + 1)
            with pytest.raises(ConflictError):
                await s.mine.delete(s.bucket, "k", 0)
            assert (await s.mine.get(s.bucket, "k")).value == b"1"
            await s.mine.delete(s.bucket, "k")
            await s.mine.delete(s.bucket, "k")
            assert await s.mine.get(s.bucket, "k") is None

    run(scenario())


def test_a_prefix_ends_at_a_dot(stores):
    async def scenario():
        async with stores() as s:
            for key in ("ab", "a.b.c", "a", "a.b", "A.x", "b", "a-b", "a=b"):
                await s.mine.put(s.bucket, key, key.encode())
            assert [e.key for e in await s.other.entries(s.bucket, "a")] == ["a", "a.b", "a.b.c"]
            assert [e.key for e in await s.other.entries(s.bucket, "a.b")] == ["a.b", "a.b.c"]
            everything = await s.other.entries(s.bucket)
            assert [e.key for e in everything] == sorted(("ab", "a.b.c", "a", "a.b", "A.x", "b", "a-b", "a=b"))
            assert all(e.value == e.key.encode() for e in everything)
            assert list(await s.other.entries(s.bucket, "none")) == []
            await s.mine.delete(s.bucket, "a.b")
            assert [e.key for e in await s.other.entries(s.bucket, "a")] == ["a", "a.b.c"]

    run(scenario())


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "a.>", "../etc", "a/b", "ä", "k" * 256])
def test_what_is_no_key_is_refused(stores, key):
    async def scenario():
        async with stores() as s:
            with pytest.raises(StoreError) as refused:
                await s.mine.put(s.bucket, key, b"x")
            assert refused.value.code == "store.bad_key"
            with pytest.raises(StoreError):
                await s.mine.get(s.bucket, key)

    run(scenario())


def test_concurrent_increments_lose_nothing(stores):
    async def increment(store: Store, bucket: str, times: int) -> None:
        done = 0
        while done < times:
            entry = await store.get(bucket, "counter")
            found, revision = (int(entry.value), entry.revision) if entry else (0, 0)
            try:
                await store.put(bucket, "counter", b"%d" % (found + 1), revision)
            except ConflictError:
                continue
            done += 1

    async def scenario():
        async with stores() as s:
            async with asyncio.TaskGroup() as group:
                for store in (s.mine, s.other, s.mine, s.other):
                    group.create_task(increment(store, s.bucket, 15))
            assert (await s.mine.get(s.bucket, "counter")).value == b"60"

    run(scenario())


def test_a_value_of_one_mebibyte_is_carried(stores):
    async def scenario():
        async with stores() as s:
            value = bytes(range(256)) * 4_096
            await s.mine.put(s.bucket, "large", value, 0)
            assert (await s.other.get(s.bucket, "large")).value == value
            assert [e.value for e in await s.other.entries(s.bucket, "large")] == [value]

    run(scenario())


def test_a_larger_value_is_refused_with_advice(remote_stores):
    async def scenario():
        async with remote_stores() as s:
            with pytest.raises(StoreError) as refused:
                await s.mine.put(s.bucket, "large", bytes(2**20 + 1))
            assert refused.value.code == "store.too_large"
            assert "blob" in refused.value.hint
            assert s.side.is_connected(), "refusing must not cost the link"

    run(scenario())


def test_an_unknown_bucket_is_an_error_not_an_empty_one(remote_stores):
    async def scenario():
        async with remote_stores() as s:
            for attempt in (s.mine.get("nowhere", "k"), s.mine.put("nowhere", "k", b""), s.mine.entries("nowhere")):
                with pytest.raises(StoreError):
                    await attempt
            watch = s.mine.watch("nowhere")
            with pytest.raises(StoreError) as refused:
                await soon(anext(watch))
            assert refused.value.code == "store.no_bucket"

    run(scenario())


def test_watch_gives_current_entries_then_none_then_changes(stores):
    async def scenario():
        async with stores() as s:
            await s.mine.put(s.bucket, "n.a", b"1")
            await s.mine.put(s.bucket, "n.b", b"1")
            await s.mine.put(s.bucket, "n.gone", b"1")
            await s.mine.delete(s.bucket, "n.gone")
            await s.mine.put(s.bucket, "nothing", b"1")
            watch = s.mine.watch(s.bucket, "n")
            current = await take(watch, 2)
            assert sorted((e.key, e.value) for e in current) == [("n.a", b"1"), ("n.b", b"1")]
            assert await soon(anext(watch)) is None
            revision = await s.other.put(s.bucket, "n.a", b"2")
            change = await soon(anext(watch))
            assert (change.key, change.value, change.revision) == ("n.a", b"2", revision)
            await s.other.delete(s.bucket, "n.b")
            change = await soon(anext(watch))
            assert (change.key, change.value) == ("n.b", None)
            await s.other.put(s.bucket, "no", b"x")
            await s.other.put(s.bucket, "n", b"y")
            assert (await soon(anext(watch))).key == "n"
            await watch.aclose()

    run(scenario())


def test_watch_of_an_empty_bucket_is_caught_up_at_once(stores):
    async def scenario():
        async with stores() as s:
            watch = s.mine.watch(s.bucket)
            assert await soon(anext(watch)) is None
            await s.other.put(s.bucket, "k", b"1")
            assert (await soon(anext(watch))).value == b"1"
            await watch.aclose()

    run(scenario())


def test_a_slow_watcher_ends_at_the_newest_value_of_every_key(stores):
    async def scenario():
        async with stores() as s:
            watch = s.mine.watch(s.bucket)
            assert await soon(anext(watch)) is None
            for value in range(50):
                await s.other.put(s.bucket, f"k{value % 5}", b"%d" % value)
            await s.other.put(s.bucket, "last", b"")
            seen = {}
            while "last" not in seen:
                entry = await soon(anext(watch))
                assert entry.revision > seen.get(entry.key, (0, b""))[0], "never backwards within a key"
                seen[entry.key] = (entry.revision, entry.value)
            assert {key: value for key, (_, value) in seen.items() if key != "last"} == {
                f"k{at}": b"%d" % (45 + at) for at in range(5)
            }
            await watch.aclose()

    run(scenario())


def test_a_cut_link_fails_quickly_and_says_so(remote_stores):
    async def scenario():
        async with remote_stores() as s:
            await s.mine.put(s.bucket, "k", b"1")
            await s.side.cut()
            await until(lambda: not s.side.is_connected())
            for attempt in (
                s.mine.get(s.bucket, "k"),
                s.mine.put(s.bucket, "k", b"2"),
                s.mine.delete(s.bucket, "k"),
                s.mine.entries(s.bucket),
            ):
                with pytest.raises(StoreError) as failed:
                    await soon(attempt)
                assert failed.value.retry
            assert (await s.other.get(s.bucket, "k")).value == b"1"
            await s.side.heal()
            await until(s.side.is_connected)
            assert (await s.mine.get(s.bucket, "k")).value == b"1"

    run(scenario())


def test_watch_resumes_after_a_cut_with_what_happened_meanwhile(remote_stores):
    async def scenario():
        async with remote_stores() as s:
            await s.other.put(s.bucket, "stays", b"1")
            await s.other.put(s.bucket, "goes", b"1")
            watch = s.mine.watch(s.bucket)
            await take(watch, 2)
            assert await soon(anext(watch)) is None
            waiting = asyncio.ensure_future(anext(watch))
            await s.side.cut()
            await until(lambda: not s.side.is_connected())
            await s.other.delete(s.bucket, "goes")
            await s.other.put(s.bucket, "new", b"2")
            await s.side.heal()
            current = [await soon(waiting), *(await take(watch, 1))]
            assert sorted(e.key for e in current) == ["new", "stays"], "current entries, the deleted one not among them"
            assert await soon(anext(watch)) is None
            await s.other.put(s.bucket, "later", b"3")
            assert (await soon(anext(watch))).key == "later"
            await watch.aclose()

    run(scenario())


def test_a_closed_client_ends_its_watch(remote_stores):
    async def scenario():
        async with remote_stores() as s:
            watch = s.mine.watch(s.bucket)
            assert await soon(anext(watch)) is None
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await s.side.close()
            with pytest.raises(StoreError):
                await soon(waiting)
            with pytest.raises(StoreError):
                await s.mine.get(s.bucket, "k")

    run(scenario())
