"""Jobs on the real engine: a piece that ends, pieces that hand on, failures that say why, and an end from outside."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aio import run, until
from hanse.adapters.componentize import build
from hanse.adapters.engine_jobs import EngineJobs
from hanse.core.errors import RuntimeFailure
from hanse.core.fabric import Resources
from hanse.core.ids import Digest, WorkloadId, workload_id
from hanse.core.work import Job, Kind, Route, Workload

pytestmark = pytest.mark.engine

CENSUS = Path(__file__).parents[2] / "examples" / "jobs" / "census" / "census.py"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[EngineJobs]:
    jobs = EngineJobs(node="n1", trust_domain="test.hanse", cache_dir=str(tmp_path))
    yield jobs
    jobs.close()


def job(component: bytes, *, timeout_us: int = 60_000_000) -> Workload:
    return Workload(
        id=workload_id("t", "job"),
        kind=Kind.JOB,
        namespace="t",
        name="job",
        artifact=Digest(f"sha256:{hashlib.sha256(component).hexdigest()}"),
        artifact_bytes=len(component),
        route=Route(path=""),
        resources=Resources(cpu_milli=100, memory_bytes=128 * 2**20),
        timeout_us=timeout_us,
        job=Job(duration_us=10**6, within_us=10**9),
    )


def test_a_piece_that_answers_is_done(runner: EngineJobs, guests: Mapping[str, Path]) -> None:
    component = guests["hello"].read_bytes()
    step = asyncio.run(runner.run(job(component), component, b""))
    assert not step.has_more
    assert asyncio.run(runner.run(job(component), component, b"again")) == step


@pytest.mark.parametrize(
    ("guest", "timeout_us", "says"),
    [("trap", 60_000_000, "answered 5"), ("loop", 300_000, "answered 504")],
)
def test_a_piece_that_fails_says_how(
    runner: EngineJobs, guests: Mapping[str, Path], guest: str, timeout_us: int, says: str
) -> None:
    component = guests[guest].read_bytes()
    with pytest.raises(RuntimeFailure, match=says) as failed:
        asyncio.run(runner.run(job(component, timeout_us=timeout_us), component, b""))
    assert failed.value.code == "job.failed"


def test_what_is_no_component_never_runs(runner: EngineJobs) -> None:
    with pytest.raises(RuntimeFailure) as failed:
        asyncio.run(runner.run(job(b"no component"), b"no component", b""))
    assert failed.value.code.startswith("component.")


def test_a_job_is_ended_in_the_middle_of_a_piece(runner: EngineJobs, guests: Mapping[str, Path]) -> None:
    component = guests["loop"].read_bytes()
    work = job(component)

    async def scenario() -> None:
        running = asyncio.create_task(runner.run(work, component, b""))
        await until(lambda: runner.is_asked(work.id) or running.done())
        assert runner.is_asked(work.id)
        await until(lambda: has_begun(work.id) or running.done())
        assert not running.done()
        await runner.unload(work.id)
        assert not runner.is_asked(work.id)
        # Cut off where it was: it had 60 s, and no answer says that it used them.
        with pytest.raises(RuntimeFailure) as ended:
            await running
        assert "504" not in str(ended.value)

    def has_begun(name: WorkloadId) -> bool:
        assert runner._engine is not None
        return any(one.workload == name and one.instances_started for one in runner._engine.stats().workloads)

    run(scenario())


def test_the_example_hands_on_from_piece_to_piece_and_goes_on_from_where_it_was(runner: EngineJobs) -> None:
    component = build(CENSUS, None, lambda _: None).path.read_bytes()
    work = job(component)

    async def scenario() -> None:
        pieces, checkpoint = 0, b""
        while (step := await runner.run(work, component, checkpoint)).has_more:
            pieces, checkpoint = pieces + 1, step.checkpoint
        assert pieces == 9
        assert checkpoint == b'{"from": 45002, "primes": 4675}'
        assert any("5133 primes below 50000" in line.text for line in runner.logs(work.id, 0, 100))

    asyncio.run(scenario())
