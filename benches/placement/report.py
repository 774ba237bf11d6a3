"""What every instance hands back: a flat row of figures, or a reason why it did not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Skipped(Exception):
    """Raised when an instance can't run here; the message names what is missing."""


def existing(path: Path) -> Path:
    """The path, if it is there. Raises Skipped naming it."""
    if not path.exists():
        raise Skipped(f"{path} is absent")
    return path
