"""The `Attestor` port of a platform without any hardware evidence: kind ``none``, as the real one says there."""

from __future__ import annotations


class MemoryAttestor:
    """Attests nothing, and says so."""

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Return (``none``, no bytes), whatever the nonce."""
        del nonce
        return "none", b""
