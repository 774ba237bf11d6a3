"""The API's part about secrets, under ``/api/v1/secrets``. `SecretVerbs -> APIRouter`.

Values come in sealed to the domain; none ever goes out, and none is in a body that is read as text.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request

from hanse.app.authentication import Caller, guard
from hanse.app.bodies import read_body
from hanse.control.secrets import SealingView, SecretVerbs, SecretView
from hanse.core.ids import SecretId
from hanse.identity.sealing import MAX_SECRET_BYTES

SEALED_BYTES_MAX = MAX_SECRET_BYTES + 4_096
"""The largest value with its padding, the encapsulated key (1,120 bytes) and the tag."""


def secrets_router(verbs: SecretVerbs) -> APIRouter:
    """Build the routes around the verbs of one controller."""
    router = APIRouter(prefix="/api/v1/secrets")

    @router.get("")
    async def listed(by: Annotated[Caller, guard("read", "fabric")]) -> tuple[SecretView, ...]:
        """Every declared secret that the caller may see, without its value."""
        return tuple(one for one in verbs.views() if by.sees(one.id.partition(".")[0], "secret"))

    @router.get("/{secret}", dependencies=[guard("read", "secret")])
    async def one(secret: str) -> SecretView:
        """One secret, without its value: versions, who was told it, what ought to be done."""
        return verbs.view(SecretId(secret))

    @router.get("/{secret}/sealing", dependencies=[guard("deploy", "secret")])
    async def sealing(secret: str) -> SealingView:
        """The domain's public key, and which version the next value will be."""
        return verbs.sealing(SecretId(secret))

    @router.put("/{secret}/versions/{version}")
    async def put(
        secret: str, version: int, request: Request, by: Annotated[Caller, guard("deploy", "secret")]
    ) -> SecretView:
        """Keep a value that was sealed to the domain for this secret and version."""
        sealed = await read_body(request, SEALED_BYTES_MAX, code="secret.too_large")
        return await verbs.put(SecretId(secret), version, sealed, user=by.id)

    @router.delete("/{secret}", status_code=202)
    async def delete(secret: str, by: Annotated[Caller, guard("delete", "secret")]) -> dict[str, str]:
        """Withdraw a secret and erase its value."""
        await verbs.delete(SecretId(secret), user=by.id)
        return {"status": "deleted"}

    return router
