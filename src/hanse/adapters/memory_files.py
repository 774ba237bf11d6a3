"""State of a node that outlives its process and never touches a disk: files in memory (tmpfs).

`state directory -> Store, or None where the machine offers no such place`. An SVID's key is kept so: a node that
restarts while it is cut off speaks to its neighbours again, and whoever takes the disk finds no key. A reboot ends it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from hanse.adapters.disk_store import Damaged, DiskStore

PLACES = ("/dev/shm", "/run/shm")  # noqa: S108 - directories in memory; what is made in them is private to the user
MOUNTS = Path("/proc/self/mounts")
KINDS = frozenset({"tmpfs", "ramfs"})
FORGOTTEN_S = 86_400
"""Nothing kept here is of use for so long: an SVID lives one hour."""


def memory_store(
    state: Path, *, damaged: Damaged | None = None, places: Iterable[str] = PLACES, mounts: Path = MOUNTS
) -> DiskStore | None:
    """The store that belongs to the node whose state is in `state`; the same one after a restart.

    None where no place in memory is to be had, or one is there that others could read or replace.
    """
    for place in (Path(place) for place in places):
        if not _is_in_memory(place, mounts):
            continue
        own = place / f"hanse-{os.geteuid()}"
        if not _is_private(own):
            continue
        _sweep(own)
        name = hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:32]
        folder = own / name
        if not _is_private(folder):
            continue
        # Seen as used, so that it is not swept.
        os.utime(folder)
        return DiskStore(folder, damaged=damaged)
    return None


def _is_in_memory(place: Path, mounts: Path) -> bool:
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    kinds = [fields[2] for line in lines if len(fields := line.split()) > 2 and fields[1] == str(place)]
    return bool(kinds) and kinds[-1] in KINDS and os.access(place, os.W_OK | os.X_OK)


def _is_private(folder: Path) -> bool:
    """Make a directory that only this user may enter; False where somebody else has put something there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _sweep(own: Path) -> None:
    """Remove what nodes left here that have not started for long."""
    before = time.time() - FORGOTTEN_S
    for folder in own.iterdir():
        try:
            is_old = folder.lstat().st_mtime < before
        except OSError:
            continue
        if is_old:
            shutil.rmtree(folder, ignore_errors=True)
