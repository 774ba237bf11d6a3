"""Packing accelerators: never overfull, never on a model that will not do, and where the work to come loses least."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.placement.packing import Ask, Packer

WHOLE = Ask(cpu_milli=1_000, memory=1_000, devices=1, device_milli=1_000)
PAIR = Ask(cpu_milli=2_000, memory=2_000, devices=2, device_milli=1_000)
HALF = Ask(cpu_milli=500, memory=500, devices=1, device_milli=500)
PLAIN = Ask(cpu_milli=1_000, memory=100)
FENCED = Ask(cpu_milli=1_000, memory=1_000, devices=1, device_milli=1_000, models=0b10)


def packer(*nodes: tuple[list[int], int, int], models: tuple[int, ...] | None = None, mix=None) -> Packer:
    """Nodes as (free devices, CPU in thousandths, memory)."""
    width = max(len(devices) for devices, _, _ in nodes)
    return Packer(
        devices=np.array([devices + [0] * (width - len(devices)) for devices, _, _ in nodes], dtype=np.int64),
        cpu_milli=np.array([cpu for _, cpu, _ in nodes], dtype=np.int64),
        memory=np.array([memory for _, _, memory in nodes], dtype=np.int64),
        model=np.array(models or [0] * len(nodes), dtype=np.int64),
        mix=mix or {WHOLE: 3, PAIR: 1, HALF: 2},
    )


def test_a_share_fills_a_device_that_is_already_broken():
    of = packer(([1_000, 1_000], 8_000, 8_000), ([500, 1_000], 8_000, 8_000))
    spot = of.place(HALF)
    assert (spot.row, spot.devices) == (1, (0,))
    assert of.devices.tolist() == [[1_000, 1_000], [0, 1_000]]


def test_work_without_devices_keeps_off_the_cpu_that_free_devices_need():
    of = packer(([1_000], 1_000, 8_000), ([0], 4_000, 8_000))
    assert of.place(PLAIN).row == 1


def test_work_that_may_run_anywhere_leaves_scarce_models_to_who_needs_them():
    of = packer(([1_000], 8_000, 8_000), ([1_000], 8_000, 8_000), models=(1, 0), mix={WHOLE: 1, FENCED: 1})
    assert of.place(WHOLE).row == 1
    assert of.place(FENCED).row == 0


def test_whole_devices_come_from_one_node_or_not_at_all():
    of = packer(([1_000], 8_000, 8_000), ([1_000, 500], 8_000, 8_000))
    assert of.place(PAIR) is None


def test_giving_back_leaves_no_trace():
    of = packer(([1_000, 1_000], 8_000, 8_000), ([1_000], 8_000, 8_000))
    before = of.devices.copy()
    spot = of.place(PAIR)
    of.release(spot, PAIR)
    assert (of.devices == before).all()
    assert of.place(PAIR) == spot


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6_000), st.integers(0, 6_000)), min_size=1, max_size=6),
    st.lists(st.sampled_from((WHOLE, PAIR, HALF, PLAIN, FENCED)), max_size=30),
    st.lists(st.integers(0, 1), min_size=6, max_size=6),
)
@settings(max_examples=150, deadline=None)
def test_never_overfull_never_on_the_wrong_model_and_a_refusal_is_true(nodes, asks, models):
    free = [([1_000] * count, cpu, memory) for count, cpu, memory in nodes]
    of = packer(*free, ([], 0, 0), ([0] * 4, 0, 0), models=(*models[: len(free)], 0, 0))
    for ask in asks:
        spot = of.place(ask)
        assert (of.devices >= 0).all()
        assert (of.cpu_milli >= 0).all()
        assert (of.memory >= 0).all()
        if spot is not None:
            assert len(spot.devices) == ask.devices
            assert ask.devices == 0 or ask.models >> ([*models[: len(free)], 0, 0][spot.row]) & 1
            continue
        for row in range(len(free)):
            devices = of.devices[row]
            room = (devices >= ask.device_milli).any() if ask.devices == 1 else (devices == 1_000).sum() >= ask.devices
            is_right = ask.models >> models[row] & 1
            assert not (room and is_right and of.cpu_milli[row] >= ask.cpu_milli and of.memory[row] >= ask.memory)
