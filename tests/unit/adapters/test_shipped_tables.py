"""The tables that ship with hanse are whole, and serve the example fabric."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from hanse.adapters.gazetteer import read_gazetteer
from hanse.adapters.intensity import read_intensities
from hanse.core.geo import great_circle_m
from hanse.manifest import load

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("HANSE_SHARED", ROOT / "../shared"))


def test_the_gazetteer_knows_every_origin_and_site_of_the_examples() -> None:
    places = read_gazetteer()
    assert len(places) >= 150
    assert list(places) == sorted(places)
    for path in sorted((ROOT / "examples/functions").glob("*/function.yaml")):
        for document in load([(path.name, path.read_text(encoding="utf-8"))]).functions:
            assert set(document.slo.origins) <= set(places)
    text = (ROOT / "examples/fabric/europe.yaml").read_text(encoding="utf-8")
    for site in load([("europe.yaml", text)]).sites:
        assert great_circle_m(site.place, places[site.place.city]) < 1_000


def test_distances_between_known_cities_are_right() -> None:
    places = read_gazetteer()
    # Great circle distances as published by several calculators, to the nearest 10 km.
    for a, b, kilometres in (("Berlin", "Paris", 880), ("London", "New York", 5_570), ("Sydney", "Auckland", 2_160)):
        assert great_circle_m(places[a], places[b]) / 1_000 == pytest.approx(kilometres, abs=15)


def test_every_zone_of_the_example_fabric_has_an_intensity() -> None:
    intensities = read_intensities()
    assert list(intensities) == sorted(intensities)
    text = (ROOT / "examples/fabric/europe.yaml").read_text(encoding="utf-8")
    assert {site.grid_zone for site in load([("europe.yaml", text)]).sites} <= set(intensities)


def test_intensities_are_the_means_of_their_source() -> None:
    path = SHARED / "data/carbon/decarb2022/ci_lca_hourly_2022_123zones.csv.gz"
    if not path.is_file():
        pytest.skip(f"reference data is missing: {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        zones = lines.readline().strip().split(",")[1:]
        sums, hours = [0.0] * len(zones), 0
        for line in lines:
            hours += 1
            for index, value in enumerate(line.strip().split(",")[1:]):
                sums[index] += float(value)
    means = {zone: total / hours for zone, total in zip(zones, sums, strict=True)}
    assert hours == 8_760
    for zone, grams in read_intensities().items():
        assert abs(means[zone] - grams) <= 0.5, zone
