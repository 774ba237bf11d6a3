"""Files that are either whole or not there: the few moves that survive a crash and a power cut.

`bytes -> file`. Write aside, fsync, rename, fsync the directory (rename(2), fsync(2)): a reader sees the old bytes or
the new, and what was acknowledged is on the disk.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hanse.core.errors import StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_aside(target: Path, data: bytes, aside: Path) -> Path:
    """Write `data` durably under a temporary name in `aside`. On failure nothing is left. Raises OSError."""
    aside.mkdir(parents=True, exist_ok=True)
    temporary = aside / f"{target.name}.{os.getpid()}.{os.urandom(6).hex()}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return temporary


def write_all(handle: int, data: bytes) -> None:
    """Write every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def move_into_place(temporary: Path, target: Path) -> None:
    """Give a written file its name, durably. Raises OSError."""
    make_directory(target.parent)
    temporary.replace(target)
    sync_directory(target.parent)


def make_directory(path: Path) -> None:
    """Make a directory and its parents so that their names are on the disk too."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Rename a bad file to the first free ``<name>.damaged-<n>``, so that it can be looked at. Raises OSError."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    sync_directory(path.parent)
    return aside


def disk_error(error: OSError, what: str) -> StoreError:
    """Tell an OSError as the store's: ``store.full`` where room is what is missing."""
    if error.errno in _FULL:
        return StoreError(
            f"{what}: the disk is full",
            code="store.full",
            hint="free space or raise the quota where the state directory lies; the old value is intact",
            context={"path": str(error.filename or "")},
        )
    return StoreError(f"{what}: {error.strerror or error}", context={"path": str(error.filename or "")})
