"""The `Meter` port on Linux: this process's CPU time and memory, and power from RAPL or from the node's model.

`/proc/self, /sys/class/powercap -> Reading`. RAPL counts the energy of a whole package; the share of this process is
its share of the machine's CPU time in the same interval. Where the counters cannot be read (virtual machines, no right:
they are root-only since CVE-2020-8694), power is the node's linear model at its own CPU use, and says so.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hanse.core.fabric import Power, Resources
from hanse.core.ports import Reading

_NS_PER_US: Final = 1_000
_LEAST_INTERVAL_US: Final = 100_000
"""Readings closer than this repeat the last power figure: the counters tick too coarsely for less."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at_us: int
    cpu_us: int
    machine_busy_us: int
    energy_uj: int


class ProcessMeter:
    """Measures this process. `proc` and `powercap` are where the kernel shows itself."""

    def __init__(self, *, proc: Path = Path("/proc"), powercap: Path = Path("/sys/class/powercap")) -> None:
        self._proc = proc
        self._zones = _readable_zones(powercap)
        self._page_bytes = resource.getpagesize()
        self._tick_us = 1_000_000 // os.sysconf("SC_CLK_TCK")
        self._last: _Sample | None = None
        self._last_power_mw = 0

    def read(self, power: Power, capacity: Resources) -> Reading:
        """Read now. The first reading has no interval yet and reports idle draw."""
        cpu_us = time.process_time_ns() // _NS_PER_US
        rss_bytes = int((self._proc / "self" / "statm").read_bytes().split()[1]) * self._page_bytes
        sample = _Sample(time.monotonic_ns() // _NS_PER_US, cpu_us, self._machine_busy_us(), self._energy_uj())
        last = self._last
        if last is None:
            self._last, self._last_power_mw = sample, power.idle_mw
        elif sample.at_us - last.at_us >= _LEAST_INTERVAL_US:
            self._last = sample
            self._last_power_mw = (
                _measured_mw(last, sample) if self._zones else _modelled_mw(last, sample, power, capacity)
            )
        is_modelled = not self._zones or last is None
        return Reading(cpu_us=cpu_us, rss_bytes=rss_bytes, power_mw=self._last_power_mw, is_modelled=is_modelled)

    def _machine_busy_us(self) -> int:
        fields = (self._proc / "stat").read_bytes().split(b"\n", 1)[0].split()[1:]
        user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
        return (user + nice + system + irq + softirq) * self._tick_us

    def _energy_uj(self) -> int:
        return sum(int((zone / "energy_uj").read_bytes()) for zone in self._zones)


def _measured_mw(last: _Sample, now: _Sample) -> int:
    """Package energy of the interval, by this process's share of the busy time. A wrapped counter reads as 0."""
    energy_uj = max(0, now.energy_uj - last.energy_uj)
    busy_us = max(1, now.machine_busy_us - last.machine_busy_us, now.cpu_us - last.cpu_us)
    return energy_uj * 1_000 * (now.cpu_us - last.cpu_us) // (busy_us * (now.at_us - last.at_us))


def _modelled_mw(last: _Sample, now: _Sample, power: Power, capacity: Resources) -> int:
    """Idle draw plus draw per busy core, the cores in use capped at the node's capacity."""
    busy_milli = (now.cpu_us - last.cpu_us) * 1_000 // (now.at_us - last.at_us)
    return power.idle_mw + power.per_core_mw * min(busy_milli, capacity.cpu_milli) // 1_000


def _readable_zones(powercap: Path) -> tuple[Path, ...]:
    """RAPL package zones (``intel-rapl:<n>``; their children are parts of them) whose counter this user may read."""
    zones = sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []
    packages = (zone for zone in zones if zone.name.count(":") == 1)
    return tuple(zone for zone in packages if os.access(zone / "energy_uj", os.R_OK))
