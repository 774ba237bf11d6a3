"""The `Entropy` port on the system's random source."""

from __future__ import annotations

import random
import secrets

from hanse.core.rng import Rng


class SystemEntropy:
    """Named streams under a seed drawn at start, and secret bytes from the kernel."""

    def __init__(self) -> None:
        self._rng = Rng(int.from_bytes(secrets.token_bytes(16), "big"))

    def stream(self, *names: str | int) -> random.Random:
        """Derive a named stream (not secret)."""
        return self._rng.stream(*names)

    def secret(self, count: int) -> bytes:
        """Draw `count` unpredictable bytes."""
        return secrets.token_bytes(count)
