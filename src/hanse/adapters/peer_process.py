"""Which program is at the other end of a Unix socket: `socket -> process -> addresses it listens on`.

The kernel says who connected (SO_PEERCRED), and which listening TCP sockets that process holds (``/proc``). A child
that inherited its parent's socket counts, as it can answer there, too. Reading another user's process takes root.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_CREDENTIALS: Final = struct.Struct("3i")
_LISTEN: Final = "0A"


class PeerProcess:
    """A process that connected; it stays the same one even if its number is used again."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    @classmethod
    def of(cls, connection: socket.socket) -> Self:
        """The process that connected. Raises OSError if it has gone."""
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return cls(_CREDENTIALS.unpack(data)[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def listening(self) -> frozenset[str]:
        """Addresses (`ip:port`, IPv6 in brackets) on which it accepts TCP connections in this network namespace.

        Nothing if the process has gone, or belongs to somebody else and this is not root.
        """
        try:
            inodes = {
                target[8:-1]
                for descriptor in Path(f"/proc/{self.pid}/fd").iterdir()
                if (target := _target(descriptor)).startswith("socket:[")
            }
        except OSError:
            return frozenset()
        found = frozenset(address for address, inode in _listeners() if inode in inodes)
        # A pidfd is readable once its process has ended: then what was read may be of another.
        return frozenset() if select.select([self._descriptor], [], [], 0)[0] else found


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


def _listeners() -> list[tuple[str, str]]:
    """(address, inode) of every listening TCP socket here (proc(5): ``/proc/net/tcp``)."""
    rows: list[tuple[str, str]] = []
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                rows.append((_address(fields[1]), fields[9]))
    return rows


def _address(text: str) -> str:
    """``0100007F:1F90`` -> ``127.0.0.1:8080``; each 32-bit word is in the machine's own order."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[at : at + 8]) for at in range(0, len(host), 8)]
    packed = b"".join(struct.pack("=I", int.from_bytes(word, "big")) for word in words)
    if len(packed) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, packed)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{int(port, 16)}"
