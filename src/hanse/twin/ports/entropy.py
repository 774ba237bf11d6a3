"""The `Entropy` port from a seed: named streams, and "secret" bytes that a run can repeat.

`seed, machine, incarnation -> streams, bytes`.
"""

from __future__ import annotations

import random

from hanse.core.rng import Rng


class SeededEntropy:
    """One incarnation of one machine: a restart draws other bytes, the same in every run."""

    def __init__(self, seed: int, *names: str | int) -> None:
        self._rng = Rng(seed)
        self._names = names
        self._secrets = self._rng.stream("secret", *names)

    def stream(self, *names: str | int) -> random.Random:
        """Derive a named stream."""
        return self._rng.stream("stream", *self._names, *names)

    def secret(self, count: int) -> bytes:
        """Draw bytes for keys and tokens; unpredictable only to the code under simulation."""
        return self._secrets.randbytes(count)
