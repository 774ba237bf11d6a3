"""SPIFFE IDs, to the letter of the SPIFFE-ID specification (spiffe/spiffe, standards/SPIFFE-ID.md).

`text -> SpiffeId -> text`. Knows names only: no certificates, no keys. Two ids are equal exactly if their texts are,
because nothing is normalised: upper-case domains, percent escapes and odd slashes are refused, not repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hanse.core.ids import ControllerId, NodeId
from hanse.identity.errors import IdentityError

MAX_ID_BYTES = 2_048
MAX_DOMAIN_BYTES = 255
SCHEME = "spiffe://"

_DOMAIN = re.compile(r"[a-z0-9._-]+\Z")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+\Z")


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A trust domain and a path; the path is empty (the domain itself) or starts with a slash."""

    domain: str
    path: str = ""

    def __post_init__(self) -> None:
        """Refuse anything the specification refuses. Raises IdentityError ``identity.malformed_id``."""
        _check_domain(self.domain)
        _check_path(self.path)
        if len(str(self)) > MAX_ID_BYTES:
            raise _malformed(f"longer than {MAX_ID_BYTES} bytes")

    def __str__(self) -> str:
        return f"{SCHEME}{self.domain}{self.path}"

    @property
    def is_domain(self) -> bool:
        """Tell whether this names a trust domain (its signing authority) and not a member of it."""
        return self.path == ""


def parse(text: str) -> SpiffeId:
    """Read a SPIFFE ID.

    Raises IdentityError ``identity.malformed_id`` on another scheme, port, user, query, fragment, ``%``, an upper-case
    or empty domain, empty segments, ``.`` or ``..``, a trailing slash, or more than 2,048 bytes.
    """
    if not text.startswith(SCHEME):
        raise _malformed(f"does not start with {SCHEME}: {text[:80]!r}")
    domain, slash, rest = text[len(SCHEME) :].partition("/")
    return SpiffeId(domain, slash + rest)


def domain_id(domain: str) -> SpiffeId:
    """The id of a domain's signing authority: no path."""
    return SpiffeId(domain)


def node_id(domain: str, node: NodeId) -> SpiffeId:
    """``spiffe://<domain>/node/<node>``."""
    return SpiffeId(domain, f"/node/{node}")


def controller_id(domain: str, controller: ControllerId) -> SpiffeId:
    """``spiffe://<domain>/controller/<controller>``."""
    return SpiffeId(domain, f"/controller/{controller}")


def server_id(domain: str, name: str) -> SpiffeId:
    """``spiffe://<domain>/server/<name>``: the fabric's own servers, for example the substrate."""
    return SpiffeId(domain, f"/server/{name}")


def workload_spiffe_id(domain: str, namespace: str, workload: str) -> SpiffeId:
    """``spiffe://<domain>/ns/<namespace>/<workload>``."""
    return SpiffeId(domain, f"/ns/{namespace}/{workload}")


def _check_domain(domain: str) -> None:
    if len(domain) > MAX_DOMAIN_BYTES:
        raise _malformed(f"trust domain longer than {MAX_DOMAIN_BYTES} bytes")
    if _DOMAIN.match(domain) is None:
        raise _malformed(f"trust domain {domain[:80]!r} has other characters than a-z 0-9 . _ -, or none")


def _check_path(path: str) -> None:
    if path == "":
        return
    if not path.startswith("/"):
        raise _malformed(f"path {path[:80]!r} does not start with a slash")
    for segment in path[1:].split("/"):
        if _SEGMENT.match(segment) is None:
            raise _malformed(f"path segment {segment[:80]!r} is empty or has other characters than a-z A-Z 0-9 . _ -")
        if segment in {".", ".."}:
            raise _malformed(f"path segment {segment!r} is relative")


def _malformed(what: str) -> IdentityError:
    return IdentityError(
        f"not a SPIFFE ID: {what}",
        code="identity.malformed_id",
        hint="write it like `spiffe://hanse.example/node/berlin-1`",
    )
