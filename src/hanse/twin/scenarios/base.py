"""The shape of a scenario: a name, a cast, and a plot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hanse.twin.fabric import Settings
from hanse.twin.ports.runtime import EngineModel
from hanse.twin.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One story. The plot raises `Violation` where it does not end as it must; checkers judge all along."""

    name: str
    about: str
    """One sentence: what happens, and what must come of it."""
    plot: Callable[[Stage], Awaitable[None]]
    controllers: int = 1
    engine: EngineModel | None = None
    """Another engine than the settings', where the story needs a slow one."""
    prepare: Callable[[Settings], Settings] = lambda settings: settings
    """Other settings, where the story needs another date or other facts of law."""
