"""What a worker process cannot do on this machine: `ways out -> which ones the kernel refused`.

A promise about a kernel is checked on that kernel. The engine starts one worker per attempt, shuts it in as it does
every worker, and lets it try.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

from hanse import _engine
from hanse.adapters.engine_runtime import worker_command
from hanse.core.errors import RuntimeFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class EscapeAttempt:
    """One way out of a worker process, and how the attempt ended."""

    wall: str
    """What stood in the way: ``landlock`` alone, or ``both``."""
    attempt: str
    is_refused: bool
    how: str


def escape_attempts() -> tuple[EscapeAttempt, ...]:
    """Try every known way out of a worker process of this machine, behind both walls and behind Landlock alone.

    Raises RuntimeFailure ``worker.start_failed`` where no such process can be started.
    """
    with tempfile.TemporaryDirectory() as cache:
        config = _engine.EngineConfig(
            node="sandbox",
            trust_domain="hanse.invalid",
            front_bind="127.0.0.1:0",
            mesh_bind="127.0.0.1:0",
            cache_dir=cache,
            worker_command=worker_command(),
        )
        try:
            return tuple(
                EscapeAttempt(wall=wall, attempt=name, is_refused=is_refused, how=how)
                for wall, landlock_alone in (("both", False), ("landlock", True))
                for name, is_refused, how in _engine.escape_attempts(config, landlock_alone=landlock_alone)
            )
        except _engine.EngineError as error:
            raise RuntimeFailure(error.message, code=error.code, hint=error.hint) from error
