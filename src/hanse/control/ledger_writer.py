"""Append to the domain's log: durable before acknowledged, one history whatever crashes and whoever else writes.

`entries -> indices`, with files of C2SP tlog-tiles in a `Store`. One commit is: bundles and tiles first, each durable,
then the signed checkpoint by compare-and-swap on its revision. What no checkpoint covers does not exist.

Two writers cannot fork the log, nor overwrite a file the other has committed:

1. Opening *fences*: it rewrites the unchanged checkpoint, so the revision that any older writer holds is spent, and its
   next commit fails.
2. A file is created, never replaced, unless it lies there without a checkpoint that covers it (a crash left it). To
   replace such a file, a writer reads its revision, *then* makes sure that its own checkpoint revision still stands,
   and swaps on the file's revision. A writer that was fenced in between fails one of the two tests.
3. A file is always written, even if equal bytes lie there: that spends the revision another writer may have read.

After a conflict or any failure the writer forgets what it knew and opens again at the next append. Appending is
idempotent (an entry that is present keeps its index), so the answer to every retryable error is to append again; after
a `ConflictError` the caller first makes sure that it still leads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from hanse.control.ledger_check import Health, check_tiles, fsck, read_partial_bundle
from hanse.control.ledger_reader import Head, LedgerReader, Located
from hanse.core.errors import ConflictError, HanseError, StoreError, invariant
from hanse.core.ids import InstanceId
from hanse.core.plan import Plan
from hanse.core.ports import Clock, Signer, Store
from hanse.ledger import tree
from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import log_key, sign_checkpoint
from hanse.ledger.edge import Edge, Leaf, grow, leaf_of
from hanse.ledger.errors import LedgerBusy, LedgerDamaged
from hanse.ledger.note import VerifierKey
from hanse.ledger.quorum import policy_text
from hanse.ledger.tiles import BUCKET, CHECKPOINT_KEY, WIDTH, TileName, growing

MAX_WAITING_ENTRIES = 65_536
"""Entries that may wait for integration; beyond, an append is refused (`LedgerBusy`) and nothing of it is kept."""
MAX_BATCH_ENTRIES = 4_096
"""Entries integrated at once, so that a commit stays well under a second; a larger append is one commit still."""
_SWAP_ATTEMPTS = 5


@dataclass(slots=True, kw_only=True)
class _State:
    """What an open writer knows: the committed head, the right edge, and which leaf stands where."""

    head: Head
    edge: Edge
    indices: dict[bytes, int]
    """By leaf hash."""
    partials: dict[TileName, list[str]]
    """Keys of partial files, by the full file that will replace them."""


@dataclass(slots=True)
class _Ticket:
    """One caller's entries, waiting; afterwards their indices or the failure."""

    leaves: tuple[Leaf, ...]
    indices: tuple[int, ...] | None = None
    failure: HanseError | None = None

    @property
    def is_done(self) -> bool:
        return self.indices is not None or self.failure is not None


@dataclass(slots=True)
class _Queue:
    """Tickets in order of arrival; bounded by `MAX_WAITING_ENTRIES`."""

    tickets: deque[_Ticket] = field(default_factory=deque)
    waiting: int = 0

    def add(self, ticket: _Ticket) -> None:
        if self.waiting + len(ticket.leaves) > MAX_WAITING_ENTRIES:
            raise LedgerBusy(f"{self.waiting} entries wait to be integrated")
        self.tickets.append(ticket)
        self.waiting += len(ticket.leaves)

    def take(self) -> list[_Ticket]:
        """The tickets of one batch: at least one, at most `MAX_BATCH_ENTRIES` entries beyond the first."""
        batch = [self.tickets.popleft()]
        count = len(batch[0].leaves)
        while self.tickets and count + len(self.tickets[0].leaves) <= MAX_BATCH_ENTRIES:
            batch.append(self.tickets.popleft())
            count += len(batch[-1].leaves)
        self.waiting -= count
        return batch

    def withdraw(self, ticket: _Ticket) -> None:
        """Forget a ticket whose caller went away before it was taken."""
        if ticket in self.tickets:
            self.tickets.remove(ticket)
            self.waiting -= len(ticket.leaves)


class LedgerWriter:
    """The one writer of a domain's log. Every signer puts its line on every checkpoint.

    `origin`: the log's name, for example ``hanse.example/ledger``; it never changes in a log's life.
    """

    def __init__(self, store: Store, signers: tuple[Signer, ...], clock: Clock, origin: str) -> None:
        invariant(len(signers) > 0, "a ledger needs at least one signer")
        self._store = store
        self._signers = signers
        self._clock = clock
        self._origin = origin
        self._keys = tuple(log_key(origin, signer.algorithm, signer.public_key) for signer in signers)
        self._reader = LedgerReader(store, origin, self._keys)
        self._lock = asyncio.Lock()
        self._queue = _Queue()
        self._state: _State | None = None
        self._head: Head | None = None

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The log's own verifier keys, in signer order: what a policy file needs."""
        return self._keys

    async def open(self) -> None:
        """Recover from whatever a crash left, fence any other writer, and check every hash tile.

        Raises LedgerDamaged naming the file, ConflictError if another writer opens at the same time, StoreError.
        """
        async with self._lock:
            await self._open()

    async def append(self, entries: Sequence[bytes]) -> tuple[int, ...]:
        """Append entries and return their indices once they are durable and under a signed checkpoint.

        Concurrent appends are integrated together. An entry that is present keeps its index. Raises EntryTooLarge,
        LedgerBusy, ConflictError (another writer took over), LedgerDamaged, StoreError; after an error that says
        retry, appending the same entries again is safe, whether or not they had become part of the log.
        """
        if not entries:
            return ()
        ticket = _Ticket(tuple(leaf_of(entry) for entry in entries))
        self._queue.add(ticket)
        try:
            async with self._lock:
                while not ticket.is_done:
                    await self._integrate(self._queue.take())
        finally:
            self._queue.withdraw(ticket)
        if ticket.failure is not None:
            raise ticket.failure
        invariant(ticket.indices is not None, "an integrated ticket has indices")
        return ticket.indices or ()

    def checkpoint(self) -> bytes:
        """The newest checkpoint that this writer knows to be committed: a signed note."""
        return self._committed().note

    @property
    def size(self) -> int:
        """Entries under the newest checkpoint that this writer knows."""
        return self._committed().checkpoint.size

    async def proof(self, index: int) -> bytes:
        """The ``.tlog-proof`` of an entry against the newest checkpoint. Raises EntryNotFound, LedgerDamaged."""
        return (await self._reader.prove(index, self._committed())).proof.encode()

    async def consistency(self, old: int) -> tuple[bytes, ...]:
        """Prove that the newest checkpoint extends the first `old` entries, 0 < old <= size."""
        return await self._reader.consistency(old, self.size)

    async def entry(self, index: int) -> bytes:
        """One entry. Raises EntryNotFound, LedgerDamaged, StoreError."""
        return await self._reader.entry(index, self.size)

    def entries(self) -> AsyncIterator[tuple[int, bytes]]:
        """Every entry with its index, newest first."""
        return self._reader.entries(self.size)

    async def entries_from(self, first: int, limit: int) -> tuple[bytes, ...]:
        """At most `limit` entries from index `first` on; none beyond the end. Raises LedgerDamaged, StoreError."""
        return await self._reader.entries_from(first, limit, self.size)

    def policy_text(self, controllers: Sequence[bytes]) -> bytes:
        """The tlog-policy file that demands every signer's line; `controllers` are raw Ed25519 keys."""
        log, *cosigners = self._keys
        return policy_text(log, cosigners, controllers)

    async def locate(self, instance: InstanceId) -> Located:
        """Find the entries that the receipt of an instance is made of. Raises EntryNotFound, LedgerDamaged."""
        return await self._reader.locate(instance, self.size)

    async def receipt(self, located: Located, *, plan: Plan | None = None, sealed_order: bytes | None = None) -> bytes:
        """Export the receipt of one placement: `plan` and `sealed_order` where their bodies are still at hand."""
        return await self._reader.receipt(located, self._committed(), plan=plan, sealed_order=sealed_order)

    async def fsck(self) -> Health:
        """Check every file of the log; damage comes back as findings. Raises StoreError."""
        return await fsck(self._reader)

    def _committed(self) -> Head:
        if self._head is None:
            raise StoreError("the ledger is not open", hint="await open() first", retry=False)
        return self._head

    async def _integrate(self, batch: Sequence[_Ticket]) -> None:
        """Commit a batch and settle its tickets; on a failure forget the state, for it may be behind the store's."""
        try:
            state = self._state or await self._open()
            await self._commit(state, [leaf for ticket in batch for leaf in ticket.leaves])
        except BaseException as error:
            self._state = None
            interrupted = StoreError("the append was interrupted before it was acknowledged", hint="append again")
            for ticket in batch:
                ticket.failure = error if isinstance(error, HanseError) else interrupted
            if not isinstance(error, HanseError):
                raise
            return
        for ticket in batch:
            ticket.indices = tuple(state.indices[leaf.hash] for leaf in ticket.leaves)

    async def _open(self) -> _State:
        self._state = None
        head = await self._reader.head() or await self._begin()
        # Fence: from here on no older writer can commit.
        revision = await self._store.put(BUCKET, CHECKPOINT_KEY, head.note, expected=head.revision)
        head = Head(note=head.note, checkpoint=head.checkpoint, revision=revision)
        size = head.checkpoint.size
        checked = await check_tiles(self._reader, head)
        if checked.findings:
            named = "; ".join(f"{finding.path}: {finding.message}" for finding in checked.findings[:5])
            raise LedgerDamaged(named, context={"path": checked.findings[0].path, "files": len(checked.findings)})
        bundle = await read_partial_bundle(self._reader, size, checked.leaf_hashes)
        # The first of equal leaves keeps the index; there are none unless a foreign writer put them there.
        indices: dict[bytes, int] = {}
        for index, leaf in enumerate(checked.leaf_hashes):
            invariant(leaf is not None, "a checked tree has every leaf")
            indices.setdefault(leaf or b"", index)
        edge = Edge(size=size, rows=checked.edge.rows, bundle=bundle)
        self._state = _State(head=head, edge=edge, indices=indices, partials=await self._read_partials(size))
        self._head = head
        return self._state

    async def _begin(self) -> Head:
        """Publish the empty tree before any file is written, so that tiles without a checkpoint mean it was lost."""
        strays = await self._store.entries(BUCKET, "tile")
        if strays:
            # Another writer may have begun between our two reads.
            begun = await self._reader.head()
            if begun is not None:
                return begun
            raise LedgerDamaged(
                f"{CHECKPOINT_KEY}: the file is missing, but {len(strays)} tiles are there",
                hint="restore the checkpoint from a mirror or a backup; beginning anew would fork the log",
                context={"path": CHECKPOINT_KEY},
            )
        checkpoint = Checkpoint(origin=self._origin, size=0, root=tree.EMPTY_ROOT)
        note = sign_checkpoint(checkpoint, self._signers, self._clock.wall())
        revision = await self._store.put(BUCKET, CHECKPOINT_KEY, note, expected=0)
        return Head(note=note, checkpoint=checkpoint, revision=revision)

    async def _commit(self, state: _State, leaves: Sequence[Leaf]) -> None:
        fresh = {leaf.hash: leaf for leaf in leaves if leaf.hash not in state.indices}
        if not fresh:
            return
        await self._drop_replaced(state)
        growth = grow(state.edge, tuple(fresh.values()))
        for name, data in growth.files:
            await self._put_file(name, data, state.head.revision)
        checkpoint = Checkpoint(origin=self._origin, size=growth.edge.size, root=growth.edge.root)
        note = sign_checkpoint(checkpoint, self._signers, self._clock.wall())
        revision = await self._store.put(BUCKET, CHECKPOINT_KEY, note, expected=state.head.revision)
        state.head = self._head = Head(note=note, checkpoint=checkpoint, revision=revision)
        state.indices.update((leaf, state.edge.size + at) for at, leaf in enumerate(fresh))
        state.edge = growth.edge
        for name, _ in growth.files:
            if name.width < WIDTH:
                state.partials.setdefault(name.full, []).append(name.key)

    async def _put_file(self, name: TileName, data: bytes, checkpoint_revision: int) -> None:
        """Create a file, or replace one that no checkpoint covers (rules 2 and 3 above)."""
        expected = 0
        for _ in range(_SWAP_ATTEMPTS):
            try:
                await self._store.put(BUCKET, name.key, data, expected=expected)
            except ConflictError:
                present = await self._store.get(BUCKET, name.key)
                expected = 0 if present is None else present.revision
                checkpoint = await self._store.get(BUCKET, CHECKPOINT_KEY)
                if checkpoint is None or checkpoint.revision != checkpoint_revision:
                    raise ConflictError("another writer has taken over the ledger") from None
            else:
                return
        raise ConflictError(f"{name.path} keeps changing under this writer")

    async def _drop_replaced(self, state: _State) -> None:
        """Delete partial files whose full file a checkpoint covers.

        It is done before the *next* commit, so that no acknowledgement waits for it or fails with it.
        """
        for full in [name for name in state.partials if _is_full(name, state.edge.size)]:
            for key in state.partials[full]:
                await self._store.delete(BUCKET, key)
            del state.partials[full]

    async def _read_partials(self, size: int) -> dict[TileName, list[str]]:
        """Partial files of the right edge, those of earlier checkpoints included."""
        partials: dict[TileName, list[str]] = {}
        for full in growing(size):
            found = await self._store.entries(BUCKET, f"{full.key}.p")
            partials[full] = [item.key for item in found]
        return partials


def _is_full(name: TileName, size: int) -> bool:
    return size >> (8 * (name.level or 0)) >= (name.index + 1) * WIDTH
