"""Orders vanish from the store, old ones are put back, forged ones appear: nothing stops, and the store is mended."""

from __future__ import annotations

import asyncio

import msgspec

from hanse.core.ports import Entry
from hanse.twin.faults import Vanish
from hanse.twin.ports.signer import ed25519
from hanse.twin.scenarios.base import Scenario
from hanse.twin.stage import Stage
from hanse.twin.world import Violation
from hanse.wire import envelope
from hanse.wire.messages import Order
from hanse.wire.subjects import ORDERS

QUIET_S = 8


async def _plot(stage: Stage) -> None:
    await stage.open()
    kv = stage.fabric.world.kv
    first = kv.entries(ORDERS, "")
    runs = sorted(stage.view.loaded)
    with stage.nothing_moves():
        number = stage.fabric.world.rng("key").randrange(100)
        stage.inject(Vanish(at_us=stage.now_us, bucket=ORDERS, number=number))
        await _mended(stage)
        for _ in first:
            stage.inject(Vanish(at_us=stage.now_us, bucket=ORDERS, number=0))
        await _mended(stage)
        for entry in first:
            kv.put(ORDERS, entry.key, entry.value or b"", None)
        await _mended(stage)
        for entry in first:
            kv.put(ORDERS, entry.key, _forged(entry), None)
        await _mended(stage)
    if sorted(stage.view.loaded) != runs:
        raise Violation("nothing moved, and yet something else runs")


async def _mended(stage: Stage) -> None:
    await asyncio.sleep(QUIET_S)
    await stage.converge(within_s=QUIET_S)


def _forged(entry: Entry) -> bytes:
    """An order to stop, with everything right but the key that signed it."""
    order = envelope.peek(entry.value or b"", Order)
    stop = msgspec.structs.replace(order, wanted=False, generation=order.generation + 100)
    return envelope.seal(stop, ed25519(b"\x07" * 32))


TAMPERED_STORE = Scenario(
    name="tampered-store",
    about="Orders vanish, old ones return, forged ones appear: nothing stops, and the store is mended.",
    plot=_plot,
)
