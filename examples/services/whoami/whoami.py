"""Tell every caller by which SPIFFE ID this program is known: `whoami.py PORT SOCKET`.

The SVID comes from the node's SPIFFE Workload API (package `spiffe`) when somebody asks; it is never written to a disk.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from spiffe import WorkloadApiClient
from spiffe.errors import PySpiffeError


class WhoAmI(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            with WorkloadApiClient(f"unix://{sys.argv[2]}") as client:
                status, told = 200, str(client.fetch_x509_svid().spiffe_id)
        except PySpiffeError as error:
            status, told = 503, str(error)
        self.send_response(status)
        self.send_header("content-length", str(len(told.encode()) + 1))
        self.end_headers()
        self.wfile.write(told.encode() + b"\n")


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), WhoAmI).serve_forever()
