"""The API's part about attestation, under ``/api/v1/attest``. `Appraising -> APIRouter`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import Caller, guard
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

    @router.get("/nodes", dependencies=[guard("read", "node")])
    async def attested() -> tuple[AttestedView, ...]:
        """What is attested of every node."""
        return appraising.attested()

    @router.get("/references", dependencies=[guard("read", "node")])
    async def references() -> tuple[Reference, ...]:
        """Reference values."""
        return appraising.references()

    @router.put("/references/{name}")
    async def add_reference(
        name: str, body: ReferenceBody, by: Annotated[Caller, guard("trust", "attestation")]
    ) -> Reference:
        """Keep a reference value."""
        if body.from_node is not None:
            return await appraising.add_reference_from(name, NodeId(body.from_node), user=by.id)
        return await appraising.add_reference(name, kind=body.kind, claims=body.claims, floors=body.floors, user=by.id)

    @router.delete("/references/{name}", status_code=202)
    async def remove_reference(name: str, by: Annotated[Caller, guard("trust", "attestation")]) -> dict[str, str]:
        """Withdraw a reference value."""
        await appraising.remove("reference", name, user=by.id)
        return {"status": "removed"}

    @router.get("/anchors", dependencies=[guard("read", "node")])
    async def anchors() -> tuple[Anchor, ...]:
        """Makers' roots that are believed."""
        return appraising.anchors()

    @router.put("/anchors/{name}")
    async def add_anchor(name: str, body: AnchorBody, by: Annotated[Caller, guard("trust", "attestation")]) -> Anchor:
        """Believe a maker's root."""
        return await appraising.add_anchor(
            name, kind=body.kind, certificate_pem=body.certificate_pem, origin=body.origin, user=by.id
        )

    @router.delete("/anchors/{name}", status_code=202)
    async def remove_anchor(name: str, by: Annotated[Caller, guard("trust", "attestation")]) -> dict[str, str]:
        """Believe a maker's root no longer."""
        await appraising.remove("anchor", name, user=by.id)
        return {"status": "removed"}

    return router
