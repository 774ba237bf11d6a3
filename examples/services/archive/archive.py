"""A program that answers over TLS alone: `python archive.py PORT CERTIFICATE KEY`."""

from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Archive(BaseHTTPRequestHandler):
    """Tells by which protocol it was asked, and for what."""

    def do_GET(self) -> None:
        """Answer one request."""
        protocol = self.connection.version() if isinstance(self.connection, ssl.SSLSocket) else "nothing"
        said = f"{self.path} over {protocol}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


def main() -> None:
    """Serve on the loopback until stopped."""
    port, certificate, key = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = HTTPServer(("127.0.0.1", int(port)), Archive)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
