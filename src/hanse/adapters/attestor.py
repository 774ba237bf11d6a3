"""The Attestor port of a machine without a trusted platform module: it says so instead of pretending."""

from __future__ import annotations


class NoEvidence:
    """Offers no hardware evidence: kind ``none``. Facts about such a node keep the grade its operator's signature
    gives."""

    @property
    def kind(self) -> str:
        """``none``."""
        return "none"

    async def identity(self) -> bytes:
        """No platform to name."""
        return b""

    async def activate(self, credential: bytes, seed: bytes) -> bytes:
        """Open nothing."""
        del credential, seed
        return b""

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Return kind ``none`` and no bytes."""
        return "none", b""
