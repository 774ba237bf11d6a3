"""Clock, entropy and meter of the real world: units right, nothing negative, the model labelled as one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hanse.adapters.clock import SystemClock
from hanse.adapters.entropy import SystemEntropy
from hanse.adapters.meter import ProcessMeter
from hanse.core.fabric import Power, Resources
from hanse.core.time import US_PER_S

POWER = Power(idle_mw=2_000, per_core_mw=5_000)
CAPACITY = Resources(cpu_milli=1_000, memory_bytes=2**30)


def _burn(clock: SystemClock, span_us: int) -> None:
    end = clock.monotonic() + span_us
    while clock.monotonic() < end:
        pass


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


def test_without_counters_power_is_modelled_and_bounded(tmp_path):
    meter, clock = ProcessMeter(powercap=tmp_path), SystemClock()
    first = meter.read(POWER, CAPACITY)
    assert (first.power_mw, first.is_modelled) == (2_000, True)
    _burn(clock, 200_000)
    second = meter.read(POWER, CAPACITY)
    assert second.is_modelled
    assert 2_000 < second.power_mw <= 7_000, "never more than the node's capacity draws"
    assert second.cpu_us > first.cpu_us
    assert second.rss_bytes > 5 * 2**20
    assert meter.read(POWER, CAPACITY).power_mw == second.power_mw, "too soon for a new figure"


def test_with_counters_power_is_this_processs_share_of_the_package(tmp_path):
    zone = _zone(tmp_path, "intel-rapl:0", 1_000_000)
    _zone(tmp_path, "intel-rapl:0:0", 999)
    meter, clock = ProcessMeter(powercap=tmp_path), SystemClock()
    meter.read(POWER, CAPACITY)
    _burn(clock, 300_000)
    (zone / "energy_uj").write_text("7000000")  # 6 J in about 0.3 s: 20 W for the package
    reading = meter.read(POWER, CAPACITY)
    assert not reading.is_modelled
    assert 0 < reading.power_mw <= 21_000


def test_a_wrapped_counter_reads_as_nothing_not_as_negative(tmp_path):
    zone = _zone(tmp_path, "intel-rapl:0", 9_000_000)
    meter, clock = ProcessMeter(powercap=tmp_path), SystemClock()
    meter.read(POWER, CAPACITY)
    _burn(clock, 150_000)
    (zone / "energy_uj").write_text("5")
    assert meter.read(POWER, CAPACITY).power_mw == 0


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
