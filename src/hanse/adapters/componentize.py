"""Turn a function's source into a `wasi:http` component, once per source.

`path -> component on disk, with its digest`. A ``.wasm`` file is checked and passed through; ``.py`` goes through
componentize-py, ``.js`` through componentize-js on Node. Results are cached by the digest of everything that decides
them: the source's files, the SDK, the WIT and the version of the toolchain. Calls block: the CLI runs them in a thread.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hanse.adapters.component_format import BuildError, check_component
from hanse.adapters.function_source import FunctionSource, gather_javascript, gather_python, read_source
from hanse.core.ids import Digest
from hanse.wire.canonical import digest_bytes, digest_of

Progress = Callable[[str], None]

TOOLCHAIN_TIMEOUT_S = 900
"""A build takes seconds and an installation some tens; beyond this the toolchain hangs."""
_WORLD = "function"
_TAIL_LINES = 12

_PACKAGE = Path(__file__).resolve().parent.parent
_WIT = _PACKAGE / "wit"
_GUEST_SDK = _PACKAGE / "guest_sdk"
_JSBUILD = _PACKAGE / "jsbuild"

_PYTHON_ENTRY = """\
import {module} as function
import hanse_guest
import hanse_wasi
from wit_world import exports

hanse_guest.use_transport(hanse_wasi.transport)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        hanse_wasi.serve(function.handle, request, response_out)
"""
_JAVASCRIPT_ENTRY = """\
import {{ handle }} from './{module}';
addEventListener('fetch', (event) => event.respondWith((async () => handle(event.request))()));
"""
_RUN_COMPONENTIZE_PY = "import sys; from componentize_py import script; sys.exit(script())"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltComponent:
    """A component on disk."""

    digest: Digest
    """SHA-256 of the component's bytes."""
    path: Path
    size_bytes: int
    seconds: float
    """Time this call took."""
    is_cached: bool
    """True where nothing had to be built."""


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/hanse``, or ``~/.cache/hanse`` (XDG Base Directory Specification)."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if Path(root).is_absolute() else Path.home() / ".cache") / "hanse"


def build(source: Path, cache_dir: Path | None = None, progress: Progress = lambda _: None) -> BuiltComponent:
    """Build `source`, or find it built.

    `progress` is called with one sentence per step that may take over a second. Raises BuildError; its codes are
    ``build.source_missing``, ``build.unsupported``, ``build.syntax``, ``build.no_handle``, ``build.bad_name``,
    ``build.too_large``, ``build.not_component``, ``build.truncated``, ``build.not_http``, ``build.toolchain_missing``,
    ``build.node_missing``, ``build.install_failed``, ``build.timeout``, ``build.cache`` and ``build.failed``.
    """
    started = time.monotonic()
    match source.suffix:
        case ".wasm":
            data = read_source(source)
            check_component(source.name, data)
            path, is_cached = source.resolve(), True
        case ".py":
            path, data, is_cached = _build_python(source, cache_dir or default_cache_dir(), progress)
        case ".js" | ".mjs":
            path, data, is_cached = _build_javascript(source, cache_dir or default_cache_dir(), progress)
        case suffix:
            raise BuildError(
                f"cannot build {source.name}: {suffix or 'no suffix'} is not supported",
                code="build.unsupported",
                hint="give a .wasm component, a .py or a .js file",
            )
    return BuiltComponent(
        digest=digest_bytes(data),
        path=path,
        size_bytes=len(data),
        seconds=time.monotonic() - started,
        is_cached=is_cached,
    )


def _build_python(path: Path, cache_dir: Path, progress: Progress) -> tuple[Path, bytes, bool]:
    gathered = gather_python(path)
    try:
        version = importlib.metadata.version("componentize-py")
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(
            "componentize-py is not installed",
            code="build.toolchain_missing",
            hint="it comes with hanse: install hanse again, or `pip install componentize-py`",
        ) from None
    entry = _PYTHON_ENTRY.format(module=path.stem)
    key = _cache_key(gathered, f"componentize-py {version}", entry, (_GUEST_SDK, _WIT))

    def make(stage: Path, out: Path) -> None:
        (stage / "hanse_entry.py").write_text(entry, encoding="utf-8")
        progress(f"building {path.name} with componentize-py {version}")
        command = [sys.executable, "-c", _RUN_COMPONENTIZE_PY, "-q", "-d", str(_WIT), "-w", _WORLD, "componentize"]
        command += ["-p", str(stage), "-p", str(_GUEST_SDK), "-o", str(out), "hanse_entry"]
        # An empty PATH and no VIRTUAL_ENV: else componentize-py adds the builder's own site-packages to the guest, and
        # the component would depend on the machine that built it.
        _run(command, f"componentize-py could not build {path.name}", cwd=stage, env={"PATH": "", "HOME": str(stage)})

    return _cached(cache_dir, key, gathered, make)


def _build_javascript(path: Path, cache_dir: Path, progress: Progress) -> tuple[Path, bytes, bool]:
    gathered = gather_javascript(path)
    entry = _JAVASCRIPT_ENTRY.format(module=path.name)
    key = _cache_key(gathered, "componentize-js", entry, (_JSBUILD, _WIT))

    def make(stage: Path, out: Path) -> None:
        node = _node()
        (stage / "package.json").write_text('{"type": "module"}', encoding="utf-8")
        _check_javascript(node, stage, gathered)
        toolchain = _javascript_toolchain(cache_dir, progress)
        (stage / "hanse_entry.js").write_text(entry, encoding="utf-8")
        order = {
            "source": str(stage / "hanse_entry.js"),
            "wit": str(_WIT),
            "world": _WORLD,
            "out": str(out),
            # Least authority: without `fetch` in the source the component does not even import outgoing HTTP. Clocks,
            # randomness and logs stay, because without them Date and Math.random would freeze at build time.
            "disable": [] if gathered.mentions("fetch") else ["http"],
        }
        progress(f"building {path.name} with componentize-js")
        command = [node, str(toolchain / "build.mjs"), json.dumps(order)]
        _run(command, f"componentize-js could not build {path.name}", cwd=stage)

    return _cached(cache_dir, key, gathered, make)


def _cache_key(source: FunctionSource, toolchain: str, entry: str, folders: Iterable[Path]) -> str:
    """Digest of everything that decides the component, in hex."""
    own = {
        f"{folder.name}/{file.relative_to(folder).as_posix()}": digest_bytes(file.read_bytes())
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    inputs = {
        "toolchain": toolchain,
        "entry": entry,
        "main": source.main,
        "files": {name: digest_bytes(data) for name, data in source.files},
        "own": own,
    }
    return digest_of(inputs).removeprefix("sha256:")


def _cached(
    cache_dir: Path, key: str, source: FunctionSource, make: Callable[[Path, Path], None]
) -> tuple[Path, bytes, bool]:
    """Find the component of `key`, or make it in a stage of its own and publish it in one rename."""
    folder = cache_dir / "components"
    kept, note = folder / f"{key}.wasm", folder / f"{key}.sha256"
    data = _read_kept(kept, note)
    if data is not None:
        return kept, data, True
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="stage-") as name:
            stage = Path(name).resolve() / "source"
            for file, text in source.files:
                target = stage / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text)
            out = Path(name).resolve() / "out.wasm"
            make(stage, out)
            data = out.read_bytes()
            check_component(source.main, data)
            # The note goes first: a component without its note is built again, never trusted.
            fresh_note = Path(name) / "out.sha256"
            fresh_note.write_text(hashlib.sha256(data).hexdigest(), encoding="ascii")
            fresh_note.replace(note)
            out.replace(kept)
    except OSError as error:
        raise BuildError(
            f"cannot write the build cache {folder}: {error.strerror}",
            code="build.cache",
            hint="free disk space, or name another cache directory",
            retry=True,
        ) from error
    return kept, data, False


def _read_kept(kept: Path, note: Path) -> bytes | None:
    try:
        data, expected = kept.read_bytes(), note.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return data if hashlib.sha256(data).hexdigest() == expected else None


def _node() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "Node.js" if node is None else "npm"
        raise BuildError(
            f"{missing} is not installed: it is needed to build functions written in JavaScript",
            code="build.node_missing",
            hint="install the Debian packages `nodejs` and `npm`; functions in Python and .wasm files need neither",
        )
    return node


def _check_javascript(node: str, stage: Path, source: FunctionSource) -> None:
    """Let Node parse every file first: its errors carry file and line, those of the toolchain do not."""
    for name, _ in source.files:
        result = _finish([node, "--check", str(stage / name)], cwd=stage)
        if result.returncode != 0:
            lines = result.stderr.splitlines()
            line = lines[0].rpartition(":")[2] if lines else ""
            reason = next((text for text in lines if "Error:" in text), "not JavaScript")
            raise BuildError(
                f"{name}:{line}: {reason}" if line.isdecimal() else f"{name}: {reason}",
                code="build.syntax",
                hint=lines[1].strip() if len(lines) > 1 else "correct the syntax",
                context={"file": name, "line": int(line) if line.isdecimal() else 1},
            )


def _javascript_toolchain(cache_dir: Path, progress: Progress) -> Path:
    """Install componentize-js from its lock file, once per lock file, outside any clone."""
    files = sorted(file for file in _JSBUILD.iterdir() if file.is_file())
    key = digest_of({file.name: digest_bytes(file.read_bytes()) for file in files}).removeprefix("sha256:")[:16]
    ready = cache_dir / "toolchains" / f"js-{key}"
    if (ready / "node_modules").is_dir():
        return ready
    ready.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix="stage-") as name:
        stage = Path(name) / "js"
        stage.mkdir()
        for file in files:
            shutil.copy(file, stage / file.name)
        progress("installing the JavaScript toolchain (once, some 210 MB)")
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        _run(command, "npm could not install componentize-js", cwd=stage, code="build.install_failed")
        try:
            stage.rename(ready)
        except OSError:
            # Another build was quicker; its copy comes from the same lock file.
            if not (ready / "node_modules").is_dir():
                raise
    return ready


def _run(
    command: list[str],
    failure: str,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    code: str = "build.failed",
) -> None:
    result = _finish(command, cwd=cwd, env=env)
    if result.returncode == 0:
        return
    lines = [line.rstrip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    raise BuildError(
        failure,
        code=code,
        hint="\n".join(lines[-_TAIL_LINES:]) or f"exit status {result.returncode}, no output",
        retry=code == "build.install_failed",
    )


def _finish(command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOLCHAIN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(
            f"{Path(command[0]).name} did not end within {TOOLCHAIN_TIMEOUT_S} s",
            code="build.timeout",
            hint="look for top-level code that waits or loops: it runs when the component is built",
            retry=True,
        ) from None
