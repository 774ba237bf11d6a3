"""What the benchmark needs beside the engine: rivals, load generator, components. Set up once, kept in the cache.

`wasmtime` comes from crates.io with its lock file, `workerd` from npm, the load generator and the small components from
this repository, the components in Python and JavaScript from `hanse build`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hanse.adapters.componentize import build, default_cache_dir

ROOT = Path(__file__).resolve().parent.parent.parent
HANDLERS = Path(__file__).resolve().parent / "handlers"
WASMTIME = "48"
WORKERD = "1"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Programs and components by path; versions as the programs tell them."""

    wasmtime: Path
    workerd: Path
    load: Path
    first_answer: Path
    decide: Path
    components: dict[str, Path]
    versions: dict[str, str]


def set_up(folder: Path, say: Say) -> Tools:
    """Install and build what is missing; components go into `folder`."""
    rivals = default_cache_dir() / "rivals"
    wasmtime, workerd = _wasmtime(rivals / "wasmtime", say), _workerd(rivals / "workerd", say)
    _cargo(["run", "--package", "hanse-guests", "--", str(folder)])
    release = _target() / "release"
    _cargo(["build", "--package", "hanse-load"])
    _cargo(["build", "--package", "hanse-engine", "--example", "first_answer"])
    _cargo(["build", "--package", "hanse-policy", "--example", "decide"])
    components = {path.stem: path for path in sorted(folder.glob("*.wasm"))}
    components |= {name: build(HANDLERS / name, progress=say).path for name in ("quote.py", "quote.js")}
    return Tools(
        wasmtime=wasmtime,
        workerd=workerd,
        load=release / "hanse-load",
        first_answer=release / "examples" / "first_answer",
        decide=release / "examples" / "decide",
        components=components,
        versions={path.name: _output([str(path), "--version"]) for path in (wasmtime, workerd)},
    )


def _wasmtime(root: Path, say: Say) -> Path:
    program = root / "bin" / "wasmtime"
    if not program.exists():
        say("installing wasmtime-cli (once; some ten minutes on two cores)")
        target = root.with_name("wasmtime-target")
        command = ["cargo", "install", "wasmtime-cli", "--version", f"^{WASMTIME}", "--locked"]
        _run([*command, "--root", str(root), "--target-dir", str(target)])
    return program


def _workerd(root: Path, say: Say) -> Path:
    program = root / "node_modules" / ".bin" / "workerd"
    if not program.exists():
        say("installing workerd (once)")
        root.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--prefix", str(root), "--no-audit", "--no-fund", f"workerd@{WORKERD}"])
    # The launcher on the path is a script for Node that starts this one and stays beside it.
    return next(root.glob("node_modules/@cloudflare/workerd-*/bin/workerd"))


def _cargo(arguments: list[str]) -> None:
    command, *rest = arguments
    _run(["cargo", command, "--release", "--quiet", "--locked", *rest])


def _target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", str(default_cache_dir() / "cargo-target")))


def _run(command: list[str]) -> None:
    environment = os.environ | {"CARGO_TARGET_DIR": str(_target())}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=sys.stderr)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
