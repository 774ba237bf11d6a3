"""Read foreign bytes strictly: every length is bounded, nothing is skipped, nothing may be left over.

`bytes -> integers and slices`. All evidence formats are read with this one reader, so that each of them refuses
truncated and oversized input in the same way: EvidenceRefused ``attest.malformed`` or ``attest.too_large``.
"""

from __future__ import annotations

from hanse.attest.errors import refused


class Reader:
    """A cursor over bytes; it only moves forwards."""

    __slots__ = ("_at", "_data", "_what")

    def __init__(self, data: bytes, what: str, *, at_most: int) -> None:
        """Begin at the first byte. Raises EvidenceRefused ``attest.too_large`` over `at_most` bytes."""
        if len(data) > at_most:
            raise refused("too_large", f"{what} takes {len(data)} bytes, over the limit of {at_most}")
        self._data = data
        self._what = what
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self.left:
            raise refused("malformed", f"{self._what} is cut off: {count} bytes wanted at {self._at}, {self.left} left")
        self._at += count
        return self._data[self._at - count : self._at]

    def big(self, count: int) -> int:
        """The next `count` bytes as a big-endian number (TPM structures)."""
        return int.from_bytes(self.take(count), "big")

    def little(self, count: int) -> int:
        """The next `count` bytes as a little-endian number (event logs, quotes, reports)."""
        return int.from_bytes(self.take(count), "little")

    def sized(self, at_most: int) -> bytes:
        """A TPM2B: two bytes of length, then as many bytes."""
        size = self.big(2)
        if size > at_most:
            raise refused("malformed", f"{self._what} holds a field of {size} bytes, over {at_most}")
        return self.take(size)

    def zeros(self, count: int) -> None:
        """Reserved bytes, which must be zero: what means nothing must not differ."""
        if any(self.take(count)):
            raise refused("malformed", f"{self._what} has something in reserved bytes before {self._at}")

    def end(self) -> None:
        """Nothing may follow."""
        if self.left:
            raise refused("malformed", f"{self._what} is followed by {self.left} bytes")
