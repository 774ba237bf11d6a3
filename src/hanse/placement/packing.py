"""Pack work that needs accelerators, whole or shared, so that what stays free is still of use to the work to come.

`free devices, mix of work to expect, ask -> spot`. A node's worth is what the mix could still make of it: for each kind
of ask half the capacity of the devices it fits on now (lost when it fits no more), half the copies of it that the node
could hold in devices, CPU and memory together (lost when one of them runs short before the others). An ask goes where
that worth falls least. Worths are weighed by scarcity: the less of the fabric an ask of the mix can still use, the
dearer what it could use becomes, so that work which may run anywhere keeps off the few nodes that fenced work needs.

The first half is the fragmentation measure of Weng et al., "Beware of Fragmentation" (USENIX ATC 2023); copies, and
prices that follow scarcity, are our own. Incremental: each kind of ask remembers what it would cost on every node, and
only nodes that changed since are worked out again. Deterministic: ties go to the fuller node, then to the lower row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hanse.placement.score import Floats
from hanse.placement.table import Flags, Ints

WHOLE_MILLI = 1_000
_REPRICE_EVERY = 300
"""Placements after which scarcity is measured anew."""
_LEAST_SHARE = 0.002
"""Usable share of the fabric below which an ask gets no dearer."""
_SAME_WORTH = 1e-6
MOST_MODELS = 63


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Ask:
    """What one replica needs."""

    cpu_milli: int
    memory: int
    """In the unit of the fabric's memory column."""
    devices: int = 0
    """0: none; 1: one or a share of one; more: whole devices of one node."""
    device_milli: int = 0
    """Share of each device, 1..1,000; 1,000 where `devices` is above 1."""
    models: int = -1
    """Device models that will do, one bit per model; -1: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where an ask went: the node's row and the devices used there."""

    row: int
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """The asks of the mix that need devices, as columns."""

    shapes: tuple[tuple[int, int], ...]
    """Distinct pairs of count and share."""
    shape: Ints
    cpu_milli: Ints
    memory: Ints
    each: Ints
    """Device thousandths in all."""
    may_use: Flags
    """Per model and ask."""


@dataclass(slots=True, kw_only=True)
class _Memory:
    """What one kind of ask would cost per node and device, up to date as of one length of the log."""

    losses: Floats
    seen: int = 0


class Packer:
    """What is free, and what placing there would cost; changed by `place` and `release` only."""

    def __init__(self, *, devices: Ints, cpu_milli: Ints, memory: Ints, model: Ints, mix: Mapping[Ask, int]) -> None:
        """Take over the free room and the work to expect.

        `devices` are free thousandths per node (row) and device (column), 0 where there is none; `model` is the model
        number of a node's devices, 0..62; `mix` says how often each ask comes. The arrays are the packer's from now on.
        """
        self.devices = devices
        self.cpu_milli = cpu_milli
        self.memory = memory
        self._model = model
        self._memories: dict[Ask, _Memory] = {}
        self._log: list[int] = []
        self._since = 0
        asks = sorted(ask for ask, count in mix.items() if ask.devices and count)
        counts = np.array([mix[ask] for ask in asks], dtype=np.float64)
        self._expected = _expected(asks)
        self._often = counts / max(counts.sum(), 1.0)
        self._total = max(int(self.devices.sum()), 1)
        self._reprice()

    def place(self, ask: Ask) -> Spot | None:
        """Place one ask and take its room, or None where nothing has room for it."""
        if self._since >= _REPRICE_EVERY:
            self._reprice()
        losses = self._losses(ask)
        least = losses.min(initial=np.inf)
        if not np.isfinite(least):
            return None
        rows, slots = np.nonzero(losses <= least + _SAME_WORTH)
        first = np.lexsort((slots, rows, self.cpu_milli[rows], self.devices[rows].sum(axis=1)))[0]
        row, slot = int(rows[first]), int(slots[first])
        used: tuple[int, ...] = ()
        if ask.devices == 1:
            used = (slot,)
        elif ask.devices:
            used = tuple(np.flatnonzero(self.devices[row] == WHOLE_MILLI)[: ask.devices].tolist())
        spot = Spot(row=row, devices=used)
        self._change(spot, ask, -1)
        return spot

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.cpu_milli)

    def losses(self, ask: Ask) -> Floats:
        """What an ask would cost on each node, on the best of its devices; infinite where it does not fit."""
        return np.asarray(self._losses(ask).min(axis=1, initial=np.inf))

    def follow(self, *, devices: Ints, cpu_milli: Ints, memory: Ints) -> None:
        """Take over what is free now, where somebody else places and releases."""
        is_other = (devices != self.devices).any(axis=1) | (cpu_milli != self.cpu_milli) | (memory != self.memory)
        rows = np.flatnonzero(is_other)
        self.devices[rows], self.cpu_milli[rows], self.memory[rows] = devices[rows], cpu_milli[rows], memory[rows]
        self._since += len(rows)
        if self._since >= _REPRICE_EVERY:
            self._reprice()
        elif len(rows):
            self._worths[rows] = self._worth(devices[rows], cpu_milli[rows], memory[rows], rows)
            self._log.extend(rows.tolist())

    def release(self, spot: Spot, ask: Ask) -> None:
        """Give back what an ask took."""
        self._change(spot, ask, 1)

    def _change(self, spot: Spot, ask: Ask, sign: int) -> None:
        row = spot.row
        self.devices[row, list(spot.devices)] += sign * ask.device_milli
        self.cpu_milli[row] += sign * ask.cpu_milli
        self.memory[row] += sign * ask.memory
        rows = np.array([row])
        self._worths[row] = self._worth(self.devices[rows], self.cpu_milli[rows], self.memory[rows], rows)[0]
        self._log.append(row)
        self._since += 1

    def _reprice(self) -> None:
        """Weigh each ask of the mix by how often it comes and how little of the fabric it can still use."""
        every = np.arange(len(self.cpu_milli))
        usable = self._usable(self.devices, self.cpu_milli, self.memory, every)
        share = np.maximum(usable.sum(axis=0) / self._total, _LEAST_SHARE)
        prices = self._often / share
        self._prices = prices / max(float(prices.sum()), 1e-12)
        self._worths = np.asarray(usable @ self._prices)
        self._memories.clear()
        self._log.clear()
        self._since = 0

    def _losses(self, ask: Ask) -> Floats:
        """What the ask would cost per node and device, infinite where it does not fit."""
        known = self._memories.get(ask)
        if known is None:
            rows = np.arange(len(self.cpu_milli))
            known = self._memories[ask] = _Memory(losses=np.empty(self.devices.shape))
        else:
            rows = np.unique(np.array(self._log[known.seen :], dtype=np.int64))
        known.seen = len(self._log)
        if not len(rows):
            return known.losses
        known.losses[rows] = np.inf
        options, slots = np.nonzero(self._fits(ask, rows))
        if len(options):
            after = self.devices[rows[options]]
            if ask.devices == 1:
                after[np.arange(len(options)), slots] -= ask.device_milli
            elif ask.devices:
                whole = after == WHOLE_MILLI
                after[whole & (np.cumsum(whole, axis=1) <= ask.devices)] = 0
            chosen = rows[options]
            cpu, memory = self.cpu_milli[chosen] - ask.cpu_milli, self.memory[chosen] - ask.memory
            known.losses[chosen, slots] = self._worths[chosen] - self._worth(after, cpu, memory, chosen)
        return known.losses

    def _fits(self, ask: Ask, rows: Ints) -> Flags:
        """Node and device pairs where it fits; of devices that are equally free, and of whole sets, the first only."""
        free = self.devices[rows]
        fits = (self.cpu_milli[rows] >= ask.cpu_milli) & (self.memory[rows] >= ask.memory)
        fits &= (ask.models >> self._model[rows] & 1) == 1
        if ask.devices != 1:
            fits &= (free == WHOLE_MILLI).sum(axis=1) >= ask.devices
            alone = np.zeros(free.shape, dtype=np.bool_)
            alone[:, :1] = fits[:, None]
            return alone
        pairs = (free >= ask.device_milli) & fits[:, None]
        for slot in range(1, free.shape[1]):
            pairs[:, slot] &= ~(free[:, :slot] == free[:, slot : slot + 1]).any(axis=1)
        return np.asarray(pairs)

    def _worth(self, devices: Ints, cpu_milli: Ints, memory: Ints, rows: Ints) -> Floats:
        return np.asarray(self._usable(devices, cpu_milli, memory, rows) @ self._prices)

    def _usable(self, devices: Ints, cpu_milli: Ints, memory: Ints, rows: Ints) -> Floats:
        """Device thousandths that each ask of the mix could use per node, in the state given for `rows`."""
        of = self._expected
        copies = np.empty((len(rows), len(of.shapes)), dtype=np.int64)
        reach = np.empty((len(rows), len(of.shapes)), dtype=np.int64)
        whole = (devices == WHOLE_MILLI).sum(axis=1)
        for index, (count, milli) in enumerate(of.shapes):
            if count == 1:
                copies[:, index] = (devices // milli).sum(axis=1)
                reach[:, index] = np.where(devices >= milli, devices, 0).sum(axis=1)
            else:
                copies[:, index] = whole // count
                reach[:, index] = np.where(whole >= count, whole * WHOLE_MILLI, 0)
        held = np.minimum(cpu_milli[:, None] // of.cpu_milli, memory[:, None] // of.memory)
        held = np.minimum(held, copies[:, of.shape])
        is_fit = (held > 0) & of.may_use[self._model[rows]]
        return np.asarray(np.where(is_fit, (reach[:, of.shape] + held * of.each) / 2, 0.0))


def _expected(asks: Sequence[Ask]) -> _Expected:
    shapes = sorted({(ask.devices, ask.device_milli) for ask in asks})
    models = np.array([ask.models for ask in asks], dtype=np.int64)
    return _Expected(
        shapes=tuple(shapes),
        shape=np.array([shapes.index((ask.devices, ask.device_milli)) for ask in asks], dtype=np.int64),
        cpu_milli=np.array([max(ask.cpu_milli, 1) for ask in asks], dtype=np.int64),
        memory=np.array([max(ask.memory, 1) for ask in asks], dtype=np.int64),
        each=np.array([ask.devices * ask.device_milli for ask in asks], dtype=np.int64),
        may_use=(models >> np.arange(MOST_MODELS)[:, None] & 1) == 1,
    )
