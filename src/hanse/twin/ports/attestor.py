"""The `Attestor` port of the twin: a platform that says nothing."""

from __future__ import annotations


class MemoryAttestor:
    """Attests nothing, and says so."""

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
        """Return (``none``, no bytes), whatever the nonce."""
        del nonce
        return "none", b""
