"""The API's part about attestation, under ``/api/v1/attest``. `Appraising -> APIRouter`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import User
from hanse.attest import Anchor, Reference
from hanse.control.appraising import Appraising, AttestedView
from hanse.core.fabric import Origin
from hanse.core.ids import NodeId

Kind = Literal["tpm", "tdx", "sgx", "snp"]


class ReferenceBody(BaseModel):
    """A reference value: claims and floors, or a node from which they are taken."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind = "tpm"
    claims: dict[str, str] = Field(default_factory=dict)
    floors: dict[str, int] = Field(default_factory=dict)
    from_node: str | None = None


class AnchorBody(BaseModel):
    """A maker's root."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["tpm", "snp"] = "tpm"
    certificate_pem: str = Field(max_length=16_384)
    origin: Origin = Origin.HARDWARE


def attest_router(appraising: Appraising) -> APIRouter:
    """Build the routes around the verbs of one controller."""
    router = APIRouter(prefix="/api/v1/attest")

    @router.get("/nodes")
    async def attested(by: User) -> tuple[AttestedView, ...]:
        """What is attested of every node."""
        del by
        return appraising.attested()

    @router.get("/references")
    async def references(by: User) -> tuple[Reference, ...]:
        """Reference values."""
        del by
        return appraising.references()

    @router.put("/references/{name}")
    async def add_reference(name: str, body: ReferenceBody, by: User) -> Reference:
        """Keep a reference value."""
        if body.from_node is not None:
            return await appraising.add_reference_from(name, NodeId(body.from_node), user=by)
        return await appraising.add_reference(name, kind=body.kind, claims=body.claims, floors=body.floors, user=by)

    @router.delete("/references/{name}", status_code=202)
    async def remove_reference(name: str, by: User) -> dict[str, str]:
        """Withdraw a reference value."""
        await appraising.remove("reference", name, user=by)
        return {"status": "removed"}

    @router.get("/anchors")
    async def anchors(by: User) -> tuple[Anchor, ...]:
        """Makers' roots that are believed."""
        del by
        return appraising.anchors()

    @router.put("/anchors/{name}")
    async def add_anchor(name: str, body: AnchorBody, by: User) -> Anchor:
        """Believe a maker's root."""
        return await appraising.add_anchor(
            name, kind=body.kind, certificate_pem=body.certificate_pem, origin=body.origin, user=by
        )

    @router.delete("/anchors/{name}", status_code=202)
    async def remove_anchor(name: str, by: User) -> dict[str, str]:
        """Believe a maker's root no longer."""
        await appraising.remove("anchor", name, user=by)
        return {"status": "removed"}

    return router
