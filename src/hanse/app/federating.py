"""Fetch other domains' trust bundles: the HTTP of SPIFFE Federation, both profiles.

`Federation -> GET bundle endpoint -> Federation`, at each bundle's own pace while this controller leads. With
``https_spiffe`` the server shows an SVID of the bundle that is known already, under the name that was agreed; with
``https_web`` a certificate of the public web.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from urllib.parse import urlsplit

import structlog

from hanse.control.controller import Controller
from hanse.control.federation import Federation
from hanse.core.errors import HanseError
from hanse.core.time import WallTime
from hanse.identity import IdentityError, SpiffeId
from hanse.identity.bundle import MAX_BUNDLE_BYTES, TrustBundle, parse_bundle
from hanse.identity.verify import name_of_leaf
from hanse.wire.messages import FederatedBundle

log = structlog.get_logger("control")

LOOK_S = 5.0
DEADLINE_S = 10.0


async def keep_bundles(controller: Controller, federation: Federation) -> None:
    """Keep fetching until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        if not controller.lease.is_leader():
            continue
        try:
            await refresh(federation)
        except HanseError as error:
            log.warning("federation.unkept", code=error.code, reason=error.message)


async def refresh(federation: Federation) -> None:
    """Fetch every bundle that is due, one after the other. Raises StoreError."""
    for record in federation.known():
        if not federation.is_due(record):
            continue
        try:
            bundle = await asyncio.to_thread(fetch_bundle, record, federation.now())
        except (HanseError, OSError, http.client.HTTPException) as error:
            log.warning("federation.not_fetched", domain=record.domain, url=record.url, reason=str(error))
            await federation.failed(record, str(error))
            continue
        await federation.take(record, bundle)


def fetch_bundle(record: FederatedBundle, now: WallTime) -> TrustBundle:
    """Fetch and read one bundle. Raises IdentityError, OSError, http.client.HTTPException."""
    where = urlsplit(record.url)
    is_spiffe = record.profile == "https_spiffe"
    connection = http.client.HTTPSConnection(
        where.hostname or "", where.port or 443, timeout=DEADLINE_S, context=_context(record, is_spiffe=is_spiffe)
    )
    try:
        connection.connect()
        if is_spiffe:
            _check_server(connection, record)
        connection.request("GET", where.path or "/")
        answer = connection.getresponse()
        # No redirect is followed: where the bundle is was agreed upon.
        if answer.status != http.HTTPStatus.OK:
            raise IdentityError(f"{record.url} answers {answer.status}", code="identity.bad_bundle")
        return parse_bundle(answer.read(MAX_BUNDLE_BYTES + 1), record.domain, now)
    finally:
        connection.close()


def _context(record: FederatedBundle, *, is_spiffe: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=record.authorities_pem.decode() if is_spiffe else None)
    if is_spiffe:
        # The name in a SPIFFE certificate is no host name; it is checked once the chain has been.
        context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_server(connection: http.client.HTTPSConnection, record: FederatedBundle) -> None:
    shown = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
    found: SpiffeId | None = None if shown is None else name_of_leaf(shown)
    if str(found) != record.endpoint_id:
        raise IdentityError(
            f"{record.url} shows {found}, not {record.endpoint_id}", code="identity.wrong_path",
            hint="ask that domain for the SPIFFE ID of its bundle endpoint",
        )  # fmt: skip
