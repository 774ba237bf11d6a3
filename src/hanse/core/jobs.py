"""How far work that may wait has come: when it is to run and why then, what ran, what failed, where it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hanse.core.ids import InstanceId, SiteId
from hanse.core.time import WallTime


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """One job of one generation of its spec, from acceptance to end."""

    generation: int
    accepted_us: WallTime
    deadline_us: WallTime
    state: JobState = JobState.WAITING
    runs: tuple[tuple[WallTime, WallTime], ...] = ()
    """Beginning and end of each piece that is planned, in order; empty until a place is found."""
    site: SiteId | None = None
    """Where these hours are the best ones."""
    zone: str = ""
    why: str = ""
    """Why then, in one sentence."""
    planned_from: str = ""
    """Digest of the forecast that was read; another one plans anew what has not begun."""
    failed: tuple[InstanceId, ...] = ()
    """Replicas that failed or were refused, in the order in which that was heard."""
    checkpoint: bytes = b""
    """What the next piece goes on from, as the last one handed it on."""
    piece_us: WallTime | None = None
    """Since when the piece at hand runs."""
    ran_us: int = 0
    """Time that earlier pieces ran and that is not lost."""
    ended_us: WallTime | None = None
    reason: str = ""
    """Why it failed."""
    late: str = ""
    """Why it missed its deadline, or is going to; empty where it does not."""

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.state in (JobState.SUCCEEDED, JobState.FAILED)
