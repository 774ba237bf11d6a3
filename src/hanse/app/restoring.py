"""Mend a damaged log of a stopped domain from a copy: `state directory + folder -> Restored`.

Each file of the tree is taken from the domain's own log where it holds, else from the copy; the whole is then checked
against a checkpoint under the domain's own keys, in a folder aside, before it takes the log's place. The damaged log
is kept. Nothing is believed for lying in the copy: it may be a mirror's, run by somebody else.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

from hanse.adapters.disk_store import DiskStore
from hanse.adapters.domain_files import load_domain
from hanse.adapters.ledger_files import LedgerFiles
from hanse.app.layout import Layout
from hanse.control.journal import COSIGNED_KEY, ORIGIN_SUFFIX
from hanse.control.ledger_check import fsck
from hanse.control.ledger_reader import Head, LedgerReader
from hanse.core.errors import HanseError
from hanse.ledger import LedgerDamaged, log_key, path_of
from hanse.ledger.tiles import BUCKET, CHECKPOINT_KEY, TileName, bundles_of, encode_bundle, tiles_of


class NotRestorable(HanseError):
    """Raised when log and copy together do not make a whole log; nothing was changed."""

    code = "ledger.not_restorable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done."""

    size: int
    """Entries in the log now."""
    mended: tuple[str, ...]
    """Files that came from the copy, by C2SP path; none where nothing was damaged."""
    kept: str | None
    """Where the damaged log lies now; None where nothing was changed."""


def restore_log(state: Path, source: Path, *, may_forget: bool = False) -> Restored:
    """Mend the log of the stopped domain under `state` from the copy in `source`.

    `may_forget`: take the copy's checkpoint if the log's own is lost, and with it the loss of later entries. Raises
    NotRestorable, DomainError, StoreError.
    """
    layout = Layout(state)
    domain = load_domain(state)
    origin = domain.name + ORIGIN_SUFFIX
    keys = [log_key(origin, signer.algorithm, signer.public_key) for signer in domain.ledger_signers]
    with (layout.root / "run.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotRestorable("the fabric is running on this log", hint="stop `hanse up` first") from None
        own = LedgerReader(LedgerFiles(layout.ledger / BUCKET, path_of), origin, keys)
        copy = LedgerReader(LedgerFiles(source, path_of), origin, keys)
        return asyncio.run(_restore(layout, own, copy, may_forget=may_forget))


async def _restore(layout: Layout, own: LedgerReader, copy: LedgerReader, *, may_forget: bool) -> Restored:
    health = await fsck(own)
    theirs = await _head(copy)
    if theirs is None:
        raise NotRestorable("the copy has no checkpoint under this domain's keys")
    ours = await _head(own)
    if not health.findings and ours is not None and ours.checkpoint.size >= theirs.checkpoint.size:
        return Restored(size=health.size, mended=(), kept=None)
    head = _target(ours, theirs, may_forget=may_forget)
    damaged = {finding.path for finding in health.findings}
    aside = layout.root / ".ledger.restoring"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        mended = await _gather(aside, own, copy, head, damaged)
        whole = LedgerReader(LedgerFiles(aside / BUCKET, path_of), head.checkpoint.origin, own.keys)
        left = (await fsck(whole)).findings
        if left:
            raise NotRestorable(
                "log and copy together do not make a whole log: "
                + "; ".join(f"{f.path}: {f.message}" for f in left[:5]),
                hint="try another mirror; --forget-beyond goes back to the copy's own checkpoint",
            )
        kept = _take_place(layout, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Restored(size=head.checkpoint.size, mended=tuple(mended), kept=str(kept))


def _target(ours: Head | None, theirs: Head, *, may_forget: bool) -> Head:
    """The checkpoint to restore to: the greater one; without our own only if the loss was accepted."""
    if ours is not None:
        return max(ours, theirs, key=_size) if not may_forget else theirs
    if not may_forget:
        raise NotRestorable(
            "the log's own checkpoint is lost, and entries after the copy's would be lost with it",
            hint=f"if {theirs.checkpoint.size} entries are all there is to have, say --forget-beyond",
        )
    return theirs


def _size(head: Head) -> int:
    return head.checkpoint.size


async def _gather(aside: Path, own: LedgerReader, copy: LedgerReader, head: Head, damaged: set[str]) -> list[str]:
    """Write every file of the tree into a fresh store, from the log where it holds and from the copy elsewhere."""
    store = DiskStore(aside, path_of=lambda _, key: path_of(key))
    mended: list[str] = []
    size = head.checkpoint.size
    for name in (*bundles_of(size), *tiles_of(size)):
        data = None if name.path in damaged else await _file(own, name)
        if data is None:
            data = await _file(copy, name)
            if data is not None:
                mended.append(name.path)
        if data is not None:
            await store.put(BUCKET, name.key, data)
    cosigned = await own.raw(COSIGNED_KEY)
    if cosigned is not None:
        await store.put(BUCKET, COSIGNED_KEY, cosigned)
    await store.put(BUCKET, CHECKPOINT_KEY, head.note)
    return mended


async def _file(reader: LedgerReader, name: TileName) -> bytes | None:
    try:
        return encode_bundle(await reader.bundle(name)) if name.level is None else await reader.tile(name)
    except LedgerDamaged:
        return None


async def _head(reader: LedgerReader) -> Head | None:
    try:
        return await reader.head()
    except LedgerDamaged:
        return None


def _take_place(layout: Layout, aside: Path) -> Path:
    """Swap the folders: the damaged log steps aside, index included, and the whole one takes its place."""
    number = 1
    while (kept := layout.ledger / f"{BUCKET}.damaged-{number}").exists():
        number += 1
    if (layout.ledger / BUCKET).exists():
        (layout.ledger / BUCKET).rename(kept)
    layout.ledger.mkdir(parents=True, exist_ok=True)
    (aside / BUCKET).rename(layout.ledger / BUCKET)
    return kept
