"""Gather what a function's source is made of, and refuse early what no toolchain could build.

`path of a .py or .js file -> its files, checked`. A function is one file and the files beside it that it imports by
static imports; they are what the digest of the source covers. It builds nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hanse.adapters.component_format import BuildError

MAX_SOURCE_BYTES = 16 * 2**20
"""All files of one function together."""

_RESERVED = frozenset({"hanse_entry", "hanse_guest", "hanse_wasi", "wit_world", "componentize_py_types"})
_JS_IMPORT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)(["'])(\.{1,2}/[^"'\n]+)\1""")
_JS_HANDLE = re.compile(
    r"\bexport\s+(?:async\s+)?function\s+handle\b|\bexport\s+(?:const|let|var)\s+handle\b|\bexport\s*\{[^}]*\bhandle\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSource:
    """The files of one function: relative posix name to bytes, in name order; `main` is the one that was named."""

    main: str
    files: tuple[tuple[str, bytes], ...]

    def mentions(self, word: str) -> bool:
        """Tell whether any file holds `word`."""
        return any(word.encode() in data for _, data in self.files)


def read_source(path: Path) -> bytes:
    """Read one file. Raises BuildError (``build.source_missing``) if there is none that can be read."""
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES and path.suffix != ".wasm":
            raise BuildError(
                f"{path} is too large for a source: {path.stat().st_size:,} bytes",
                code="build.too_large",
                hint=f"the limit is {MAX_SOURCE_BYTES:,} bytes",
            )
        return path.read_bytes()
    except OSError as error:
        raise BuildError(
            f"cannot read the source {path}: {error.strerror}",
            code="build.source_missing",
            hint="`spec.source` is relative to the manifest; check the path",
        ) from error


def gather_python(path: Path) -> FunctionSource:
    """Gather a Python function. Raises BuildError: ``build.syntax``, ``build.no_handle``, ``build.bad_name``."""
    if not path.stem.isidentifier() or path.stem in _RESERVED:
        raise BuildError(
            f"{path.name} cannot be imported as a Python module",
            code="build.bad_name",
            hint="name the file with letters, digits and _, not a digit first, and not like the SDK's own modules",
        )
    files: dict[str, bytes] = {}
    queue = [path.name]
    while queue:
        name = queue.pop()
        if name in files:
            continue
        data = read_source(path.parent / name)
        files[name] = data
        tree = _parse(path.parent / name, data)
        if name == path.name and not _defines(tree, "handle"):
            raise BuildError(
                f"{path.name} has no function `handle`",
                code="build.no_handle",
                hint="define `def handle(request: Request) -> Response:` at the top level",
            )
        queue.extend(_neighbours(path.parent, tree))
    return _source(path, files)


def gather_javascript(path: Path) -> FunctionSource:
    """Gather a JavaScript function. Raises BuildError: ``build.no_handle``, ``build.syntax`` for a bad encoding."""
    root = path.parent.resolve()
    files: dict[str, bytes] = {}
    queue = [path.name]
    while queue:
        name = queue.pop()
        if name in files:
            continue
        data = read_source(root / name)
        files[name] = data
        text = _decode(root / name, data)
        if name == path.name and _JS_HANDLE.search(text) is None:
            raise BuildError(
                f"{path.name} exports no function `handle`",
                code="build.no_handle",
                hint="write `export function handle(request) { return new Response(...); }`",
            )
        for match in _JS_IMPORT.finditer(text):
            target = (root / name).parent.joinpath(match.group(2)).resolve()
            if not target.is_relative_to(root):
                raise BuildError(
                    f"{name} imports {match.group(2)} from outside its folder",
                    code="build.bad_name",
                    hint="keep the files of a function in one folder",
                )
            queue.append(target.relative_to(root).as_posix())
    return _source(path, files)


def _source(path: Path, files: dict[str, bytes]) -> FunctionSource:
    total = sum(len(data) for data in files.values())
    if total > MAX_SOURCE_BYTES:
        raise BuildError(
            f"the source of {path.name} is too large: {total:,} bytes",
            code="build.too_large",
            hint=f"the limit is {MAX_SOURCE_BYTES:,} bytes",
        )
    return FunctionSource(main=path.name, files=tuple(sorted(files.items())))


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BuildError(
            f"{path.name} is not UTF-8 text (byte {error.start})", code="build.syntax", hint="save it as UTF-8"
        ) from error


def _parse(path: Path, data: bytes) -> ast.Module:
    try:
        return ast.parse(_decode(path, data), filename=path.name)
    except SyntaxError as error:
        raise BuildError(
            f"{path.name}:{error.lineno or 1}: {error.msg}",
            code="build.syntax",
            hint=(error.text or "").rstrip("\n") or "correct the syntax",
            context={"file": str(path), "line": error.lineno or 1},
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BuildError(f"{path.name}: {error}", code="build.syntax", hint="correct the syntax") from error


def _defines(tree: ast.Module, name: str) -> bool:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=found) if found == name:
                return True
            case ast.Assign(targets=[ast.Name(id=found)]) if found == name:
                return True
            case ast.ImportFrom(names=names) if any((item.asname or item.name) == name for item in names):
                return True
    return False


def _neighbours(folder: Path, tree: ast.Module) -> Iterator[str]:
    """Files in `folder` that the module imports by name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = [item.name for item in names]
            case ast.ImportFrom(module=str(module), level=0, names=names):
                modules = [module, *(f"{module}.{item.name}" for item in names)]
            case _:
                continue
        for module in modules:
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                stem = "/".join(parts[:end])
                for name in (f"{stem}.py", f"{stem}/__init__.py"):
                    if (folder / name).is_file():
                        yield name
