"""The page of figures is what the benchmarks printed, and figures come from samples as stated."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


def test_the_page_is_rendered_from_the_kept_lines_and_not_typed():
    from benches.render import PAGE, render

    assert PAGE.read_text() == render(), "write it anew with `python -m benches.render`"


def test_percentiles_are_nearest_rank_and_say_how_many_samples():
    from benches.report import percentiles, spread

    assert percentiles([float(n) for n in range(1, 101)]) == {
        "p50": 50.5, "p90": 91.0, "p99": 100.0, "deviation": 25.0, "n": 100,
    }  # fmt: skip
    assert spread([2.0, 1.0, 4.0]) == {"median": 2.0, "min": 1.0, "max": 4.0, "n": 3}


def test_the_header_names_machine_and_command():
    from benches.report import header, pss_mib, rss_mib

    head = header("fabric")
    assert head["command"].startswith("python -m benches.fabric")
    assert head["machine"]["cores"] == os.cpu_count()
    assert 0 < pss_mib(os.getpid()) <= rss_mib(os.getpid())
