"""The tour (`hanse demo`).

Eight steps on a real fabric, each of which says what it promises and fails if it does not happen.

Nothing shown is canned: every line comes from the running system, through the same client and rendering as the
command line.
"""

from hanse.app.tour.guide import run_tour

__all__ = ["run_tour"]
