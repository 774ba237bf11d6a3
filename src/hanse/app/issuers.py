"""The domain's list of certifiers whom it believes: `file -> trusted issuers`; and fetching a `did:web` document.

The list is a file that the domain keeps. Documents of `did:web` lie beside it, with the digest of what somebody looked
at; nothing is fetched while a credential is verified, so a web server that changes its mind changes no verdict.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import msgspec
import yaml

from hanse.core.errors import HanseError
from hanse.identity.credential import TrustedIssuer
from hanse.identity.did import DOCUMENT_MAX_BYTES, document_url, keys_of

FETCH_TIMEOUT_S = 10.0


class IssuersError(HanseError):
    """Raised when a list of issuers, or a document that it names, cannot be used."""

    code = "credential.issuers"
    hint = "issuers: [{did, certifies: [name, ...]}]; a did:web also needs document and sha256"


class _Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    did: str
    certifies: tuple[str, ...]
    document: str | None = None
    sha256: str = ""


class _Issuers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    issuers: tuple[_Issuer, ...]


def read_issuers(path: Path) -> tuple[TrustedIssuer, ...]:
    """Read a list of issuers and the documents beside it. Raises IssuersError."""
    try:
        listed = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), _Issuers)
        return tuple(
            TrustedIssuer(
                did=one.did, certifies=one.certifies, document_sha256=one.sha256,
                document=None if one.document is None else (path.parent / one.document).read_bytes(),
            )
            for one in listed.issuers
        )  # fmt: skip
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise IssuersError(f"{path}: {error}") from error


def fetch_document(did: str, client: httpx.Client) -> tuple[bytes, str]:
    """Fetch the document of a `did:web` over HTTPS: its bytes and their hex SHA-256.

    No redirect is followed: the name says where the document is. Raises IssuersError, or IdentityError where it is no
    document about `did` with keys that can be read.
    """
    url = document_url(did)
    try:
        with client.stream("GET", url, follow_redirects=False, timeout=FETCH_TIMEOUT_S) as answer:
            if answer.status_code != httpx.codes.OK:
                raise IssuersError(f"{url} answers {answer.status_code}", hint="ask the certifier for its DID")
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > DOCUMENT_MAX_BYTES:
                    raise IssuersError(f"{url} sends over {DOCUMENT_MAX_BYTES:,} bytes", hint="that is no DID document")
    except httpx.HTTPError as error:
        raise IssuersError(f"{url}: {error}", hint="is the network there?", retry=True) from error
    document = bytes(data)
    keys_of(did, document)
    return document, hashlib.sha256(document).hexdigest()
