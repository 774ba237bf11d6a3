"""Where things lie under one state directory: ``./.hanse`` unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one state directory."""

    root: Path

    @property
    def ports(self) -> Path:
        """Ports of the last run, taken again if they are free."""
        return self.root / "ports.json"

    @property
    def substrate(self) -> Path:
        """JetStream's files, the server's configuration and log."""
        return self.root / "substrate"

    @property
    def revocations(self) -> Path:
        """The signed list of revoked nodes, as the server's keeper last saw it."""
        return self.substrate / "revocations.json"

    @property
    def ledger(self) -> Path:
        """The transparency log, in the shape of C2SP tlog-tiles."""
        return self.root / "ledger"

    @property
    def compiled(self) -> Path:
        """Ahead-of-time compiled components; shared by the nodes of this machine, safe to delete."""
        return self.root / "cache" / "compiled"

    @property
    def logs(self) -> Path:
        """Output of every process."""
        return self.root / "logs"

    @property
    def tpm_maker(self) -> Path:
        """The pretended maker of this machine's software TPMs: keys and root certificate."""
        return self.root / "tpm-maker"

    def node(self, node: str) -> Path:
        """One node's own state: identity, orders, artifacts."""
        return self.root / "nodes" / node
