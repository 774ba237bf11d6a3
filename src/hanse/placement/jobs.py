"""Work that may wait: when each job runs, whether it is due, and what becomes of it.

`job, last progress, reports, snapshot, homes, now -> JobProgress`; `snapshot, progress -> snapshot` in which a job that
is due wants one replica and any other none. It chooses hours and a site by money and carbon together (`shift` for the
hours of one grid zone); the solvers place a due job as they place all work. It starts nothing itself.

A job runs at least once: a node that falls silent may still finish what was begun anew elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hanse.core.ids import InstanceId, NodeId, SiteId, WorkloadId
from hanse.core.jobs import JobProgress, JobState
from hanse.core.snapshot import Phase, Reach, Snapshot
from hanse.core.time import HOUR_US, US_PER_S, WallTime
from hanse.core.units import MASS_UNITS, PERIODS_US, format_duration
from hanse.core.work import Job, Workload
from hanse.placement.settings import PlacementSettings
from hanse.placement.shift import Waiting, shift
from hanse.placement.spending import bill_microeur, carbon_ug
from hanse.wire.canonical import digest_of

_LOST = (Phase.FAILED, Phase.REFUSED)
_LEAST_US = 60 * US_PER_S
"""What is left of a job that outlasted its own estimate counts as no less than this."""
_PIN_US = 60 * US_PER_S
"""How long only the chosen site will do; after that a due job runs wherever there is room."""

Homes = Callable[[], Sequence[NodeId]]
"""Nodes that policy allows for the job at hand; asked only where hours are to be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a node said last of one replica of a job."""

    instance: InstanceId
    spec_generation: int
    phase: Phase
    since_us: WallTime
    reason: str = ""
    checkpoint: bytes = b""


def advance(
    workload: Workload,
    last: JobProgress | None,
    heard: Iterable[Heard],
    at: Snapshot,
    homes: Homes,
    *,
    planned_from: str,
    settings: PlacementSettings,
) -> JobProgress:
    """Bring one job's progress up to the moment of the snapshot.

    `planned_from` is the digest of the snapshot's forecast (`forecast_digest`). Equal inputs give equal progress.
    """
    job = workload.job
    if job is None:
        raise ValueError(f"{workload.id} is no job")
    has = last if last is not None and last.generation == workload.generation else _begun(workload, job, at.at_us)
    if has.has_ended:
        return has
    mine = [h for h in sorted(heard, key=lambda h: (h.since_us, h.instance)) if h.spec_generation == has.generation]
    has = _listened(_with_silence(has, workload, at), job, mine, at.at_us)
    if not has.has_ended and _needs_hours(has, planned_from, at.at_us):
        has = replace(_with_hours(has, workload, job, at, homes=homes(), settings=settings), planned_from=planned_from)
    return replace(has, late=_why_late(has, job, at.at_us))


def timed(at: Snapshot, jobs: Mapping[WorkloadId, JobProgress]) -> Snapshot:
    """Let every job be planned as its hours say: one replica while it is due, none at any other time."""
    changed = {
        key: _as_due(spec, spec.job, jobs.get(key), at) for key, spec in at.workloads.items() if spec.job is not None
    }
    return at if not changed else replace(at, workloads={k: changed.get(k, spec) for k, spec in at.workloads.items()})


def is_due(job: Job, has: JobProgress, now: WallTime) -> bool:
    """Tell whether a job is to run now. The last piece, and what cannot be interrupted, runs until it is done."""
    if has.has_ended or not has.runs:
        return False
    if now >= has.runs[-1][0] or (not job.is_interruptible and now >= has.runs[0][0]):
        return True
    return any(start <= now < end for start, end in has.runs)


def next_turn_us(job: Job, has: JobProgress, now: WallTime) -> WallTime | None:
    """When time alone will start or pause it; None where it will not."""
    if has.has_ended:
        return None
    starts = [start for start, _ in has.runs]
    ends = [end for _, end in has.runs[:-1]] if job.is_interruptible else []
    return min((turn for turn in (*starts, *ends) if turn > now), default=None)


def forecast_digest(at: Snapshot) -> str:
    """What the hours of jobs are planned from, in short."""
    return digest_of([at.forecast, at.forecast_error_permille])[-16:]


def _begun(workload: Workload, job: Job, now: WallTime) -> JobProgress:
    deadline = job.deadline_us if job.deadline_us is not None else now + (job.within_us or job.duration_us)
    return JobProgress(generation=workload.generation, accepted_us=now, deadline_us=WallTime(deadline))


def _listened(has: JobProgress, job: Job, heard: Sequence[Heard], now: WallTime) -> JobProgress:
    """Take in what nodes said: an end, failures, checkpoints, a piece that runs or no longer does."""
    for one in heard:
        if one.phase is Phase.SUCCEEDED:
            return replace(has, state=JobState.SUCCEEDED, ended_us=one.since_us, piece_us=None)
        if one.checkpoint:
            has = replace(has, checkpoint=one.checkpoint)
        if one.phase in _LOST and one.instance not in has.failed:
            has = replace(has, failed=(*has.failed, one.instance), reason=one.reason or "no reason given")
    if len(has.failed) > job.retries:
        times = "once" if len(has.failed) == 1 else f"{len(has.failed)} times"
        return replace(
            has, state=JobState.FAILED, ended_us=now, piece_us=None, reason=f"it failed {times}, last: {has.reason}"
        )
    running = next((one for one in heard if one.phase is Phase.RUNNING), None)
    if running is not None:
        return replace(has, state=JobState.RUNNING, piece_us=has.piece_us or running.since_us)
    if has.piece_us is None:
        return has
    kept_us = has.ran_us + max(now - has.piece_us, 0) if job.is_interruptible else 0
    return replace(has, state=JobState.PAUSED, piece_us=None, ran_us=kept_us)


def _with_silence(has: JobProgress, workload: Workload, at: Snapshot) -> JobProgress:
    """Remember that a node fell silent while it ran the job: it begins anew elsewhere."""
    silent = [
        r.node
        for r in at.running
        if r.workload == workload.id and r.phase is Phase.RUNNING and at.reach.get(r.node) is Reach.UNREACHABLE
    ]
    return has if not silent else replace(has, reason=f"node {min(silent)} fell silent while it ran there")


def _needs_hours(has: JobProgress, planned_from: str, now: WallTime) -> bool:
    if not has.runs:
        return True
    if has.planned_from == planned_from or has.state is JobState.RUNNING:
        return False
    # What runs or is overdue is not planned away; hours that lie ahead follow the newest forecast.
    return all(start > now for start, _ in has.runs) or has.state is JobState.PAUSED


def _with_hours(
    has: JobProgress,
    workload: Workload,
    job: Job,
    at: Snapshot,
    *,
    homes: Sequence[NodeId],
    settings: PlacementSettings,
) -> JobProgress:
    """Choose site and hours: the least money and priced carbon, then the cleanest, then the site that is first."""
    now, left_us = at.at_us, _left_us(has, job)
    slack_us = left_us * settings.job_slack_permille // 1_000
    open_nodes = [node for node in sorted(homes) if _may_hold(at, workload, node)]
    if not open_nodes:
        if now + left_us + slack_us >= has.deadline_us:
            return _at_once(has, now, left_us, "it is tried at once: no node may take it yet, and its deadline is near")
        return replace(has, why="it waits: no node that is ready may take it")
    if now + left_us + slack_us >= has.deadline_us:
        return _at_once(has, now, left_us, "it starts at once: its deadline leaves no room to wait")
    waiting = Waiting(
        duration_us=left_us, deadline_us=WallTime(has.deadline_us - slack_us), is_interruptible=job.is_interruptible
    )
    shifts = {}
    for zone in sorted({at.fabric.site_of(at.fabric.nodes[node]).grid_zone for node in open_nodes}):
        series = at.forecast.get(zone)
        if series is not None:
            shifts[zone] = shift(series, waiting, now=now, error_permille=at.forecast_error_permille)
    best: tuple[tuple[float, int, SiteId], str] | None = None
    for node in open_nodes:
        site = at.fabric.site_of(at.fabric.nodes[node])
        found = shifts.get(site.grid_zone)
        if found is not None:
            key = (_price_microeur(workload, at, node, found.mean, settings), found.mean, site.id)
            if best is None or key < best[0]:
                best = key, site.grid_zone
    if best is None:
        return _at_once(has, now, left_us, "it starts at once: no forecast reaches as far as it needs")
    chosen = shifts[best[1]]
    if chosen is None:
        raise ValueError("a zone without hours was chosen")
    runs = tuple((WallTime(max(start, now)), end) for start, end in chosen.runs)
    why = f"{chosen.why}; {chosen.mean} g/kWh in {best[1]}, {chosen.mean_now} if it began now"
    return replace(has, runs=runs, site=best[0][2], zone=best[1], why=why)


def _at_once(has: JobProgress, now: WallTime, left_us: int, why: str) -> JobProgress:
    return replace(has, runs=((now, WallTime(now + left_us)),), site=None, zone="", why=why)


def _left_us(has: JobProgress, job: Job) -> int:
    return max(job.duration_us - has.ran_us, _LEAST_US if has.ran_us else 1)


def _may_hold(at: Snapshot, workload: Workload, node: NodeId) -> bool:
    known = at.fabric.nodes.get(node)
    if known is None or at.reach.get(node) is not Reach.READY or not workload.resources.fits(known.allocatable):
        return False
    carried = {**known.labels, "node": node, "site": known.site, "operator": known.operator, "tier": known.tier.value}
    return all(carried.get(key) == value for key, value in workload.node_selector.items())


def _price_microeur(
    workload: Workload, at: Snapshot, node: NodeId, g_per_kwh: int, settings: PlacementSettings
) -> float:
    """Money and priced carbon of the whole run on one node, as the objective weighs them."""
    job, one = workload.job, at.fabric.nodes[node]
    share = (job.duration_us if job is not None else HOUR_US) / PERIODS_US["month"]
    site = at.fabric.site_of(one)
    money = bill_microeur(workload, one, at, settings) * workload.objective.cost_milli / 1_000
    carbon = carbon_ug(workload, one, site, g_per_kwh) * workload.objective.carbon_microeur_per_t / MASS_UNITS["t"]
    return round((money + carbon) * share)


def _as_due(spec: Workload, job: Job, has: JobProgress | None, at: Snapshot) -> Workload:
    if has is None or has.generation != spec.generation or not is_due(job, has, at.at_us):
        return replace(spec, replicas=0)
    due = replace(spec, replicas=1)
    if has.piece_us is not None:
        # What runs would begin again elsewhere: that costs what was done so far, or what it takes to hand it on.
        lost_us = 0 if job.is_interruptible else job.duration_us
        return replace(due, moving=replace(spec.moving, cold_start_us=spec.moving.cold_start_us + lost_us))
    begun = max((start for start, _ in has.runs if start <= at.at_us), default=at.at_us)
    if has.site is not None and "site" not in spec.node_selector and at.at_us - begun < _PIN_US and not has.failed:
        return replace(due, node_selector=dict(sorted({**spec.node_selector, "site": str(has.site)}.items())))
    return due


def _why_late(has: JobProgress, job: Job, now: WallTime) -> str:
    """Why the deadline was missed, or will be if the estimate holds."""
    ends = has.ended_us
    if has.state is JobState.SUCCEEDED and ends is not None:
        over = ends - has.deadline_us
        cause = has.late.partition(": ")[2] or has.reason or "it took longer than its owner expected"
        return f"it ended {format_duration(over)} after its deadline: {cause}" if over > 0 else ""
    if has.state is JobState.FAILED:
        return f"its deadline cannot be met: {has.reason}"
    left_us = max(_left_us(has, job) - (0 if has.piece_us is None else now - has.piece_us), 0)
    if now + left_us <= has.deadline_us:
        return ""
    if has.failed:
        cause = f"it failed {len(has.failed)} times, last: {has.reason}"
    elif not has.runs:
        cause = has.why.removeprefix("it waits: ")
    elif has.accepted_us + job.duration_us > has.deadline_us:
        cause = f"it needs {format_duration(job.duration_us)} and had less from the beginning"
    elif has.state is JobState.WAITING:
        cause = "it found no place to run in time"
    else:
        cause = has.reason or "it takes longer than its owner expected"
    verb = "missed its deadline" if now > has.deadline_us else "will miss its deadline"
    return f"it {verb}: {cause}"
