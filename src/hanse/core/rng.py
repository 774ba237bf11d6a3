"""Named random streams: each draw names what it is for, so that a new draw in one place moves no other.

`seed, names -> random.Random`.
"""

from __future__ import annotations

import hashlib
import random


class Rng:
    """A root seed from which independent streams derive by name."""

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def stream(self, *names: str | int) -> random.Random:
        """Derive the stream of these names; equal (seed, names) give equal streams in every process."""
        material = repr((self._seed, names)).encode()
        return random.Random(hashlib.sha256(material).digest())  # noqa: S311 - reproducibility, not secrecy
