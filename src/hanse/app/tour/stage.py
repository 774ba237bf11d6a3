"""What the steps of the tour share: the fabric, a client, a voice, and promises that are checked.

A step shows real output and calls `promise`; what does not hold ends the tour with exit code 1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

from hanse.app.cli.waiting import is_settled
from hanse.app.client import Client
from hanse.app.invoking import Invocation, call, front_url
from hanse.app.local import LocalFabric
from hanse.app.render.style import line
from hanse.control.views import InstanceView, NodeView, WorkloadView
from hanse.core.errors import HanseError
from hanse.core.ids import NodeId

T = TypeVar("T")

LOOK_S = 0.05
PATIENCE_S = 30.0
TRIAGE = "clinic.triage"
TARIFF = "grid.tariff"
VITALS = b'{"respiration": 22, "oxygen": 93, "systolic": 104, "pulse": 118, "temperature": 38.4, "alert": true}'


class TourFailed(HanseError):
    """Raised when the fabric did not do what a step of the tour promises."""

    code = "tour.failed"
    hint = "this is a bug in hanse or a machine under heavy load; the fabric's logs are kept, see above"


@dataclass(slots=True)
class Stage:
    """One tour under way."""

    fabric: LocalFabric
    client: Client
    console: Console
    state: Path
    cache: Path | None = None
    deployed: set[str] = field(default_factory=set)
    figures: list[tuple[int, str, str]] = field(default_factory=list)
    """(step, what, measured): the summary at the end."""
    number: int = 0

    # --- the voice ---

    def open(self, number: int, title: str, why: str) -> None:
        """Begin a step: its title, and why it matters."""
        self.number = number
        self.console.print()
        self.console.print(Rule(Text(f"{number}  {title}", style="bold"), align="left", style="dim"))
        self.console.print(line(Text(why, style="dim")))
        self.console.print()

    def show(self, renderable: RenderableType) -> None:
        """Show something real."""
        self.console.print(renderable)

    def say(self, text: str) -> None:
        """Tell what is done now."""
        self.console.print(line(Text(f"→ {text}")))

    def promise(self, is_kept: bool, text: str) -> None:
        """Tell what holds. Raises TourFailed if it does not."""
        if not is_kept:
            self.console.print(line(Text(f"✕ {text}", style="bold red")))
            raise TourFailed(f"step {self.number} promised: {text}")
        self.console.print(line(Text(f"✓ {text}", style="green")))

    def measured(self, what: str, value: str) -> None:
        """Keep a figure for the summary."""
        self.figures.append((self.number, what, value))

    # --- looking ---

    async def ask(self, question: Callable[..., T], *args: Any, **named: Any) -> T:
        """Ask the API in a thread, so that load and watches go on meanwhile."""
        return await asyncio.to_thread(question, *args, **named)

    async def until(self, is_so: Callable[[], T | None], what: str, *, within_s: float = PATIENCE_S) -> T:
        """Look again until the answer is not None. Raises TourFailed."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            answer = await asyncio.to_thread(is_so)
            if answer is not None:
                return answer
            await asyncio.sleep(LOOK_S)
        raise TourFailed(f"step {self.number}: {what} did not happen within {within_s:g} s")

    def workload(self, name: str) -> WorkloadView:
        """One workload as it stands. Raises TourFailed if it is gone."""
        for view in self.client.workloads():
            if view.id == name:
                return view
        raise TourFailed(f"the fabric no longer knows {name}")

    def nodes(self) -> Mapping[str, NodeView]:
        """Every node as it stands, by id."""
        return {view.id: view for view in self.client.nodes()}

    def settled(self, name: str) -> WorkloadView | None:
        """The workload if it runs as wanted and nowhere else, else None."""
        view = self.workload(name)
        return view if is_settled(view, self.client.instances()) else None

    def call(self, node: str, path: str, body: bytes | None = None) -> Invocation:
        """Call a path through one node's own front."""
        view = self.nodes()[node]
        return call(front_url(view), path, through=node, method="GET" if body is None else "POST", body=body)

    def direct(self, node: str, path: str) -> Invocation | None:
        """Call through a node's front if it answers at all, without asking the controller where that is."""
        try:
            return call(self.fabric.nodes[NodeId(node)].url, path, through=node, timeout_s=5.0)
        except HanseError:
            return None


def doubled(instances: Sequence[InstanceView]) -> list[str]:
    """Replicas that are wanted twice: two orders to run for one ordinal of one workload."""
    seen: dict[tuple[str, int], str] = {}
    twice = []
    for one in instances:
        if not one.wanted:
            continue
        first = seen.setdefault((one.workload, one.ordinal), one.id)
        if first != one.id:
            twice.append(f"{first} and {one.id}")
    return twice
