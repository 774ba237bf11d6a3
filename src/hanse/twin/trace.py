"""The fingerprint of a run: a hash over everything that was delivered or written, with its virtual time.

`events -> sha256`. Two runs of one (scenario, seed, commit) have equal hashes, or something is not deterministic.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable


class Trace:
    """Notes events in order and keeps the last of them for people."""

    def __init__(self, now_us: Callable[[], int], *, keep: int = 200) -> None:
        self._now_us = now_us
        self._hash = hashlib.sha256()
        self._recent: deque[str] = deque(maxlen=keep)
        self.count = 0

    def note(self, kind: str, *fields: str | int, data: bytes = b"") -> None:
        """Add one event; `data` enters by its digest."""
        digest = hashlib.sha256(data).hexdigest()[:16] if data else "-"
        line = "|".join((str(self._now_us()), kind, *(str(field) for field in fields), digest))
        self._hash.update(line.encode() + b"\n")
        self._recent.append(line)
        self.count += 1

    def digest(self) -> str:
        """Hex SHA-256 of all events so far."""
        return self._hash.hexdigest()

    def recent(self) -> tuple[str, ...]:
        """The last events, oldest first."""
        return tuple(self._recent)
