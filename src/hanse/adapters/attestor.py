"""The Attestor port of a machine without a trusted platform module: it says so instead of pretending."""

from __future__ import annotations


class NoEvidence:
    """Offers no hardware evidence: kind ``none``. Facts about such a node keep the grade its operator's signature
    gives."""

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Return kind ``none`` and no bytes."""
        return "none", b""
