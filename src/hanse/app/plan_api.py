"""The API's questions about plans, under ``/api/v1/plan``: preview, exit, frontier, capacity, why not there.

`Controller -> APIRouter`. They change nothing. Each is computed on a thread, so that the rest goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hanse.app.authentication import guard
from hanse.control import planning
from hanse.control.controller import Controller
from hanse.control.planning import ExitView, FrontierAnswer, PlanAnswer, ShiftView
from hanse.core.ids import NodeId, WorkloadId, workload_id
from hanse.placement import Capacity, WhyNot


class PreviewFile(BaseModel):
    """One manifest file as text."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=4_096)
    text: str = Field(max_length=2**20)


class PreviewBody(BaseModel):
    """Manifests that are not deployed yet; none: the fabric as it stands."""

    model_config = ConfigDict(extra="forbid")
    files: list[PreviewFile] = Field(default_factory=list, max_length=100)


class Part(BaseModel):
    """Who would be gone."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["operator", "site", "country"]
    name: str


class ExitBody(BaseModel):
    """The parts of the fabric that would be gone, all at once."""

    model_config = ConfigDict(extra="forbid")
    without: list[Part] = Field(min_length=1, max_length=100)


class FrontierBody(BaseModel):
    """Prices of a tonne of CO2 equivalent to try, in euros."""

    model_config = ConfigDict(extra="forbid")
    carbon_prices_eur_per_t: list[int] = Field(default=list(planning.PRICES_EUR_PER_T), min_length=1, max_length=50)


class ShiftBody(BaseModel):
    """Work that may wait."""

    model_config = ConfigDict(extra="forbid")
    workload: str
    duration_us: int = Field(ge=1)
    within_us: int = Field(ge=1)
    is_interruptible: bool = False


def plan_router(controller: Controller) -> APIRouter:
    """Build the routes around one controller. What they tell names work of every namespace."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/plan/preview", dependencies=[guard("read", "plan")])
    async def preview(body: PreviewBody) -> PlanAnswer:
        """What the global solver would change now, or with these manifests, and why."""
        parent = await controller.pipeline.current_plan()
        files = [(file.name, file.text) for file in body.files]
        return await asyncio.to_thread(planning.preview, controller, parent, files)

    @router.post("/plan/without", dependencies=[guard("read", "plan")])
    async def without(body: ExitBody) -> ExitView:
        """What moves where, how long it takes, what it costs and what has no home if these were gone."""
        parent = await controller.pipeline.current_plan()
        parts = [(part.kind, part.name) for part in body.without]
        return await asyncio.to_thread(planning.without, controller, parent, parts)

    @router.post("/plan/frontier", dependencies=[guard("read", "plan")])
    async def frontier(body: FrontierBody) -> FrontierAnswer:
        """Money against carbon: plans that no other found beats in both."""
        parent = await controller.pipeline.current_plan()
        return await asyncio.to_thread(planning.pareto, controller, parent, body.carbon_prices_eur_per_t)

    @router.post("/plan/shift", dependencies=[guard("read", "plan")])
    async def shift(body: ShiftBody) -> tuple[ShiftView, ...]:
        """When work that may wait would best run, on each node that may take it, cleanest first."""
        return await asyncio.to_thread(
            planning.shifts, controller, WorkloadId(body.workload), duration_us=body.duration_us,
            within_us=body.within_us, is_interruptible=body.is_interruptible,
        )  # fmt: skip

    @router.get("/capacity", dependencies=[guard("read", "plan")])
    async def capacity() -> Capacity:
        """What the fabric could still take, and what limits it."""
        parent = await controller.pipeline.current_plan()
        return await asyncio.to_thread(planning.room_left, controller, parent)

    @router.get("/workloads/{namespace}/{name}/why-not/{node}", dependencies=[guard("read", "workload")])
    async def why_not(namespace: str, name: str, node: str) -> WhyNot:
        """Every limit between a workload and a node, nearest first."""
        parent = await controller.pipeline.current_plan()
        identity = workload_id(namespace, name)
        return await asyncio.to_thread(planning.why_not_there, controller, parent, identity, NodeId(node))

    return router
