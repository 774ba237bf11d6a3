"""Faults as data: what goes wrong, when, to whom. A scenario is a list of these.

Times are virtual microseconds since the world began. A machine is named as in `World.add`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A machine's wire to the substrate is cut from `at_us` to `until_us`; it serves on."""

    at_us: int
    until_us: int
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """A machine's wire takes `extra_us` longer each way, plus up to `jitter_us`."""

    at_us: int
    until_us: int
    machine: str
    extra_us: int
    jitter_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Bus messages of a machine are lost with this probability; the store, like TCP, is not affected."""

    at_us: int
    until_us: int
    machine: str
    ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Bus messages of a machine arrive twice with this probability."""

    at_us: int
    until_us: int
    machine: str
    ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The substrate is unreachable for everyone; its state survives."""

    at_us: int
    until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A machine's process ends as under ``kill -9``; its disk stays, or not."""

    at_us: int
    machine: str
    loses_disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A crashed machine's process starts again."""

    at_us: int
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStep:
    """A machine's wall clock is set by `by_us`, which may be negative."""

    at_us: int
    machine: str
    by_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanish:
    """An entry of a bucket is deleted by nobody's right: the one at `number`, counted round in key order."""

    at_us: int
    bucket: str
    number: int


Fault = Partition | Delay | Drop | Duplicate | Outage | Crash | Restart | ClockStep | Vanish
