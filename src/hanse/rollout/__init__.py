"""Rollout: the next safe steps from what runs to what a plan wants.

Pure: `next_steps` reads a plan and a snapshot and returns starts, stops and holds, each with its reason.
"""

from hanse.rollout.decide import next_steps
from hanse.rollout.steps import Hold, RolloutLimits, Start, Step, Stop

__all__ = ["Hold", "RolloutLimits", "Start", "Step", "Stop", "next_steps"]
