"""The ports of a state directory: `name -> port`, the same as last time where it is free, and meanwhile nobody else's.

A port that is looked up, let go, and listened on a second later by a child process can be given to any other program of
the machine in between; so can the port of a process that is being started again. Here each port stays bound, without
listening, for as long as the fabric runs: sockets with SO_REUSEADDR may share an address on Linux while at most one of
them listens, and every server of the fabric sets that option. It hands out numbers and listens on nothing itself.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from hanse.adapters.keys import write_private
from hanse.app.serving import AddressInUse, bound_socket


class HeldPorts:
    """Ports by name on one address of this machine; `path` remembers them for the next start."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        self._last: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        self._held: list[socket.socket] = []
        self.taken: dict[str, int] = {}

    def take(self, name: str) -> int:
        """Choose and hold a port for `name`; asked again it is the same one. Raises AddressInUse if none is free."""
        if name not in self.taken:
            self.taken[name] = self._hold(self._last.get(name, 0))
        return self.taken[name]

    def save(self) -> None:
        """Remember the ports for the next start."""
        write_private(self._path, json.dumps(self.taken, indent=1).encode())

    def release(self) -> None:
        """Let all of them go."""
        while self._held:
            self._held.pop().close()

    def _hold(self, wanted: int) -> int:
        try:
            held = bound_socket(self._host, wanted)
        except AddressInUse:
            held = bound_socket(self._host, 0)
        port: int = held.getsockname()[1]
        if sys.platform.startswith("linux"):
            self._held.append(held)
        else:
            held.close()  # elsewhere a bound socket keeps the fabric's own processes out too
        return port
