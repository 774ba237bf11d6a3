"""Files that ship inside the package, read as text: `package -> path -> text`.

Only reading: what the files mean is decided by the pure rooms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

PACK_SUFFIXES = (".yaml", ".cedar")


def read_packs() -> Mapping[str, str]:
    """Read the policy packs that ship with hanse: path relative to the folder of packs -> text, in path order."""
    return dict(sorted(_texts(files("hanse") / "packs", "")))


def _texts(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _texts(entry, f"{path}/")
        elif entry.name.endswith(PACK_SUFFIXES):
            yield path, entry.read_text(encoding="utf-8")
