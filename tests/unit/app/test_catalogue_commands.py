"""The catalogue of regions: whole, honest about what was checked, and of use for manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hanse.adapters.catalogue import CatalogueError, manifests_of, operator_of, parse_catalogue, read_catalogue, site_of
from hanse.adapters.package_data import read_packs
from hanse.app.cli import main
from hanse.manifest import load
from hanse.policy import control_reach, parse_packs

SHIPPED = Path(__file__).parents[3] / "src" / "hanse" / "data" / "catalogue.yaml"


def _said(capsys: pytest.CaptureFixture[str]) -> Any:
    return msgspec.json.decode(capsys.readouterr().out)


def test_at_least_a_hundred_regions_of_a_dozen_providers_in_known_countries() -> None:
    catalogue = read_catalogue()
    regions = [region for provider in catalogue.values() for region in provider.regions]
    known = parse_packs(read_packs()).facts.countries
    assert len(catalogue) >= 12
    assert len(regions) >= 100
    assert {region.country for region in regions} <= set(known)
    assert {"aws-eusc", "bleu", "s3ns", "delos", "oracle-eusc"} <= set(catalogue), "the sovereign offers"


def test_every_region_becomes_manifests_that_load_and_say_the_same() -> None:
    for provider in read_catalogue().values():
        for region in provider.regions:
            manifests = load([("region.yaml", manifests_of(provider, region))])
            assert manifests.sites == (site_of(provider, region),)
            assert manifests.operators == (operator_of(provider),)


def test_location_is_not_control_here_either() -> None:
    catalogue = read_catalogue()
    reach = {name: {str(c) for c, _ in control_reach(operator_of(p), {})} for name, p in catalogue.items()}
    assert reach["aws-eusc"] == {"DE", "US"}
    assert reach["bleu"] == {"FR"}
    assert "US" not in reach["scaleway"]


def test_list_show_and_refresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(tmp_path / "state"), "-o", "json"]
    assert main(["catalogue", "list", "--country", "DE", "--free-of", "US", *state]) == 0
    rows = _said(capsys)
    assert rows
    assert all(row["country"] == "DE" and "US" not in row["control"] for row in rows)
    assert main(["catalogue", "show", "scaleway/fr-par", *state]) == 0
    assert "gridZone: FR" in _said(capsys)["manifests"]
    assert main(["catalogue", "show", "scaleway/nowhere", *state]) == 3
    assert main(["catalogue", "show", "nobody/x", *state]) == 3
    own = tmp_path / "own.yaml"
    own.write_text(SHIPPED.read_text(encoding="utf-8").replace("city: Gravelines", "city: Dunkirk"))
    capsys.readouterr()
    assert main(["catalogue", "refresh", str(own), *state]) == 0
    assert _said(capsys)["changed"] == ["ovh/gra"]
    assert main(["catalogue", "show", "ovh/gra", *state]) == 0
    assert _said(capsys)["city"] == "Dunkirk"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id: hetzner\n", "id: ovh\n", "stands twice"),
        ("country: DE, latitude: 49.45", "country: Germany, latitude: 49.45", "no country code"),
        ("latitude: 50.99", "latitude: 150.99", "off the globe"),
        ("id: fsn1", "id: nbg1", "stands twice"),
        ("share_permille: 640", "share_permille: 6400", "out of range"),
        ("as_of: 2026-11-21\nproviders", "providers", "as_of"),
        ('source: "https://aws.eu"', 'source: "hearsay"', "no source"),
    ],
)
def test_a_wrong_table_is_refused_whole(old: str, new: str, said: str) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(CatalogueError, match=said):
        parse_catalogue(text.replace(old, new, 1))
