"""A country as a failure domain: stated in a manifest, weighed with what is seen, and named where it carries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hanse.control.history import observed_ppm
from hanse.core.fabric import Jurisdiction
from hanse.core.ids import CountryCode
from hanse.core.work import Slo
from hanse.manifest import ManifestError, load
from hanse.placement import PlacementSettings, audit, changes
from hanse.wire.account_messages import HistoryRecord, Outages
from hanse.wire.canonical import decode, encode
from hanse.wire.messages import SpecRecord

IRELAND = CountryCode("IE")
TEXT = "apiVersion: hanse.dev/v1\nkind: Jurisdiction\nmetadata: {name: %s}\nspec: {uptime: %s}\n"


def with_country(fabric, down_ppm: int):
    return replace(fabric, jurisdictions={IRELAND: Jurisdiction(id=IRELAND, down_ppm=down_ppm)})


def test_a_document_states_how_often_a_country_is_down() -> None:
    (stated,) = load([("f.yaml", TEXT % ("IE", "99.5%"))]).jurisdictions
    assert stated == Jurisdiction(id=IRELAND, down_ppm=5_000)
    for wrong in (TEXT % ("Ireland", "99.5%"), TEXT % ("IE", "101%")):
        with pytest.raises(ManifestError):
            load([("f.yaml", wrong)])
    with pytest.raises(ManifestError, match="duplicate"):
        load([("f.yaml", TEXT % ("IE", "99%") + "---\n" + TEXT % ("IE", "98%"))])


def test_records_of_before_read_on() -> None:
    old = encode(SpecRecord(accepted_us=1, accepted_by="t"))
    assert b"jurisdiction" in old, "the field is spelled out: whoever does not know it sets the record aside"
    plain = {"accepted_by": "t", "accepted_us": 1, "type": "spec.v1"}
    assert decode(encode(plain), SpecRecord).jurisdiction is None


def test_a_country_that_is_down_often_gets_company_from_another(eu) -> None:
    work = eu.function("w", slo=Slo(availability_ppm=997_000))
    calm, shaky = eu.fabric(), with_country(eu.fabric(), 20_000)
    assert eu.nodes_of(eu.decide(eu.snapshot(work, fabric=calm)), "clinic.w") == ["dub-1"]
    world = eu.snapshot(work, fabric=shaky)
    made = eu.decide(world)
    assert len(eu.nodes_of(made, "clinic.w")) == 2
    assert "country/IE is down 20000 ppm of the time, as stated" in made.explanations["clinic.w"].replicas_why
    assert audit(made, world, eu.verdicts(world)) == ()


def test_another_figure_concerns_every_plan(eu) -> None:
    one, other = (eu.snapshot(eu.triage(), fabric=with_country(eu.fabric(), ppm)) for ppm in (10, 20))
    assert changes(one, other, eu.verdicts(one), eu.verdicts(other)).is_wide


def test_what_is_seen_is_weighed_against_what_is_stated(eu) -> None:
    settings = PlacementSettings()
    record = HistoryRecord(
        until_us=1, watched_us=settings.history_prior_us, outages={"country/IE": Outages(0, 0)}, down=()
    )
    assert observed_ppm(record, eu.fabric(), settings) == {"country/IE": 5}
    assert observed_ppm(record, with_country(eu.fabric(), 5_000), settings) == {"country/IE": 2_500}
