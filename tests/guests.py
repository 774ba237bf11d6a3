"""Test components for the engine, built from the text in `crates/guests`: name -> path of a `.wasm` file.

`tests/conftest.py` hands the fixture to every test.
"""

import fcntl
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hanse"


def build_guests(directory: Path) -> Mapping[str, Path]:
    """Build every guest into `directory` and return their paths by name (`hello`, `echo`, `trap`, ...)."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "cargo-target"))
    target.mkdir(parents=True, exist_ok=True)
    command = ["cargo", "run", "--release", "--quiet", "--locked", "--package", "hanse-guests", "--"]
    environment = os.environ | {"CARGO_TARGET_DIR": str(target)}
    # Cargo lets go of its own lock before it runs what it built; a second clone, whose builds go to the same folder,
    # would replace the program in between.
    with (target / "guests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([*command, str(directory)], cwd=ROOT, env=environment, check=True, timeout=3_600)
    return {path.stem: path for path in sorted(directory.glob("*.wasm"))}


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Paths of all guests by name."""
    return build_guests(tmp_path_factory.mktemp("guests"))
