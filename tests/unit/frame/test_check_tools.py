"""A newcomer without a tool is told its name and package in one line, before anything is built.

Runs the real script with a PATH of its own: symbolic links to this machine's tools, or small stand-ins for them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "check-tools.sh"
CARGO = "#!/bin/sh\necho 'cargo 1.95.0 (f2d3ce0bd 2026-01-01)'\n"
"""Stands for a toolchain: the script asks for its version and nothing else."""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with everything that is needed and nothing else."""
    (tmp_path / "python3").symlink_to(sys.executable)
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    # A link would lose the compiler's own place, from which it finds its parts.
    _put(tmp_path / "cc", f'#!/bin/sh\nPATH=/usr/bin:/bin exec {compiler} "$@"\n')
    _put(tmp_path / "cargo", CARGO)
    return tmp_path


def test_says_nothing_where_nothing_is_missing(tools: Path) -> None:
    assert _check(tools) == (0, "")


@pytest.mark.parametrize(
    ("tool", "line"),
    [
        ("python3", "missing: Python 3.11 or later (python3): apt install python3"),
        ("cc", "missing: a C compiler (cc): apt install gcc libc6-dev"),
        (
            "cargo",
            "missing: cargo 1.95 or later: apt install rustup && rustup default stable "
            "(Debian 13; on Debian 12 rustup comes from https://rustup.rs)",
        ),
    ],
)
def test_names_what_is_missing_in_one_line_with_its_package(tools: Path, tool: str, line: str) -> None:
    (tools / tool).unlink()
    assert _check(tools) == (1, line + "\n")


@pytest.mark.parametrize(
    ("tool", "stand_in", "line"),
    [
        ("python3", "#!/bin/sh\nexit 1\n", "Python 3.11 or later"),
        (
            "python3",
            '#!/bin/sh\ncase "$2" in *version_info*) exit 0;; *) exit 1;; esac\n',
            "the venv module of python3: apt install python3-venv",
        ),
        ("cargo", "#!/bin/sh\necho 'cargo 0.66.0'\n", "cargo 1.95 or later (found 0.66.0): apt install rustup"),
        ("cargo", "#!/bin/sh\necho 'cargo 1.94.1 (abc 2026-01-01)'\n", "cargo 1.95 or later (found 1.94.1)"),
        ("cargo", "#!/bin/sh\nexit 1\n", "a Rust toolchain (cargo is there and does not run): rustup default stable"),
        ("cc", "#!/bin/sh\nexit 1\n", "the C library's headers (cc is there and cannot build): apt install libc6-dev"),
    ],
)
def test_names_what_is_there_and_does_not_do(tools: Path, tool: str, stand_in: str, line: str) -> None:
    (tools / tool).unlink()
    _put(tools / tool, stand_in)
    code, said = _check(tools)
    assert code == 1
    assert said.startswith(f"missing: {line}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("found", ["cargo 1.95.0-nightly (abc 2026-01-01)", "cargo 1.100.2 (abc)", "cargo 2.0.0"])
def test_takes_later_toolchains(tools: Path, found: str) -> None:
    _put(tools / "cargo", f"#!/bin/sh\necho '{found}'\n")
    assert _check(tools) == (0, "")


def test_names_everything_at_once(tools: Path) -> None:
    (tools / "cc").unlink()
    (tools / "cargo").unlink()
    code, said = _check(tools)
    assert code == 1
    assert [line.split(":")[0] for line in said.splitlines()] == ["missing", "missing"]


def _put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _check(tools: Path) -> tuple[int, str]:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, str(SCRIPT)], env={"PATH": str(tools)}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr
