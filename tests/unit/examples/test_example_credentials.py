"""The credential among the examples holds, and the policy that keeps a property is one that may be submitted."""

from __future__ import annotations

import datetime
from pathlib import Path

from hanse.adapters.package_data import read_packs
from hanse.app.issuers import read_issuers
from hanse.core.time import from_datetime
from hanse.identity.credential import verify_credential
from hanse.manifest import load
from hanse.policy import check_policy, in_force, parse_packs, properties_kept

EXAMPLES = Path(__file__).parents[3] / "examples"
NOW = from_datetime(datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC))


def test_the_credential_is_about_the_operator_that_the_page_names():
    token = (EXAMPLES / "credentials" / "c5.jwt").read_text().strip()
    issuers = read_issuers(EXAMPLES / "credentials" / "issuers.yaml")
    assert verify_credential(token, issuers, "did:web:hansa.example", NOW).name == "bsi-c5"


def test_the_policy_with_a_property_is_one():
    packs = parse_packs(read_packs())
    (document,) = load([("registry.yaml", (EXAMPLES / "policies" / "registry.yaml").read_text())]).policies
    check_policy(document.policy, "registry.yaml", document.line_before_rules, packs, NOW)
    laid, bound = in_force(packs, [document.policy], ())
    (kept,) = properties_kept(laid, [document.policy], bound)
    assert kept.id == "registry.p.place"
    assert {"c5", "gdpr", "registry.registry"} <= set(kept.packs)
