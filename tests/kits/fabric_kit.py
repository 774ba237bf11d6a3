"""A real fabric for tests: three nodes in three countries, run by two operators, every process real.

`Harness` keeps one fabric for the tests of a module: `with Harness(...) as kit: kit.run(scenario(kit))`. Everything a
test waits for is an observable state with a deadline; nothing waits for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from hanse.adapters.tls import client_context
from hanse.app.local import LocalFabric, running_fabric
from hanse.app.options import PLAIN_FRONT, FrontOptions
from hanse.app.tour.load import Outcome, steady_load
from hanse.core.ids import NodeId

T = TypeVar("T")
Row = dict[str, Any]

NORTH, EAST, WEST = NodeId("north-1"), NodeId("east-1"), NodeId("west-1")
NODES = (NORTH, EAST, WEST)
PATIENCE_S = 120.0
"""Until a test gives up on a state for which no bound is promised; the machine may be busy."""
ANSWER_S = 60.0
"""For one answer: a client that hangs up sooner would call slow what it counts as failed."""
SCENARIO_S = 600.0
LOOK_S = 0.02

FABRIC = """\
apiVersion: hanse.dev/v1
kind: Operator
metadata: {name: hansa}
spec: {name: Hansa eG, seat: DE, seal: {legal: 4, operational: 3}, grade: 2}
---
apiVersion: hanse.dev/v1
kind: Operator
metadata: {name: nimbus}
spec: {name: Nimbus Ltd, seat: IE, seal: {legal: 3, operational: 3}, grade: 2}
---
apiVersion: hanse.dev/v1
kind: Site
metadata: {name: hamburg}
spec: {country: DE, place: {city: Hamburg, latitude: 53.5511, longitude: 9.9937}, gridZone: DE}
---
apiVersion: hanse.dev/v1
kind: Site
metadata: {name: vienna}
spec: {country: AT, place: {city: Vienna, latitude: 48.2082, longitude: 16.3738}, gridZone: AT}
---
apiVersion: hanse.dev/v1
kind: Site
metadata: {name: dublin}
spec: {country: IE, place: {city: Dublin, latitude: 53.3498, longitude: -6.2603}, gridZone: IE}
"""
NODE = """\
---
apiVersion: hanse.dev/v1
kind: Node
metadata: {name: %s}
spec:
  site: %s
  operator: %s
  tier: regional
  capacity: {cpu: 8, memory: 16Gi}
  price: {cpu: %s EUR/core-hour, memory: 0.004 EUR/GiB-hour}
  power: {idle: 20W, perCore: 5W}
"""
# The west is the cheapest place: where nothing else speaks, work goes there first.
PLACES = ((NORTH, "hamburg", "hansa", "0.030"), (EAST, "vienna", "hansa", "0.040"), (WEST, "dublin", "nimbus", "0.010"))


def function(name: str, *, replicas: int | None = 1, path: str | None = None, more: str = "") -> str:
    """A Function manifest; `more` are further lines of its spec, without indentation."""
    lines = ["source: guest.wasm", f"route: {{path: {path or '/' + name}}}", *more.splitlines()]
    if replicas is not None:
        lines.append(f"replicas: {replicas}")
    body = "".join(f"  {line}\n" for line in lines)
    return f"apiVersion: hanse.dev/v1\nkind: Function\nmetadata: {{name: {name}, namespace: test}}\nspec:\n{body}"


class Refusal(Exception):
    """The API's answer to a request that it refused."""

    def __init__(self, answer: httpx.Response) -> None:
        error = answer.json()["error"]
        super().__init__(f"{answer.status_code} {error['code']}: {error['message']}")
        self.status: int = answer.status_code
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.details: Any = error["details"]


class Unanswered(Exception):
    """The controller that was asked is not there."""


@dataclass(slots=True)
class Kit:
    """A running fabric and what tests ask of it; `controller` is the number of the one that is asked."""

    fabric: LocalFabric
    guests: Mapping[str, Path]
    http: httpx.AsyncClient
    controller: int = 0

    # --- asking ---

    async def send(self, method: str, path: str, **more: Any) -> Any:
        """Ask one controller's API; returns the decoded answer. Raises Refusal, Unanswered."""
        async with self.fabric.client(self.controller) as api:
            try:
                answer = await api.request(method, f"/api/v1/{path}", **more)
            except httpx.TransportError as error:
                raise Unanswered(f"{method} {path}: {error!r}") from error
        if answer.is_error:
            raise Refusal(answer)
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

    async def get(self, path: str) -> Any:
        """Read something."""
        return await self.send("GET", path)

    async def put_artifact(self, component: bytes) -> str:
        """Store a component and return its digest. Raises Refusal."""
        return str((await self.send("PUT", "artifacts", content=component))["digest"])

    async def submit(self, text: str, *functions: str, guest: str = "hello", is_dry_run: bool = False) -> Row:
        """Send manifests; the functions named in them run `guest`. Raises Refusal."""
        digest = await self.put_artifact(self.guests[guest].read_bytes()) if functions else ""
        body = {
            "files": [{"name": "test.yaml", "text": text}],
            "artifacts": {f"test.{name}": digest for name in functions},
            "dry_run": is_dry_run,
        }
        answer: Row = await self.send("POST", "submissions", json=body)
        return answer

    async def deploy(self, name: str, *, guest: str = "hello", replicas: int = 1, more: str = "") -> list[Row]:
        """Deploy one function and wait until all of its replicas are served by every node's front."""
        await self.submit(function(name, replicas=replicas, more=more), name, guest=guest)
        return await self.until_running(name, replicas)

    async def delete(self, name: str) -> None:
        """Delete a function and wait until it runs nowhere."""
        await self.send("DELETE", f"functions/test.{name}")
        await self.until(lambda: self._is_gone(name), f"{name} being gone")

    async def instances(self, name: str) -> list[Row]:
        """Every instance of a function, stopped ones included."""
        rows: list[Row] = await self.get(f"instances?workload=test.{name}")
        return rows

    async def wanted(self, name: str) -> list[Row]:
        """The instances of a function that are ordered to run."""
        return [row for row in await self.instances(name) if row["wanted"]]

    async def serving(self, name: str) -> set[str]:
        """Nodes from which the function is served, as the fabric sees it."""
        return {str(node) for node in (await self.get(f"workloads/test/{name}"))["summary"]["nodes"]}

    async def reach(self, node: NodeId) -> str:
        """What the controller knows of a node's liveness."""
        return next(str(row["reach"]) for row in await self.get("nodes") if row["id"] == node)

    async def ledger(self) -> list[Row]:
        """Every entry of the ledger, in order."""
        rows: list[Row] = []
        while more := await self.get(f"ledger/entries?after={len(rows)}&limit=1000"):
            rows += more
        return rows

    async def orders_in_ledger(self, name: str) -> list[tuple[str, int, bool]]:
        """Every order of a function that the ledger holds, in order: instance, generation, wanted."""
        orders = [row["predicate"] for row in await self.ledger() if row["kind"] == "OrderIssued"]
        return [(o["instance"], o["generation"], o["wanted"]) for o in orders if o["workload"] == f"test.{name}"]

    # --- calling ---

    def url(self, node: NodeId, path: str) -> str:
        """Where a node's front answers for a path."""
        return self.fabric.nodes[node].url + path

    async def call(self, node: NodeId, path: str, **more: Any) -> httpx.Response:
        """Call through a node's front."""
        return await self.http.get(self.url(node, path), **more)

    @contextlib.asynccontextmanager
    async def load(self, path: str, *nodes: NodeId) -> AsyncIterator[Outcome]:
        """Idempotent requests at an even pace through these fronts while the block lasts."""
        verify = client_context(self.fabric.domain.bundle_pem)
        async with steady_load([self.url(node, path) for node in nodes or NODES], verify, ANSWER_S) as outcome:
            yield outcome

    # --- waiting ---

    async def until(self, look: Callable[[], Awaitable[T]], what: str, *, within_s: float = PATIENCE_S) -> T:
        """Look until the answer is true; returns it. A controller that does not answer has no answer."""
        end = time.monotonic() + within_s
        while True:
            found: T | None = None
            with contextlib.suppress(Unanswered):
                found = await look()
            if found:
                return found
            assert time.monotonic() < end, f"{what} did not come true within {within_s:g} s"
            await asyncio.sleep(LOOK_S)

    async def until_running(self, name: str, replicas: int, *, within_s: float = PATIENCE_S) -> list[Row]:
        """Wait until exactly so many replicas are ordered and run, each once, and every linked front leads to them."""

        async def running() -> list[Row] | None:
            rows = await self.wanted(name)
            view = (await self.get(f"workloads/test/{name}"))["summary"]
            is_single = len({row["ordinal"] for row in rows}) == len({row["node"] for row in rows}) == len(rows)
            is_done = (
                is_single
                and len(rows) == replicas
                and all(row["phase"] == "running" and row["spec_generation"] == view["generation"] for row in rows)
            )
            is_settled = set(view["nodes"]) == {row["node"] for row in rows} and view["status"] == "running"
            return rows if is_done and is_settled and await self._is_routed(view["path"]) else None

        return await self.until(running, f"{replicas} replicas of {name} running", within_s=within_s)

    async def until_reach(self, node: NodeId, reach: str, *, within_s: float = PATIENCE_S) -> None:
        """Wait until the controller says so of a node."""

        async def is_so() -> bool:
            return await self.reach(node) == reach

        await self.until(is_so, f"{node} being {reach}", within_s=within_s)

    async def first_call(self, node: NodeId, path: str) -> httpx.Response:
        """Call through a front as soon as it knows the route; the function runs once for it."""

        async def answered() -> httpx.Response | None:
            answer = await self.call(node, path)
            return None if answer.headers.get("hanse-error") in ("route.unknown", "route.no_replica") else answer

        return await self.until(answered, f"{node} knowing {path}")

    async def _is_routed(self, path: str) -> bool:
        up = [node for node, process in self.fabric.nodes.items() if process.child.pid and not process.uplink.is_cut]
        answers = [await self.call(node, path) for node in up]
        return all("hanse-node" in answer.headers for answer in answers)

    async def _is_gone(self, name: str) -> bool:
        gone = not any(row["wanted"] or row["phase"] != "stopped" for row in await self.instances(name))
        listed = f"test.{name}" in {row["id"] for row in await self.get("workloads")}
        return gone and not listed and all([(await self.call(node, f"/{name}")).status_code == 404 for node in NODES])


class Harness:
    """One fabric for several tests: each runs a scenario on the same event loop."""

    def __init__(self, guests: Mapping[str, Path], *, controllers: int = 1, front: FrontOptions = PLAIN_FRONT) -> None:
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._folder = short_folder()
        self._running = running_kit(self._folder / "state", guests, controllers=controllers, front=front)
        self.kit: Kit

    def __enter__(self) -> Self:
        try:
            self.kit = self._runner.run(self._start())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run one scenario to its end; a hang fails."""

        async def bounded() -> T:
            async with asyncio.timeout(SCENARIO_S):
                return await scenario

        return self._runner.run(bounded())

    async def _start(self) -> Kit:
        return await self._stack.enter_async_context(self._running)


@contextlib.asynccontextmanager
async def running_kit(
    state: Path,
    guests: Mapping[str, Path],
    *,
    controllers: int = 1,
    front: FrontOptions = PLAIN_FRONT,
    has_tpms: bool = False,
    attest_us: int | None = None,
) -> AsyncIterator[Kit]:
    """A fabric in a state directory, for as long as the block lasts. What a test kills stays dead."""
    file = write_fabric(state.with_name("fabric.yaml"))
    async with (
        running_fabric(
            state,
            file,
            domain_name="test.hanse",
            controllers=controllers,
            front=front,
            is_restarting_nodes=False,
            is_restarting_controllers=False,
            has_tpms=has_tpms,
            attest_us=attest_us,
        ) as fabric,
        httpx.AsyncClient(timeout=ANSWER_S, trust_env=False, verify=client_context(fabric.domain.bundle_pem)) as http,
    ):
        yield Kit(fabric=fabric, guests=guests, http=http)


def write_fabric(path: Path) -> Path:
    """Write the fabric's manifest file."""
    path.write_text(FABRIC + "".join(NODE % place for place in PLACES))
    return path


def short_folder() -> Path:
    """A fresh folder with a short path: a socket's path takes 107 bytes, and pytest's folders lie deep."""
    return Path(tempfile.mkdtemp(prefix="hanse-"))
