"""Token buckets: a burst, then the steady rate; the wait that is told is the wait that it takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hanse.core.rate import MICRO, Rate, filled, full, take
from hanse.core.time import MonoTime

MINUTE = 60_000_000


def test_a_burst_goes_through_and_then_one_a_second() -> None:
    rate = Rate(per_minute=60, burst=3)
    level, waits = full(rate, MonoTime(0)), []
    for _ in range(5):
        level, wait = take(level, rate, MonoTime(0))
        waits.append(wait)
    assert waits == [0, 0, 0, 1_000_000, 1_000_000]
    assert take(level, rate, MonoTime(999_999))[1] == 1
    level, wait = take(level, rate, MonoTime(1_000_000))
    assert (level.micro, wait) == (0, 0)


def test_a_long_rest_fills_no_more_than_the_burst() -> None:
    rate = Rate(per_minute=60, burst=3)
    assert filled(full(rate, MonoTime(0)), rate, MonoTime(10**15)).micro == 3 * MICRO


@given(
    per_minute=st.integers(1, 100_000), burst=st.integers(1, 1_000),
    steps=st.lists(st.integers(0, MINUTE), min_size=1, max_size=200),
)  # fmt: skip
def test_never_are_more_granted_than_burst_and_rate_allow(per_minute: int, burst: int, steps: list[int]) -> None:
    rate, now, granted = Rate(per_minute=per_minute, burst=burst), MonoTime(0), 0
    level = full(rate, now)
    for step in steps:
        now = MonoTime(now + step)
        level, wait = take(level, rate, now)
        granted += wait == 0
        assert granted <= burst + now * per_minute / MINUTE
        assert 0 <= level.micro <= burst * MICRO


@given(per_minute=st.integers(1, 100_000), gone=st.integers(0, MINUTE))
def test_never_is_a_wait_told_that_does_not_suffice(per_minute: int, gone: int) -> None:
    rate = Rate(per_minute=per_minute, burst=1)
    level, _ = take(full(rate, MonoTime(0)), rate, MonoTime(0))
    level, wait = take(level, rate, MonoTime(gone))
    if wait:
        assert take(level, rate, MonoTime(gone + wait))[1] == 0


def test_never_does_a_clock_that_steps_back_fill_anything() -> None:
    rate = Rate(per_minute=60, burst=1)
    level, _ = take(full(rate, MonoTime(5_000_000)), rate, MonoTime(5_000_000))
    assert take(level, rate, MonoTime(1_000_000))[1] > 0
