"""Among nodes that cost the same, which one a replica with GPUs should go to, so that what stays free is of use.

`room, mix of asks, workload -> loss per node`. Cost decides first; where it does not, as among machines of one price
list, the packer says on which node the replica strands least of what the other work of the fabric could still use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from hanse.core.work import Workload
from hanse.placement.packing import MOST_MODELS, Ask, Packer
from hanse.placement.score import Floats
from hanse.placement.table import Ints, NodeTable, Room

_MIB = 2**20


class GpuOrder:
    """Follows the room of one run; what it knows is brought up to date when it is asked."""

    def __init__(self, table: NodeTable, workloads: Iterable[Workload]) -> None:
        """Prepare for the workloads that may be placed: they are the work to expect."""
        self._models = table.gpu_models
        self._mix = Counter(self._ask(w) for w in workloads if w.gpu is not None)
        self._packer: Packer | None = None

    @property
    def is_of_use(self) -> bool:
        """Tell whether anything asks for GPUs and there are some, of models few enough to tell apart."""
        return bool(self._mix) and 0 < len(self._models) <= MOST_MODELS

    def losses(self, rows: Ints, workload: Workload, table: NodeTable, room: Room) -> Floats:
        """What placing one replica on each of `rows` strands; infinite where the packer sees no place."""
        devices, memory = np.maximum(room.devices, 0), room.memory_bytes // _MIB
        if self._packer is None or self._packer.size != table.size:
            model = np.maximum(table.gpu_model, 0)
            self._packer = Packer(
                devices=devices, cpu_milli=room.cpu_milli.copy(), memory=memory, model=model, mix=self._mix
            )
        else:
            self._packer.follow(devices=devices, cpu_milli=room.cpu_milli, memory=memory)
        return self._packer.losses(self._ask(workload))[rows]

    def _ask(self, workload: Workload) -> Ask:
        need = workload.gpu
        if need is None:
            return Ask(cpu_milli=workload.resources.cpu_milli, memory=workload.resources.memory_bytes // _MIB)
        bits = sum(1 << row for row, model in enumerate(self._models) if not need.models or model in need.models)
        return Ask(
            cpu_milli=workload.resources.cpu_milli,
            memory=-(-workload.resources.memory_bytes // _MIB),
            devices=need.count,
            device_milli=need.share_milli,
            models=bits,
        )
