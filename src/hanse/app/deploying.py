"""From manifest files on disk to a submission: read, check, build, upload.

`paths -> files -> components -> Submission`. The manifests are checked here with the same reader that the controller
uses, so that a mistake is told before anything is built or sent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hanse.core.errors import HanseError
from hanse.core.ids import Digest, WorkloadId
from hanse.core.work import Kind

if TYPE_CHECKING:
    from hanse.adapters.componentize import BuiltComponent
    from hanse.app.client import Client
    from hanse.manifest import FunctionDocument, Manifests

Say = Callable[[str], None]

STDIN = "-"
SUFFIXES = (".yaml", ".yml")


class NoManifest(HanseError):
    """Raised when a path that was given holds no manifest."""

    code = "manifest.missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Manifests that were read and checked, with their functions built."""

    files: tuple[tuple[str, str], ...]
    documents: Manifests
    components: Mapping[WorkloadId, BuiltComponent]


def read_files(paths: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """Read manifest files; a directory stands for its ``.yaml`` and ``.yml`` files and those below; ``-`` is stdin.

    Raises NoManifest ``manifest.missing``, ``manifest.unreadable``.
    """
    found: dict[str, str] = {}
    for path in paths:
        if str(path) == STDIN:
            found["<stdin>"] = sys.stdin.read()
            continue
        for file in _manifests_in(path):
            found.setdefault(str(file), _read(file))
    return tuple(found.items())


def build_functions(
    functions: Sequence[FunctionDocument], *, cache: Path | None, say: Say
) -> dict[WorkloadId, BuiltComponent]:
    """Build the source of each function, or find it built. Raises BuildError."""
    from hanse.adapters.componentize import build

    return {one.id: build(source_of(one), cache, say) for one in functions if one.kind is not Kind.SERVICE}


def source_of(function: FunctionDocument) -> Path:
    """Where the source lies: relative to the manifest's own directory, or to here for stdin."""
    return Path(function.where.file).parent / function.source


def prepare(paths: Sequence[Path], *, cache: Path | None = None, say: Say = lambda _: None) -> Prepared:
    """Read, check and build. Raises NoManifest, ManifestError, BuildError."""
    from hanse.manifest import load

    files = read_files(paths)
    documents = load(files)
    return Prepared(
        files=files, documents=documents, components=build_functions(documents.functions, cache=cache, say=say)
    )


def upload(client: Client, prepared: Prepared, *, say: Say = lambda _: None) -> dict[str, str]:
    """Hand the components to the fabric; returns workload id -> digest. Raises ApiError ``component.*``."""
    stored: dict[Digest, Digest] = {}
    artifacts: dict[str, str] = {}
    for workload, built in sorted(prepared.components.items()):
        if built.digest not in stored:
            say(f"uploading {workload} ({built.size_bytes:,} bytes)")
            stored[built.digest] = client.put_artifact(built.path.read_bytes()).digest
        artifacts[workload] = stored[built.digest]
    return artifacts


def _manifests_in(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise NoManifest(f"{path} holds no manifest", hint=f"manifests end in {' or '.join(SUFFIXES)}")
        return files
    if not path.exists():
        raise NoManifest(f"{path} does not exist", hint="name a manifest file or a directory of them")
    return [path]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoManifest(
            f"{file} cannot be read: {error}", code="manifest.unreadable", hint="manifests are UTF-8 text"
        ) from error
