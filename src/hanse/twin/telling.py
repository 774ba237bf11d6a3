"""A run that held, told to people or to machines: `Result, seconds -> text`."""

from __future__ import annotations

from hanse.twin.run import Result
from hanse.wire import canonical


def text(result: Result, wall_s: float) -> str:
    """A run for people."""
    faults = ", ".join(f"{count} {kind}" for kind, count in result.faults.items()) or "none"
    lines = [
        f"{result.scenario}, seed {result.seed}, {result.nodes} nodes: held",
        f"  trace     {result.trace}",
        f"  time      {result.simulated_us / 1e6:.0f} s simulated in {wall_s:.1f} s, "
        f"{result.simulated_us / 1e6 / wall_s:.0f} times as fast",
        f"  events    {result.events} traced, {result.steps} steps judged, {result.steps / wall_s:.0f} a second",
        f"  faults    {faults}",
        f"  ledger    {result.entries} entries followed",
    ]
    lines += [f"  {name:<20} {value}" for name, value in result.figures.items()]
    return "\n".join(lines)


def json_line(result: Result, wall_s: float) -> str:
    """A run as one JSON line."""
    speed = {"wall_ms": round(wall_s * 1_000), "steps_per_s": round(result.steps / wall_s)}
    return canonical.encode({"result": result, "speed": speed}).decode()
