"""How this controller changes a record: `sealed value -> over the revision known here -> taken up here at once`.

Whoever wrote in between wins: a stale value never covers a newer one. Who may write at all is for the caller.
"""

from __future__ import annotations

from hanse.control.state import FabricState
from hanse.core.ports import Entry, Store


async def write(store: Store, state: FabricState, bucket: str, key: str, value: bytes) -> None:
    """Put a record and know it without waiting for the store to tell. Raises ConflictError, StoreError."""
    revision = await store.put(bucket, key, value, state.revision(bucket, key))
    state.apply(Entry(bucket=bucket, key=key, value=value, revision=revision))
