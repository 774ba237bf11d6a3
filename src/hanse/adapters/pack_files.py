"""Packs of rules from a folder of the user's: `path -> (path -> text)`, as `hanse.policy.parse_packs` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hanse.adapters.package_data import PACK_SUFFIXES
from hanse.core.errors import HanseError

FACTS_FILE = "facts/jurisdictions.yaml"
FILES_MAX = 1_000


class PackFilesError(HanseError):
    """Raised when a folder or file holds no packs."""

    code = "policy.files"
    hint = "name a folder of packs, the folder of one pack (with its pack.yaml), or a file of facts"


def read_pack_files(path: Path) -> Mapping[str, str]:
    """Read a folder of packs, one pack's folder, or a facts file: pack path -> text, in path order.

    Raises PackFilesError where there is nothing of the kind, or over 1,000 files.
    """
    if path.is_file():
        return {FACTS_FILE: _text(path)}
    if not path.is_dir():
        raise PackFilesError(f"{path} is neither a folder nor a file")
    prefix = f"{path.resolve().name}/" if (path / "pack.yaml").is_file() else ""
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix in PACK_SUFFIXES]
    if not found or len(found) > FILES_MAX:
        raise PackFilesError(f"{path} holds {len(found)} files of packs", hint=f"between 1 and {FILES_MAX}")
    return {f"{prefix}{file.relative_to(path).as_posix()}": _text(file) for file in found}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PackFilesError(f"{file} cannot be read: {error}", hint="packs are UTF-8 text") from error
