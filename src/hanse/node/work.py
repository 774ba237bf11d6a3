"""Makes what runs equal to what is ordered: `held orders -> runtime`, one workload at a time.

The runtime knows workloads, not instances: where two instances of one workload stand here (a rolling update), the
newest spec that is wanted is what runs. Failures are reported and tried again with back-off; they never stop the
other workloads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hanse.core.errors import BlobError, HanseError
from hanse.core.ids import Digest, InstanceId, WorkloadId
from hanse.core.ports import Blobs, InvokePolicy, Runtime
from hanse.core.snapshot import Phase
from hanse.core.time import WallTime
from hanse.core.work import Workload
from hanse.node.judge import Held
from hanse.node.secrets import NOTHING, Outcome, Told


def wanted_here(held: Mapping[InstanceId, Held], *, now: WallTime) -> dict[WorkloadId, Held]:
    """Per workload the newest wanted order whose grant has not expired."""
    newest: dict[WorkloadId, Held] = {}
    for instance in sorted(held):
        one = held[instance]
        if not one.order.wanted or one.order.expires_us <= now:
            continue
        best = newest.get(one.order.workload.id)
        if best is None or _rank(one) > _rank(best):
            newest[one.order.workload.id] = one
    return newest


class Work:
    """Loads and unloads; remembers what the runtime holds."""

    def __init__(
        self, runtime: Runtime, cache: Blobs, uplink: Blobs, invoke_policy: Callable[[Workload], InvokePolicy]
    ) -> None:
        self._runtime = runtime
        self._cache = cache
        self._uplink = uplink
        self._invoke_policy = invoke_policy
        self._loaded: dict[WorkloadId, Workload] = {}
        self._told: dict[WorkloadId, tuple[str, ...]] = {}

    def loaded(self) -> Mapping[WorkloadId, Workload]:
        """What the runtime serves now."""
        return self._loaded

    async def run(self, workload: Workload, told: Told = NOTHING) -> Outcome:
        """Make one workload serve, with the secrets it was told; free of effect if it does already."""
        if self._loaded.get(workload.id) == workload and self._told.get(workload.id, ()) == told.marks:
            return Outcome(phase=Phase.RUNNING)
        try:
            # First: a workload whose rules cannot be read serves nobody.
            invoke = self._invoke_policy(workload)
            component = await self._fetch(workload.artifact)
            await self._runtime.load(workload, component, invoke, told.env)
        except HanseError as error:
            return Outcome(phase=Phase.FAILED, code=error.code, reason=error.message)
        self._loaded[workload.id] = workload
        self._told[workload.id] = told.marks
        return Outcome(phase=Phase.RUNNING)

    async def stop(self, workload: WorkloadId) -> None:
        """Make one workload stop serving; absent is fine."""
        if workload in self._loaded:
            await self._runtime.unload(workload)
            del self._loaded[workload]
            del self._told[workload]

    async def _fetch(self, digest: Digest) -> bytes:
        """From this node's own artifacts, else over the uplink, verified by digest and kept."""
        try:
            return await self._cache.get(digest)
        except BlobError:
            component = await self._uplink.get(digest)
            await self._cache.put(component)
            return component


def _rank(held: Held) -> tuple[int, int, str]:
    return (held.order.workload.generation, held.order.generation, held.order.instance)
