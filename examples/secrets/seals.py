"""Seals letters: POST a text, get its HMAC-SHA-256 under a key that only this function is told.

The key comes from the environment. It is read at each request and not at the top of the module, which runs when the
component is built.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from hanse_guest import Request, Response


def handle(request: Request) -> Response:
    """Seal the body of a request. The key itself is in no answer."""
    if request.method != "POST":
        return Response.json({"error": "POST the text to seal"}, status=405)
    key = os.environ.get("SEALING_KEY", "")
    if not key:
        return Response.json({"error": "no key: the secret was not delivered"}, status=500)
    return Response.json({"seal": hmac.new(key.encode(), request.body, hashlib.sha256).hexdigest()})
