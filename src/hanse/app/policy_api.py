"""The API's questions about policy, under ``/api/v1/policy``: packs in force, diff, impact. They change nothing.

`Controller -> APIRouter`. Whole screenings are computed on a thread, so that a large fabric does not hold up the rest.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import guard
from hanse.control import supposing
from hanse.control.controller import Controller
from hanse.control.supposing import PackView
from hanse.policy import PolicyDiff

FILES_MAX = 1_000


class DiffBody(BaseModel):
    """Two sets of packs as path -> text; `old` left out means the packs in force."""

    model_config = ConfigDict(extra="forbid")
    old: dict[str, str] | None = Field(default=None, max_length=FILES_MAX)
    new: dict[str, str] = Field(min_length=1, max_length=FILES_MAX)


class ImpactBody(BaseModel):
    """Supposed facts, such as ``operator/nimbus.parent=US``."""

    model_config = ConfigDict(extra="forbid")
    facts: list[str] = Field(min_length=1, max_length=100)


def policy_router(controller: Controller) -> APIRouter:
    """Build the routes around one controller. What they tell names work of every namespace."""
    router = APIRouter(prefix="/api/v1/policy")

    @router.get("/packs", dependencies=[guard("read", "pack")])
    async def packs() -> tuple[PackView, ...]:
        """The packs in force: scope, what they leave out, assurance, rules."""
        return supposing.packs_in_force(controller.pipeline.rules(controller.pipeline.snapshot())[0])

    @router.post("/diff", dependencies=[guard("read", "plan")])
    async def diff(body: DiffBody) -> PolicyDiff:
        """Which workloads and nodes change verdict between two sets of packs."""
        return await asyncio.to_thread(supposing.diff_of_packs, controller, body.old, body.new)

    @router.post("/impact", dependencies=[guard("read", "plan")])
    async def impact(body: ImpactBody) -> PolicyDiff:
        """What would have to move, and what would have no legal home, if these facts were so."""
        return await asyncio.to_thread(supposing.impact_of_facts, controller, body.facts)

    return router
