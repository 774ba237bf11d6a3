"""The ledger's writer: durable before acknowledged, recovered after any crash, never forked, damage named."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_kit import (
    CONTROLLER,
    INSTANCE,
    LOG_KEYS,
    LOG_SIGNERS,
    NOW,
    ORIGIN,
    DictStore,
    EdSigner,
    FixedClock,
    plan,
    run,
    sealed_order,
    sealed_report,
    story,
)

from hanse.control.ledger_check import fsck
from hanse.control.ledger_reader import LedgerReader, Located
from hanse.control.ledger_writer import MAX_WAITING_ENTRIES, LedgerWriter
from hanse.core.errors import ConflictError, HanseError, StoreError
from hanse.core.ids import Digest, InstanceId, PlanId
from hanse.core.ports import Entry
from hanse.core.snapshot import Phase
from hanse.ledger import (
    EntryNotFound,
    EntryTooLarge,
    LedgerBusy,
    LedgerDamaged,
    Verified,
    load_policy,
    path_of,
    statement,
    verify_receipt,
)
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.note import parse
from hanse.ledger.proof import parse_proof
from hanse.ledger.quorum import Accepted, judge
from hanse.ledger.tiles import BUCKET, CHECKPOINT_KEY, bundles_of, tiles_of
from hanse.ledger.tree import EMPTY_ROOT, hash_leaf, verify_consistency, verify_inclusion

SIGNERS = (EdSigner(1),)
"""One signer where hundreds of logs are written; the formats' tests use both."""
BATCHES = (1, 2, 250, 5, 300, 1)
"""Crosses a full tile twice, once in the middle of a batch."""


def writer(store: DictStore, signers: tuple[EdSigner, ...] = SIGNERS) -> LedgerWriter:
    return LedgerWriter(store, signers, FixedClock(), ORIGIN)


def named(batch: int, count: int) -> list[bytes]:
    return [b"batch %d entry %d" % (batch, at) for at in range(count)]


async def filled(store: DictStore, count: int) -> LedgerWriter:
    made = writer(store)
    await made.open()
    await made.append([b"%d" % at for at in range(count)])
    return made


def head_of(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse(note).text)


class Recording(DictStore):
    """Remembers every checkpoint ever stored, and counts writes."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Checkpoint] = []
        self.writes = 0

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        revision = await super().put(bucket, key, value, expected)
        self.writes += 1
        if key == CHECKPOINT_KEY:
            self.published.append(head_of(value))
        return revision

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        self.writes += 1
        await super().delete(bucket, key, expected)


class Killed(BaseException):
    """The process died."""


class Dying(Recording):
    """Over another store: dies at its n-th write, which is then absent, done, or torn; nothing works afterwards.

    A checkpoint is never torn: the Store contract makes one put atomic, and tiles are torn here to prove more.
    """

    def __init__(self, inner: Recording, at: int, manner: str) -> None:
        super().__init__()
        self.inner, self.left, self.manner, self.is_dead = inner, at, manner, False

    async def get(self, bucket: str, key: str) -> Entry | None:
        self._alive()
        return await self.inner.get(bucket, key)

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        self._alive()
        return await self.inner.entries(bucket, prefix)

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        self._alive()
        self.left -= 1
        if self.left >= 0:
            return await self.inner.put(bucket, key, value, expected)
        self.is_dead = True
        if self.manner == "done":
            await self.inner.put(bucket, key, value, expected)
        elif self.manner == "torn" and key != CHECKPOINT_KEY:
            await self.inner.put(bucket, key, value[: len(value) // 2], expected)
        raise Killed

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        self._alive()
        self.left -= 1
        if self.left >= 0:
            return await self.inner.delete(bucket, key, expected)
        self.is_dead = True
        if self.manner == "done":
            await self.inner.delete(bucket, key, expected)
        raise Killed

    def _alive(self) -> None:
        if self.is_dead:
            raise Killed


async def check_history(store: Recording, acknowledged: dict[bytes, int]) -> None:
    """No acknowledged entry is lost or moved, every file holds, and all checkpoints ever stored are one history."""
    reader = LedgerReader(store, ORIGIN, LOG_KEYS[:1])
    head = await reader.head()
    assert head is not None
    assert (await fsck(reader)).findings == ()
    entries = await reader.entries_from(0, head.checkpoint.size, head.checkpoint.size)
    for entry, index in acknowledged.items():
        assert entries[index] == entry
    for old, new in itertools.pairwise(store.published):
        assert old.size <= new.size
        if old.size == 0:
            assert old.root == EMPTY_ROOT
        else:
            proof = await reader.consistency(old.size, new.size) if old.size < new.size else ()
            verify_consistency(old.size, new.size, proof, old.root, new.root)
    assert head.checkpoint == store.published[-1]


async def work(store: DictStore, acknowledged: dict[bytes, int]) -> None:
    """Append every batch that is not acknowledged yet."""
    made = writer(store)
    await made.open()
    for number, count in enumerate(BATCHES):
        batch = named(number, count)
        acknowledged.update(zip(batch, await made.append(batch), strict=True))


def total_writes() -> int:
    store = Recording()
    run(work(store, {}))
    return store.writes


TOTAL_WRITES = total_writes()


def test_appended_entries_are_proved_against_a_trusted_checkpoint() -> None:
    async def scenario() -> None:
        made = LedgerWriter(DictStore(), LOG_SIGNERS, FixedClock(), ORIGIN)
        await made.open()
        assert head_of(made.checkpoint()).size == 0
        assert await made.append(named(0, 300)) == tuple(range(300))
        policy = load_policy(made.policy_text([CONTROLLER.public_key]))
        judged = judge(policy, made.checkpoint(), NOW)
        assert isinstance(judged, Accepted)
        for index in (0, 255, 256, 299):
            proof = parse_proof(await made.proof(index))
            assert proof.checkpoint == made.checkpoint()
            leaf = hash_leaf(await made.entry(index))
            verify_inclusion(index, 300, leaf, proof.hashes, judged.checkpoint.root)

    run(scenario())


def test_an_entry_that_is_present_keeps_its_index() -> None:
    async def scenario() -> None:
        store = DictStore()
        made = await filled(store, 3)
        assert await made.append([b"2", b"new", b"0", b"new"]) == (2, 3, 0, 3)
        before = store.revision
        assert await made.append([b"1"]) == (1,)
        assert await made.append([]) == ()
        assert store.revision == before
        again = writer(store)
        await again.open()
        assert await again.append([b"new", b"newer"]) == (3, 4)

    run(scenario())


def test_concurrent_appends_are_one_integration() -> None:
    class Slow(Recording):
        async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
            await asyncio.sleep(0)
            return await super().put(bucket, key, value, expected)

    async def scenario() -> None:
        store = Slow()
        made = writer(store)
        await made.open()
        before = len(store.published)
        indices = await asyncio.gather(*(made.append([b"caller %d" % at]) for at in range(50)))
        assert sorted(index for (index,) in indices) == list(range(50))
        assert len(store.published) - before <= 2

    run(scenario())


def test_an_entry_over_the_limit_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        made = await filled(DictStore(), 1)
        with pytest.raises(EntryTooLarge):
            await made.append([b"fine", b"x" * 65_536])
        assert made.size == 1

    run(scenario())


def test_more_than_may_wait_is_refused() -> None:
    async def scenario() -> None:
        made = await filled(DictStore(), 1)
        with pytest.raises(LedgerBusy):
            await made.append([b""] * (MAX_WAITING_ENTRIES + 1))
        assert await made.append([b"after"]) == (1,)

    run(scenario())


def test_a_ledger_that_is_not_open_says_so() -> None:
    with pytest.raises(StoreError, match="not open"):
        writer(DictStore()).checkpoint()


@pytest.mark.parametrize("manner", ["absent", "done", "torn"])
def test_a_crash_at_any_write_loses_nothing_acknowledged_and_forks_nothing(manner: str) -> None:
    async def scenario(at: int) -> None:
        store, acknowledged = Recording(), dict[bytes, int]()
        with pytest.raises(Killed):
            await work(Dying(store, at, manner), acknowledged)
        if store.published:
            await check_history(store, acknowledged)
        await work(store, acknowledged)
        await check_history(store, acknowledged)
        assert len(acknowledged) == sum(BATCHES) == store.published[-1].size

    for at in range(TOTAL_WRITES):
        run(scenario(at))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.sampled_from(["absent", "done", "torn"])), max_size=8))
def test_crashes_in_the_midst_of_recovery_change_nothing(crashes: list[tuple[int, str]]) -> None:
    async def scenario() -> None:
        store, acknowledged = Recording(), dict[bytes, int]()
        for at, manner in crashes:
            try:
                await work(Dying(store, at, manner), acknowledged)
            except Killed:
                continue
        await work(store, acknowledged)
        await check_history(store, acknowledged)

    run(scenario())


class Failing(Recording):
    """The disk is full at the n-th write, once; the write may have been done all the same."""

    def __init__(self, at: int, *, is_done: bool) -> None:
        super().__init__()
        self.at, self.is_done = at, is_done

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        self.at -= 1
        if self.at != -1:
            return await super().put(bucket, key, value, expected)
        if self.is_done:
            await super().put(bucket, key, value, expected)
        raise StoreError("no space left on device")


@pytest.mark.parametrize("is_done", [False, True])
def test_a_full_disk_at_any_write_is_reported_and_appending_again_is_safe(is_done: bool) -> None:
    async def scenario(at: int) -> None:
        store, acknowledged, failures = Failing(at, is_done=is_done), dict[bytes, int](), 0
        made = writer(store)
        for number, count in enumerate(BATCHES):
            batch = named(number, count)
            for _ in range(2):
                try:
                    acknowledged.update(zip(batch, await made.append(batch), strict=True))
                    break
                except StoreError as error:
                    assert error.retry
                    failures += 1
        assert failures == (1 if at < TOTAL_WRITES - 8 else failures)
        assert len(acknowledged) == sum(BATCHES)
        await check_history(store, acknowledged)

    for at in range(TOTAL_WRITES):
        run(scenario(at))


class Turns:
    """Lets exactly one waiting store operation proceed at a time, in an order drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._waiting: list[asyncio.Future[None]] = []

    async def take(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def drive(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        while not all(task.done() for task in tasks):
            alive = sum(not task.done() for task in tasks)
            if len(self._waiting) == alive:
                self._waiting.pop(self._rng.randrange(alive)).set_result(None)
            await asyncio.sleep(0)


class Shared(Recording):
    """One store under several writers: any other operation may fall between any two of theirs."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns

    async def get(self, bucket: str, key: str) -> Entry | None:
        await self.turns.take()
        return await super().get(bucket, key)

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
        await self.turns.take()
        return await super().put(bucket, key, value, expected)

    async def delete(self, bucket: str, key: str, expected: int | None = None) -> None:
        await self.turns.take()
        return await super().delete(bucket, key, expected)

    async def entries(self, bucket: str, prefix: str = "") -> Sequence[Entry]:
        await self.turns.take()
        return await super().entries(bucket, prefix)


@pytest.mark.parametrize("seeds", [range(first, first + 30) for first in range(0, 120, 30)])
def test_two_writers_never_fork_the_log_nor_lose_an_entry(seeds: range) -> None:
    async def scenario(seed: int) -> int:
        turns = Turns(seed)
        store, acknowledged = Shared(turns), dict[bytes, int]()
        conflicts = 0

        async def one(name: int) -> None:
            nonlocal conflicts
            made = writer(store)
            for number, count in enumerate((1, 2, 254, 3)):
                batch = [*named(100 * name + number, count), b"shared %d" % number]
                for _ in range(6):
                    try:
                        indices = await made.append(batch)
                    except ConflictError:
                        conflicts += 1
                    else:
                        for entry, index in zip(batch, indices, strict=True):
                            assert acknowledged.setdefault(entry, index) == index
                        break

        tasks = [asyncio.create_task(one(name)) for name in (1, 2)]
        await turns.drive(tasks)
        await asyncio.gather(*tasks)
        quiet = Recording()
        quiet.rows, quiet.published, quiet.revision = store.rows, store.published, store.revision
        await check_history(quiet, acknowledged)
        return conflicts

    assert sum(run(scenario(seed)) for seed in seeds) > 0


def test_a_writer_that_was_taken_over_conflicts_and_comes_back_with_what_the_other_wrote() -> None:
    async def scenario() -> None:
        store = DictStore()
        first = await filled(store, 5)
        second = writer(store)
        await second.open()
        assert await second.append([b"of the second"]) == (5,)
        with pytest.raises(ConflictError, match=r"ledger|checkpoint") as caught:
            await first.append([b"of the first"])
        assert caught.value.retry
        assert await first.append([b"of the first"]) == (6,)
        assert await first.entry(5) == b"of the second"

    run(scenario())


def test_a_cancelled_append_leaves_a_writer_that_works() -> None:
    class Stuck(Recording):
        gate: asyncio.Event | None = None

        async def put(self, bucket: str, key: str, value: bytes, expected: int | None = None) -> int:
            if self.gate is not None:
                await self.gate.wait()
            return await super().put(bucket, key, value, expected)

    async def scenario() -> None:
        store = Stuck()
        made = writer(store)
        await made.open()
        store.gate = asyncio.Event()
        leader = asyncio.create_task(made.append([b"leader"]))
        follower = asyncio.create_task(made.append([b"follower"]))
        gone = asyncio.create_task(made.append([b"gone"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.cancel()
        leader.cancel()
        await asyncio.sleep(0)
        store.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await leader
        with pytest.raises(asyncio.CancelledError):
            await gone
        try:
            indices = await follower
        except StoreError as error:
            assert error.retry
            indices = await made.append([b"follower"])
        assert await made.entry(indices[0]) == b"follower"

    run(scenario())


def test_partial_files_go_once_their_full_one_is_covered() -> None:
    async def scenario() -> None:
        store = DictStore()
        made = await filled(store, 100)
        made = await filled(store, 200)
        await made.append([b"more %d" % at for at in range(100)])
        assert any(".p." in key and "000" in key for _, key in store.rows)
        await made.append([b"last"])
        keys = sorted(key for _, key in store.rows)
        assert [key for key in keys if "0.000.p" in key or "entries.000.p" in key] == []

    run(scenario())


def current_files(size: int) -> list[str]:
    return [name.key for name in (*tiles_of(size), *bundles_of(size))]


@pytest.mark.parametrize("size", [5, 256, 700])
def test_fsck_names_exactly_the_file_that_was_damaged(size: int) -> None:
    async def scenario() -> None:
        pristine = DictStore()
        await filled(pristine, size)
        for key in current_files(size):
            for manner in ("missing", "cut", "first byte", "last byte", "foreign"):
                store = DictStore()
                store.rows, store.revision = dict(pristine.rows), pristine.revision
                value, revision = store.rows[BUCKET, key]
                damaged = {
                    "cut": value[:-1],
                    "first byte": bytes([value[0] ^ 1]) + value[1:],
                    "last byte": value[:-1] + bytes([value[-1] ^ 1]),
                    "foreign": bytes(len(value)),
                }
                if manner == "missing":
                    del store.rows[BUCKET, key]
                else:
                    store.rows[BUCKET, key] = (damaged[manner], revision)
                health = await fsck(LedgerReader(store, ORIGIN, LOG_KEYS[:1]))
                assert {finding.path for finding in health.findings} == {path_of(key)}, (manner, health.findings)

    run(scenario())


@pytest.mark.parametrize("key", [key for key in current_files(700) if "entries" not in key or ".p." in key])
def test_a_damaged_tile_stops_the_writer_with_its_name_and_the_remedy(key: str) -> None:
    async def scenario() -> None:
        store = DictStore()
        await filled(store, 700)
        value, revision = store.rows[BUCKET, key]
        store.rows[BUCKET, key] = (value[:-1] + bytes([value[-1] ^ 1]), revision)
        with pytest.raises(LedgerDamaged, match=path_of(key)) as caught:
            await writer(store).open()
        assert "mirror" in caught.value.hint
        assert not caught.value.retry

    run(scenario())


def test_a_lost_checkpoint_is_damage_not_a_new_log() -> None:
    async def scenario() -> None:
        store = DictStore()
        await filled(store, 5)
        del store.rows[BUCKET, CHECKPOINT_KEY]
        with pytest.raises(LedgerDamaged, match="missing, but 2 tiles"):
            await writer(store).open()
        health = await fsck(LedgerReader(store, ORIGIN, LOG_KEYS[:1]))
        assert [finding.path for finding in health.findings] == ["checkpoint"]

    run(scenario())


@pytest.mark.parametrize(("at", "why"), [(3, "not of"), (40, ""), (-10, "does not hold")])
def test_a_changed_checkpoint_is_damage(at: int, why: str) -> None:
    async def scenario() -> None:
        store = DictStore()
        await filled(store, 5)
        value, revision = store.rows[BUCKET, CHECKPOINT_KEY]
        changed = bytearray(value)
        changed[at] ^= 1
        store.rows[BUCKET, CHECKPOINT_KEY] = (bytes(changed), revision)
        with pytest.raises(LedgerDamaged, match="checkpoint: "):
            await writer(store).open()

    run(scenario())


def test_other_keys_do_not_open_the_log() -> None:
    async def scenario() -> None:
        store = DictStore()
        await filled(store, 5)
        with pytest.raises(LedgerDamaged, match="lacks the signature") as caught:
            await LedgerWriter(store, (EdSigner(7),), FixedClock(), ORIGIN).open()
        assert "keys" in caught.value.hint

    run(scenario())


def test_the_receipt_of_a_placement_is_found_exported_and_verified() -> None:
    async def scenario() -> None:
        made = LedgerWriter(DictStore(), LOG_SIGNERS, FixedClock(), ORIGIN)
        await made.open()
        await made.append([statement.user_action(action(at), CONTROLLER) for at in range(300)])
        assert await made.append(story()) == (300, 301, 302)
        stopped = sealed_report(sealed_order(), phase=Phase.STOPPED)
        await made.append([story(report=stopped)[2], b"an entry of a later version"])
        located = await made.locate(INSTANCE)
        assert located == Located(decision=300, order=301, report=302)
        receipt = await made.receipt(located, plan=plan(), sealed_order=sealed_order())
        policy = load_policy(made.policy_text([CONTROLLER.public_key]))
        assert isinstance(verify_receipt(receipt, policy, NOW), Verified)
        for other in (replace(plan(), assignments=()), replace(plan(), id=PlanId("plan-8"))):
            without = await made.receipt(located, plan=other, sealed_order=sealed_order(generation=2))
            verdict = verify_receipt(without, policy, NOW)
            assert isinstance(verdict, Verified)
            assert verdict.placement is None
            assert any("sealed order is not included" in caveat for caveat in verdict.caveats)
        with pytest.raises(EntryNotFound, match="no report of it"):
            await made.locate(InstanceId("clinic.other.0.1"))

    run(scenario())


def action(number: int) -> statement.UserAction:
    return statement.UserAction(action="deploy", target=f"spec/{number}", actor=Digest("sha256:" + "0" * 64), at_us=NOW)


def test_entries_are_paged_in_order() -> None:
    async def scenario() -> None:
        made = await filled(DictStore(), 600)
        assert await made.entries_from(250, 10) == tuple(b"%d" % at for at in range(250, 260))
        assert await made.entries_from(599, 10) == (b"599",)
        assert await made.entries_from(600, 10) == ()
        with pytest.raises(EntryNotFound, match="holds 600"):
            await made.entry(600)
        newest = [index async for index, _ in made.entries()]
        assert newest == list(range(599, -1, -1))

    run(scenario())


def test_every_failure_of_the_ledger_says_what_to_do() -> None:
    for kind in (LedgerDamaged, LedgerBusy, EntryTooLarge, EntryNotFound):
        error: HanseError = kind("what failed")
        assert error.code.startswith("ledger.")
        assert error.hint
