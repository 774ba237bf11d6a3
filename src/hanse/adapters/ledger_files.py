"""A log as plain files: a domain's own folder, a mirror, a backup. `folder + key -> bytes`.

Reads only, sets nothing aside, takes no lock: what an auditor looks at stays as it was found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hanse.core.errors import StoreError
from hanse.core.ports import Entry


class LedgerFiles:
    """The files below a log's prefix, in the shape of C2SP tlog-tiles: ``checkpoint`` and ``tile/...``."""

    def __init__(self, folder: Path, path_of: Callable[[str], str]) -> None:
        self._folder = folder
        self._path_of = path_of

    async def get(self, bucket: str, key: str) -> Entry | None:
        """Read one file; None if it is not there. Raises StoreError if it cannot be read."""
        path = self._folder / self._path_of(key)
        try:
            return Entry(bucket=bucket, key=key, value=path.read_bytes(), revision=1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}", retry=False) from error
