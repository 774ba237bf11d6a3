"""A table of measured round trips is read as it is, or refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hanse.adapters.latency import LatencyTableError, read_latency_table


def test_a_table_is_read_in_microseconds(tmp_path: Path) -> None:
    table = tmp_path / "rtt.csv"
    table.write_text("from,to,rtt_ms\nfrankfurt,paris,9.5\nparis,frankfurt,10\n")
    assert read_latency_table(table) == {("frankfurt", "paris"): 9_500, ("paris", "frankfurt"): 10_000}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n", ":1: the header"),
        ("from,to,rtt_ms\nfrankfurt,paris,fast\n", ":2: not a number"),
        ("from,to,rtt_ms\nfrankfurt,Paris,1\n", ":2: not a site"),
        ("from,to,rtt_ms\nfrankfurt,paris,-1\n", ":2: out of range"),
        ("from,to,rtt_ms\nfrankfurt,paris,nan\n", ":2: out of range"),
        ("from,to,rtt_ms\nfrankfurt\n", ":2: not a site"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "rtt.csv"
    table.write_text(text)
    with pytest.raises(LatencyTableError, match=said):
        read_latency_table(table)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LatencyTableError, match=r"gone\.csv"):
        read_latency_table(tmp_path / "gone.csv")
