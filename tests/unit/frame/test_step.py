"""A long step is named before and timed after, passes its exit code on, and leaves no ticker behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "step.sh"


@pytest.mark.parametrize("ticks", [(), ("--ticks",)])
def test_names_the_step_and_its_seconds(ticks: tuple[str, ...]) -> None:
    code, out, err = _step(*ticks, "brewing", "echo", "its own words")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"==> brewing\nits own words\n==> done in \d+s: brewing\n", out)


@pytest.mark.parametrize("ticks", [(), ("--ticks",)])
def test_a_failed_step_is_told_with_its_own_code(ticks: tuple[str, ...]) -> None:
    code, out, err = _step(*ticks, "brewing", "sh", "-c", "echo spilt >&2; exit 7")
    assert (code, out) == (7, "==> brewing\n")
    assert re.fullmatch(r"spilt\n==> failed after \d+s: brewing\n", err)


def test_arguments_are_passed_on_whole() -> None:
    _, out, _ = _step("a step of two words", "printf", "%s\n", "one argument", "*")
    assert out.splitlines()[1:3] == ["one argument", "*"]


def _step(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr
