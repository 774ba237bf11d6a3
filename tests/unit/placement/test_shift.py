"""Work that may wait: the cleanest hours, never late, never for noise, and as good as the published bound."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.adapters.carbon_feed import CarbonFeedError, read_carbon_feed
from hanse.core.snapshot import Series
from hanse.core.time import HOUR_US, WallTime
from hanse.placement import Waiting, mean_of, shift

START = 1_795_262_400_000_000
SHARED = Path(os.environ.get("HANSE_SHARED", Path(__file__).parents[3].parent / "shared"))
HOURLY = SHARED / "data" / "carbon" / "decarb2022" / "ci_lca_hourly_2022_123zones.csv.gz"


def series(*values: int) -> Series:
    return Series(start_us=START, step_us=HOUR_US, values=values)


def waiting(hours: int, within: int, *, is_interruptible: bool = False) -> Waiting:
    return Waiting(
        duration_us=hours * HOUR_US,
        deadline_us=WallTime(START + within * HOUR_US),
        is_interruptible=is_interruptible,
    )


def hours_of(found) -> list[int]:
    return [h for start, end in found.runs for h in range((start - START) // HOUR_US, (end - START) // HOUR_US)]


def test_one_piece_takes_the_cheapest_window_and_pieces_take_the_cheapest_hours() -> None:
    forecast = series(400, 300, 100, 500, 90, 200, 200)
    one = shift(forecast, waiting(2, 7), now=WallTime(START))
    assert one is not None
    assert (hours_of(one), one.mean, one.mean_now) == ([4, 5], 145, 350)
    assert one.why == "it waits: 58.6 % less than at once, the forecast errs by 0 %"
    pieces = shift(forecast, waiting(2, 7, is_interruptible=True), now=WallTime(START))
    assert pieces is not None
    assert hours_of(pieces) == [2, 4]
    assert len(pieces.runs) == 2


def test_it_does_not_wait_for_less_than_the_forecast_errs() -> None:
    found = shift(series(100, 95), waiting(1, 2), now=WallTime(START), error_permille=100)
    assert found is not None
    assert hours_of(found) == [0]
    assert found.why == "it starts at once: waiting would save 5.0 %, the forecast errs by 10 %"


def test_a_deadline_that_cannot_be_met_is_no_answer() -> None:
    assert shift(series(1, 2, 3), waiting(3, 2), now=WallTime(START)) is None
    assert shift(series(1, 2, 3), waiting(4, 9), now=WallTime(START)) is None


@given(
    st.lists(st.integers(0, 900), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(0, 30),
    st.booleans(),
    st.integers(0, 300),
)
def test_never_late_never_early_never_dirtier_than_at_once(values, hours, within, late, pieces, error) -> None:
    now = WallTime(START + late * HOUR_US)
    asked = waiting(hours, within, is_interruptible=pieces)
    found = shift(series(*values), asked, now=now, error_permille=error)
    if found is None:
        assert min(len(values), within) - late < hours
        return
    assert len(hours_of(found)) == hours
    assert found.runs[0][0] >= now
    assert found.runs[-1][1] <= asked.deadline_us
    assert found.mean <= found.mean_now
    assert pieces or len(found.runs) == 1


def test_the_published_bound_of_one_hour_within_a_day_in_germany() -> None:
    """24 hours of slack, perfect knowledge: 23.3 % in Germany in 2022 (on the data of Sukprasert et al.).

    How the last day of the year is counted is not part of the figure, hence a tenth of a percent.
    """
    if not HOURLY.exists():
        pytest.skip(f"{HOURLY} is not there")
    with gzip.open(HOURLY, "rt", encoding="utf-8") as file:
        grams = [float(row["DE"]) for row in csv.DictReader(file)]
    year = series(*(round(g * 1_000) for g in grams))
    saved = at_once = 0
    for hour in range(len(grams) - 25):
        now = WallTime(START + hour * HOUR_US)
        job = Waiting(duration_us=HOUR_US, deadline_us=WallTime(now + 25 * HOUR_US))
        found = shift(year, job, now=now)
        assert found is not None
        saved += found.mean_now - found.mean
        at_once += found.mean_now
    assert abs(saved / at_once * 100 - 23.3) < 0.1


def test_a_feed_is_read_per_zone_and_a_gap_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "feed.csv"
    head = "zone,datetime,g_per_kwh\n"
    file.write_text(
        head + "DE,2026-11-22T00:00:00+00:00,310\nDE,2026-11-22T01:00:00Z,290.6\nFR,2026-11-22T00:00:00Z,50\n"
    )
    feed = read_carbon_feed(file)
    assert feed["DE"].values == (310, 291)
    assert mean_of(feed["DE"], now=WallTime(feed["DE"].start_us), ahead_us=24 * HOUR_US) == 300
    assert mean_of(feed["DE"], now=WallTime(feed["DE"].start_us + 9 * HOUR_US), ahead_us=HOUR_US) is None
    for wrong in (
        "DE,2026-11-22T00:00:00Z,1\nDE,2026-11-22T02:00:00Z,1\n",
        "DE,2026-11-22,x\n",
        "DE,2026-11-22T00:30:00Z,1\n",
    ):
        file.write_text(head + wrong)
        with pytest.raises(CarbonFeedError):
            read_carbon_feed(file)


def test_the_example_of_a_forecast_is_one() -> None:
    feed = read_carbon_feed(Path(__file__).parents[3] / "examples" / "carbon" / "forecast.csv")
    assert {len(one.values) for one in feed.values()} == {48}
