"""A whole fabric in one process and in virtual time: machines on wires to one substrate, faults, checkers, a trace.

`scenario, seed, faults -> trace hash, or the first violation`. A machine is a name (a node's id) and a coroutine
function that builds its part of the fabric from ports and runs it until cancelled; the world knows nothing of what it
is. Its disk outlives crashes; everything else of it is built anew, as a process would be.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from hanse.core.errors import invariant
from hanse.core.ids import NodeId
from hanse.core.rng import Rng
from hanse.core.time import US_PER_S, MonoTime, WallTime
from hanse.twin.faults import ClockStep, Crash, Delay, Drop, Duplicate, Fault, Outage, Partition, Restart, Vanish
from hanse.twin.loop import VirtualLoop, run
from hanse.twin.ports.blobs import BlobServer, MemoryBlobs
from hanse.twin.ports.bus import MemoryBus, Switch
from hanse.twin.ports.clock import VirtualClock
from hanse.twin.ports.entropy import SeededEntropy
from hanse.twin.ports.link import Conditions, Link, Wire
from hanse.twin.ports.runtime import Mesh
from hanse.twin.ports.store import KvServer, MemoryStore
from hanse.twin.trace import Trace
from hanse.wire import subjects


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePorts:
    """The world as one incarnation of a machine sees it. Runtime, meter and signers are the scenario's to add."""

    name: str
    incarnation: int
    clock: VirtualClock
    entropy: SeededEntropy
    bus: MemoryBus
    store: MemoryStore
    """The fabric's state, over the wire."""
    blobs: MemoryBlobs
    """The fabric's artifacts, over the wire."""
    disk: MemoryStore
    """This machine's own disk."""
    cache: MemoryBlobs
    """This machine's own artifacts."""
    ledger: MemoryStore
    """The files of the domain's transparency log, beside the controllers."""
    mesh: Mesh


Build = Callable[[MachinePorts], Awaitable[None]]


class Checker(Protocol):
    """Judges after every batch of events; raises `Violation` (or any error) on the first thing that must not be."""

    def check(self, world: World) -> None:
        """Look at the world; change nothing."""
        ...


class Violation(AssertionError):
    """Raised by a checker: the world is in a state that must never be."""


class Failed(Exception):
    """Raised by `World.run`: what went wrong, when, and the line that replays it."""


@dataclass(slots=True)
class _Machine:
    name: str
    build: Build
    conditions: Conditions
    clock: VirtualClock
    disk: KvServer
    cache: BlobServer
    incarnation: int = 0
    task: asyncio.Task[None] | None = None
    links: tuple[Link, ...] = ()


class World:
    """One run. `start` is the wall time at which it begins; `shuffles` draws the order of tasks from the seed too.

    Public parts are for scenarios and checkers: `kv`, `ledger`, `artifacts`, `switch`, `mesh`, `trace`.
    """

    def __init__(
        self,
        *,
        seed: int,
        start: WallTime,
        faults: Sequence[Fault] = (),
        checkers: Sequence[Checker] = (),
        shuffles: bool = True,
        limit_us: int = 24 * 3_600 * US_PER_S,
    ) -> None:
        self._seed = seed
        self._start = start
        self._rng = Rng(seed)
        self._faults = tuple(sorted(faults, key=lambda fault: fault.at_us))
        self.checkers = list(checkers)
        self._loop = VirtualLoop(self._rng.stream("loop") if shuffles else None, limit_us=limit_us)
        self._machines: dict[str, _Machine] = {}
        self._died: Exception | None = None
        self.injected: Counter[str] = Counter()
        """Faults so far, by kind."""
        self.lives = 0
        """Grows whenever a machine starts, ends or is cut off."""
        self.trace = Trace(self._loop.now_us)
        self.kv = KvServer(subjects.BUCKETS, trace=self.trace)
        # Post-quantum signatures are randomised (FIPS 204, hedged), so the log's bytes stay out of the trace.
        self.ledger = KvServer(name="ledger", makes_buckets=True)
        self.artifacts = BlobServer(name="artifacts", trace=self.trace)
        self.switch = Switch(self.trace)
        self.mesh = Mesh()

    def now_us(self) -> MonoTime:
        """Virtual microseconds since the world began."""
        return self._loop.now_us()

    def rng(self, *names: str | int) -> random.Random:
        """A stream of the scenario's own."""
        return self._rng.stream("scenario", *names)

    def add(
        self,
        name: str,
        build: Build,
        *,
        delay_us: int = 500,
        jitter_us: int = 0,
        drift_ppm: int = 0,
        reconnect_jitter_us: int = 0,
    ) -> None:
        """Add a machine, started when the world runs. `delay_us` is one way to the substrate."""
        invariant(name not in self._machines, f"two machines named {name}")
        self._machines[name] = _Machine(
            name=name,
            build=build,
            conditions=Conditions(
                rng=self._rng.stream("wire", name),
                delay_us=delay_us,
                jitter_us=jitter_us,
                reconnect_jitter_us=reconnect_jitter_us,
            ),
            clock=VirtualClock(self._loop.now_us, start=self._start, drift_ppm=drift_ppm),
            disk=KvServer(name=f"disk-{name}", trace=self.trace, makes_buckets=True),
            cache=BlobServer(name=f"cache-{name}"),
        )

    def is_up(self, name: str) -> bool:
        """Tell whether a machine's process runs."""
        return name in self._machines and self._machines[name].task is not None

    def is_wired(self, name: str) -> bool:
        """Tell whether a machine's wire carries."""
        return self._machines[name].conditions.wire is Wire.UP

    def way_us(self, name: str) -> int:
        """How long one way of a machine's wire takes at most now; 0 for who is no machine."""
        if name not in self._machines:
            return 0
        conditions = self._machines[name].conditions
        return conditions.delay_us + conditions.jitter_us

    def wall(self, name: str) -> WallTime:
        """What a machine believes the time is."""
        return self._machines[name].clock.wall()

    def true_wall(self) -> WallTime:
        """The time by a clock that neither drifts nor steps."""
        return WallTime(self._start + self.now_us())

    @property
    def batches(self) -> int:
        """Batches of callbacks run so far: how often checkers judged."""
        return self._loop.batches

    def inject(self, fault: Fault) -> None:
        """Let a fault begin now, whatever its `at_us` says."""
        self._begin(fault)

    def disk(self, name: str) -> KvServer:
        """A machine's disk, as it is between its lives too."""
        return self._machines[name].disk

    def run(self, until: Callable[[World], Awaitable[None]]) -> str:
        """Start every machine, let the faults happen, and run the scenario's own part `until` to its end.

        Returns the trace hash. Raises Failed with the virtual time and the last events.
        """
        self._loop.after_batch = self._judge
        try:
            run(self._play(until), loop=self._loop)
        except Exception as error:
            last = "\n  ".join(self.trace.recent()[-20:])
            raise Failed(
                f"seed {self._seed} at {self.now_us()} us, trace {self.trace.digest()}: {error!r}\n  {last}"
            ) from error
        return self.trace.digest()

    async def _play(self, until: Callable[[World], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        for machine in self._machines.values():
            self._boot(machine)
        for fault in self._faults:
            loop.call_at(fault.at_us / US_PER_S, self._begin, fault)
        await until(self)
        for machine in self._machines.values():
            self._halt(machine)

    def _boot(self, machine: _Machine) -> None:
        machine.incarnation += 1
        self.lives += 1
        # The substrate is far away and may be cut off; the own disk is neither.
        wire = Link(machine.name, machine.conditions)
        local = Link(f"{machine.name}-disk", Conditions(rng=self._rng.stream("disk", machine.name)))
        machine.links = (wire, local)
        ports = MachinePorts(
            name=machine.name,
            incarnation=machine.incarnation,
            clock=machine.clock,
            entropy=SeededEntropy(self._seed, machine.name, machine.incarnation),
            bus=MemoryBus(self.switch, wire),
            store=MemoryStore(self.kv, wire),
            blobs=MemoryBlobs(self.artifacts, wire),
            disk=MemoryStore(machine.disk, local),
            cache=MemoryBlobs(machine.cache, local),
            ledger=MemoryStore(self.ledger, local),
            mesh=self.mesh,
        )
        self.trace.note("boot", machine.name, machine.incarnation)
        task = asyncio.get_running_loop().create_task(_machine_main(machine.build, ports), name=machine.name)
        machine.task = task
        task.add_done_callback(lambda done: self._ended(machine, done))

    def _halt(self, machine: _Machine) -> None:
        """End a process as ``kill -9`` would: nothing it still does reaches a wire or a disk."""
        task, machine.task = machine.task, None
        self.lives += 1
        for link in machine.links:
            link.close()
        self.mesh.leave(NodeId(machine.name))
        if task is not None:
            task.cancel()

    def _ended(self, machine: _Machine, task: asyncio.Task[None]) -> None:
        """A process that ends by itself has failed: the scenario did not crash it."""
        error = None if task.cancelled() else task.exception()
        if machine.task is not task:
            return  # it was ended from outside, and what it said then counts for nothing
        machine.task = None
        self._died = self._died or Violation(f"{machine.name} ended by itself: {error!r}")

    def _judge(self) -> None:
        if self._died is not None:
            raise self._died
        for checker in self.checkers:
            checker.check(self)

    def _begin(self, fault: Fault) -> None:
        self.trace.note("fault", repr(fault))
        self.injected[type(fault).__name__] += 1
        match fault:
            case Partition():
                self._cut(fault.machine, fault.until_us)
            case Outage():
                for name in self._machines:
                    self._cut(name, fault.until_us)
            case Delay():
                self._change(fault.machine, fault.until_us, delay_us=fault.extra_us, jitter_us=fault.jitter_us)
            case Drop():
                self._change(fault.machine, fault.until_us, drop_ppm=fault.ppm)
            case Duplicate():
                self._change(fault.machine, fault.until_us, duplicate_ppm=fault.ppm)
            case Crash():
                self._crash(self._machines[fault.machine], loses_disk=fault.loses_disk)
            case Restart():
                machine = self._machines[fault.machine]
                invariant(machine.task is None, f"{machine.name} runs and cannot be restarted")
                self._boot(machine)
            case ClockStep():
                self._machines[fault.machine].clock.step(fault.by_us)
            case Vanish():
                self._vanish(fault)
            case _:
                assert_never(fault)

    def _cut(self, name: str, until_us: int) -> None:
        conditions = self._machines[name].conditions
        conditions.cut()
        self.lives += 1
        asyncio.get_running_loop().call_at(until_us / US_PER_S, conditions.heal)

    def _change(self, name: str, until_us: int, **added: int) -> None:
        """Add to fields of a wire for a while; overlapping faults add up."""
        conditions = self._machines[name].conditions

        def add(sign: int) -> None:
            for field, amount in added.items():
                setattr(conditions, field, getattr(conditions, field) + sign * amount)

        add(1)
        asyncio.get_running_loop().call_at(until_us / US_PER_S, add, -1)

    def _vanish(self, fault: Vanish) -> None:
        entries = self.kv.entries(fault.bucket, "")
        if entries:
            self.kv.delete(fault.bucket, entries[fault.number % len(entries)].key, None)

    def _crash(self, machine: _Machine, *, loses_disk: bool) -> None:
        self._halt(machine)
        if loses_disk:
            machine.disk = KvServer(name=f"disk-{machine.name}", trace=self.trace, makes_buckets=True)
            machine.cache = BlobServer(name=f"cache-{machine.name}")


async def _machine_main(build: Build, ports: MachinePorts) -> None:
    await build(ports)
