"""The API's part about other domains, and this domain's own bundle endpoint. `Federation -> APIRouter`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import Caller, guard, open_to_all
from hanse.control.federation import Federation, TrustView
from hanse.identity.bundle import MAX_BUNDLE_BYTES, encode_bundle

BUNDLE_PATH = "/spiffe/bundle"


class TrustBody(BaseModel):
    """Another domain, with the bundle that somebody looked at."""

    model_config = ConfigDict(extra="forbid")
    bundle: str = Field(max_length=MAX_BUNDLE_BYTES)
    url: str = Field(default="", max_length=2_048)
    profile: Literal["https_spiffe", "https_web"] = "https_spiffe"
    endpoint_id: str = Field(default="", max_length=2_048)


def trust_router(federation: Federation) -> APIRouter:
    """Build the routes around the verbs of one controller."""
    router = APIRouter()

    @router.get(BUNDLE_PATH, dependencies=[open_to_all()])
    async def own_bundle() -> Response:
        """This domain's trust bundle (SPIFFE bundle endpoint); needs no token, as everybody may know it."""
        return Response(encode_bundle(federation.own_bundle_pem()), media_type="application/json")

    @router.get("/api/v1/trust", dependencies=[guard("read", "domain")])
    async def trusts() -> tuple[TrustView, ...]:
        """Domains that are believed beside this one."""
        return federation.views()

    @router.put("/api/v1/trust/{domain}")
    async def add(domain: str, body: TrustBody, by: Annotated[Caller, guard("trust", "domain")]) -> TrustView:
        """Believe another domain."""
        return await federation.add(
            domain,
            url=body.url,
            profile=body.profile,
            endpoint_id=body.endpoint_id,
            bundle=body.bundle.encode(),
            user=by.id,
        )

    @router.delete("/api/v1/trust/{domain}", status_code=202)
    async def remove(domain: str, by: Annotated[Caller, guard("trust", "domain")]) -> dict[str, str]:
        """Believe another domain no longer."""
        await federation.remove(domain, user=by.id)
        return {"status": "removed"}

    return router
