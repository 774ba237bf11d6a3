"""How the rate at which requests enter is counted: what the node that counts and the leader that judges agree on.

`count, span -> thousandths of a request a second`. Keeps nothing and reads no clock.
"""

from __future__ import annotations

from hanse.core.time import US_PER_S

COUNT_US = 30 * US_PER_S
"""How often fronts are looked at unless told otherwise: a rate is new after half a minute, and old after five."""
LOOKS = 10
"""Looks that a rate is a mean over: five minutes, which a burst of seconds does not fill."""
ROWS_MAX = 2_000
"""Workloads told at once: a message has to be well under a mebibyte. The busiest come first."""
MOST_MILLI = 10**12
"""A thousand million requests a second; what claims more is broken."""


def rate_milli(count: int, span_us: int) -> int:
    """Thousandths of a request a second: `count` requests in `span_us`, 1 or more."""
    return min(max(count, 0) * 1_000 * US_PER_S // span_us, MOST_MILLI)
