"""One keep-alive client in a process of its own: `host, port, path, count -> microseconds per request`.

A plain socket, so that the figures are the fabric's and not an HTTP library's. Prints one JSON list.
"""

from __future__ import annotations

import json
import socket
import sys
import time

WARM_UP = 200


def call(host: str, port: int, path: str, count: int) -> list[int]:
    """Send `count` requests one after the other on one connection. Raises RuntimeError on any answer but 200."""
    request = f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
    took: list[int] = []
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(WARM_UP + count):
            began = time.perf_counter_ns()
            connection.sendall(request)
            _read(connection)
            took.append((time.perf_counter_ns() - began) // 1_000)
    return took[WARM_UP:]


def _read(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n")[0].decode())
    length = _length(head)
    # Without a length the body is chunked, and ends with an empty chunk (RFC 9112, section 7.1).
    while len(body) < length if length is not None else not body.endswith(b"0\r\n\r\n"):
        body += _more(connection)


def _length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return None


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise RuntimeError("the front closed the connection")
    return data


if __name__ == "__main__":
    _, at, to, times = sys.argv
    address, _, number = at.rpartition(":")
    print(json.dumps(call(address, int(number), to, int(times))))
