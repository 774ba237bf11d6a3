"""The API's part about credentials, under ``/api/v1/credentials``. `Certifying -> APIRouter`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import Caller, guard
from hanse.control.certifying import Certifying, CredentialView
from hanse.core.ids import OperatorId
from hanse.identity.credential import TOKEN_MAX_CHARACTERS, TrustedIssuer
from hanse.identity.did import DOCUMENT_MAX_BYTES


class IssuerBody(BaseModel):
    """One issuer of the domain's list, with the document that somebody looked at."""

    model_config = ConfigDict(extra="forbid")
    did: str
    certifies: list[str] = Field(max_length=100)
    document: str | None = Field(default=None, max_length=DOCUMENT_MAX_BYTES)
    sha256: str = ""


class CredentialBody(BaseModel):
    """A credential about one operator, and who may be believed about what."""

    model_config = ConfigDict(extra="forbid")
    operator: str
    credential: str = Field(max_length=TOKEN_MAX_CHARACTERS)
    subject: str
    issuers: list[IssuerBody] = Field(max_length=100)


def credential_router(certifying: Certifying) -> APIRouter:
    """Build the routes around the verbs of one controller."""
    router = APIRouter(prefix="/api/v1/credentials")

    @router.get("", dependencies=[guard("read", "operator")])
    async def held() -> tuple[CredentialView, ...]:
        """Credentials that the domain holds."""
        return certifying.held()

    @router.post("")
    async def add(body: CredentialBody, by: Annotated[Caller, guard("trust", "operator")]) -> CredentialView:
        """Verify one and hold it."""
        issuers = [
            TrustedIssuer(
                did=one.did, certifies=tuple(one.certifies), document_sha256=one.sha256,
                document=None if one.document is None else one.document.encode(),
            )
            for one in body.issuers
        ]  # fmt: skip
        return await certifying.add(OperatorId(body.operator), body.credential, issuers, body.subject, user=by.id)

    @router.delete("/{operator}/{credential}", status_code=202)
    async def remove(
        operator: str, credential: str, by: Annotated[Caller, guard("trust", "operator")]
    ) -> dict[str, str]:
        """Hold one no longer."""
        await certifying.remove(OperatorId(operator), credential, user=by.id)
        return {"status": "removed"}

    return router
