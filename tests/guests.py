"""Test components for the engine, built from the text in `crates/guests`: name -> path of a `.wasm` file.

`tests/conftest.py` hands the fixture to every test.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hanse"


def build_guests(directory: Path) -> Mapping[str, Path]:
    """Build every guest into `directory` and return their paths by name (`hello`, `echo`, `trap`, ...)."""
    target = os.environ.get("CARGO_TARGET_DIR", str(CACHE / "cargo-target"))
    command = ["cargo", "run", "--release", "--quiet", "--locked", "--package", "hanse-guests", "--"]
    environment = os.environ | {"CARGO_TARGET_DIR": target}
    subprocess.run([*command, str(directory)], cwd=ROOT, env=environment, check=True, timeout=3_600)
    return {path.stem: path for path in sorted(directory.glob("*.wasm"))}


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Paths of all guests by name."""
    return build_guests(tmp_path_factory.mktemp("guests"))
