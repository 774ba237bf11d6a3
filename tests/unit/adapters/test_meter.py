"""Clock, entropy and meter of the real world: units right, nothing negative, the model labelled as one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hanse.adapters import meter
from hanse.adapters.clock import SystemClock
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.meter import ProcessMeter
from hanse.core.fabric import Power, Resources
from hanse.core.time import US_PER_S

POWER = Power(idle_mw=2_000, per_core_mw=5_000)
CAPACITY = Resources(cpu_milli=1_000, memory_bytes=2**30)


class Hands:
    """The meter's two clocks, moved by hand: how much of a processor this process gets is not for a test to assume."""

    def __init__(self) -> None:
        self.wall_us = self.cpu_us = 0

    def monotonic_ns(self) -> int:
        return self.wall_us * 1_000

    def process_time_ns(self) -> int:
        return self.cpu_us * 1_000

    def move(self, wall_us: int, cpu_us: int) -> None:
        self.wall_us += wall_us
        self.cpu_us += cpu_us


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    moved = Hands()
    monkeypatch.setattr(meter, "time", moved)
    return moved


def test_clocks_tell_microseconds():
    clock = SystemClock()
    assert clock.wall() > 1_700_000_000 * US_PER_S
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_streams_are_named_and_secrets_differ():
    entropy = SystemEntropy()
    assert entropy.stream("a", 1).random() == entropy.stream("a", 1).random()
    assert entropy.stream("a", 1).random() != entropy.stream("a", 2).random()
    assert SystemEntropy().stream("a").random() != entropy.stream("a").random()
    assert len(entropy.secret(32)) == 32
    assert entropy.secret(32) != entropy.secret(32)


def test_this_process_is_measured(tmp_path):
    made = ProcessMeter(powercap=tmp_path)
    first = made.read(POWER, CAPACITY)
    begun = time.process_time_ns()
    while time.process_time_ns() < begun + 20_000_000:
        pass
    second = made.read(POWER, CAPACITY)
    assert second.cpu_us >= first.cpu_us + 20_000
    assert second.rss_bytes > 5 * 2**20


def test_without_counters_power_is_modelled_and_bounded(tmp_path, hands):
    made = ProcessMeter(powercap=tmp_path)
    first = made.read(POWER, CAPACITY)
    assert (first.power_mw, first.is_modelled) == (2_000, True)
    hands.move(200_000, 50_000)
    assert made.read(POWER, CAPACITY).power_mw == 3_250, "a quarter of a core"
    hands.move(99_999, 99_999)
    assert made.read(POWER, CAPACITY).power_mw == 3_250, "too soon for a new figure"
    hands.move(200_000, 900_000)
    busy = made.read(POWER, CAPACITY)
    assert (busy.power_mw, busy.is_modelled) == (7_000, True), "never more than the node's capacity draws"


def test_with_counters_power_is_this_processs_share_of_the_package(tmp_path, hands):
    zone = _zone(tmp_path, "intel-rapl:0", 1_000_000)
    _zone(tmp_path, "intel-rapl:0:0", 999)
    proc = _proc(tmp_path, busy_ticks=1_000)
    made = ProcessMeter(proc=proc, powercap=tmp_path)
    made.read(POWER, CAPACITY)
    hands.move(300_000, 150_000)
    (zone / "energy_uj").write_text("7000000")  # 6 J in 0.3 s: 20 W for the package
    _proc(tmp_path, busy_ticks=1_060)  # the machine was busy for 0.6 s, this process for a quarter of it
    reading = made.read(POWER, CAPACITY)
    assert (reading.power_mw, reading.is_modelled) == (5_000, False)


def test_a_wrapped_counter_reads_as_nothing_not_as_negative(tmp_path, hands):
    zone = _zone(tmp_path, "intel-rapl:0", 9_000_000)
    made = ProcessMeter(powercap=tmp_path)
    made.read(POWER, CAPACITY)
    hands.move(150_000, 150_000)
    (zone / "energy_uj").write_text("5")
    assert made.read(POWER, CAPACITY).power_mw == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_counters_this_user_may_not_read_are_not_used(tmp_path):
    zone = _zone(tmp_path, "intel-rapl:0", 1)
    (zone / "energy_uj").chmod(0)
    assert ProcessMeter(powercap=tmp_path).read(POWER, CAPACITY).is_modelled


def _zone(root: Path, name: str, energy_uj: int) -> Path:
    zone = root / name
    zone.mkdir()
    (zone / "energy_uj").write_text(str(energy_uj))
    return zone


def _proc(root: Path, *, busy_ticks: int) -> Path:
    """What the meter reads of the kernel: 100 ticks are a second, as on every Linux of ours."""
    (root / "self").mkdir(exist_ok=True)
    (root / "self" / "statm").write_text("9000 4000 100 1 0 50 0")
    (root / "stat").write_text(f"cpu  {busy_ticks - 30} 10 10 5000 7 5 5 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n")
    return root
