"""Manifests under random input: units read exactly, unknown fields never pass, no text breaks the reader."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hanse.core import units
from hanse.manifest import ManifestError, Manifests, json_schema, load

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
DEFINITIONS = json_schema()["$defs"]


def base() -> dict[str, Any]:
    return {
        "apiVersion": "hanse.dev/v1",
        "kind": "Function",
        "metadata": {"name": "f"},
        "spec": {
            "source": "f.py",
            "route": {"path": "/f"},
            "resources": {"memory": "64Mi"},
            "slo": {"latency": {"p99": "40ms", "from": ["Berlin"]}, "availability": "99%"},
            "data": {"classes": ["public"]},
            "sovereignty": {"seal": {"legal": 1}, "control": {"exclude": ["US"]}, "location": {"only": ["EEA"]}},
            "objective": {"cost": 1.0},
            "budget": {"cost": "1 EUR/month"},
            "egress": [{"host": "x.org", "jurisdiction": "DE"}],
            "disruption": {"maxUnavailable": 1},
            "limits": {"requestBody": "1Mi"},
        },
    }


def mappings(value: Any) -> list[dict[str, Any]]:
    """Every mapping in the document, in order."""
    match value:
        case dict():
            return [value, *(found for inner in value.values() for found in mappings(inner))]
        case list():
            return [found for inner in value for found in mappings(inner)]
        case _:
            return []


BLOCKS = len(mappings(base()))


def load_value(value: Any) -> Manifests:
    return load([("f.yaml", yaml.safe_dump(value))])


@given(st.integers(0, BLOCKS - 1), st.text(alphabet="abcdefghijklmnopqrstuvwxyzABC_-", min_size=1, max_size=12))
def test_never_accepts_an_unknown_field(block: int, name: str) -> None:
    document = base()
    target = mappings(document)[block]
    known = {field for definition in DEFINITIONS.values() for field in definition["properties"]}
    field = name if name not in known else f"{name}-x"
    target[field] = 1
    with pytest.raises(ManifestError) as caught:
        load_value(document)
    assert [problem.message for problem in caught.value.problems] == ["unknown field"]
    assert caught.value.problems[0].field.endswith(field)


@given(st.text(max_size=400))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        load([("any.yaml", text)])
    except ManifestError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["metadata", "spec", "kind", "apiVersion"]),
)
def test_no_value_in_any_place_breaks_the_reader(value: Any, place: str) -> None:
    with pytest.raises(ManifestError):
        load_value(base() | {place: value})


@given(st.integers(2**20, 2**32))
def test_memory_reads_back_to_the_byte(count: int) -> None:
    document = base()
    document["spec"]["resources"]["memory"] = count
    (function,) = load_value(document).functions
    assert function.resources.memory_bytes == count


@given(st.integers(1, 60_000), st.sampled_from(["us", "ms"]))
def test_latency_is_exact_in_every_unit(number: int, unit: str) -> None:
    document = base()
    document["spec"]["slo"]["latency"]["p99"] = f"{number}{unit}"
    (function,) = load_value(document).functions
    assert function.slo.latency_p99_us == number * units.DURATION_UNITS[unit]


@given(st.integers(0, 999_999))
def test_availability_is_exact_to_the_millionth(ppm: int) -> None:
    document = base()
    document["spec"]["slo"]["availability"] = f"{Decimal(ppm) / 10_000}%"
    (function,) = load_value(document).functions
    assert function.slo.availability_ppm == ppm


@given(st.integers(0, 10**12), st.sampled_from(["hour", "day", "month", "year"]))
def test_budgets_scale_to_a_month_without_losing_more_than_one_microeur(microeur: int, period: str) -> None:
    document = base()
    document["spec"]["budget"]["cost"] = f"{Decimal(microeur) / 10**6:f} EUR/{period}"
    (function,) = load_value(document).functions
    exact = Decimal(microeur) * units.PERIODS_US["month"] / units.PERIODS_US[period]
    assert function.budget.cost_microeur_month is not None
    assert 0 <= exact - function.budget.cost_microeur_month < 1


@given(st.integers(0, 10**9), st.sampled_from(["mW", "W", "kW"]))
def test_power_is_exact_in_every_unit(number: int, unit: str) -> None:
    assert units.power_mw(f"{number}{unit}") == number * units.POWER_UNITS[unit]


@given(st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=6, unique=True))
def test_what_is_written_is_what_is_read(names: list[tuple[str, str]]) -> None:
    documents = []
    for namespace, name in names:
        document = base()
        document["metadata"] = {"namespace": namespace, "name": name}
        document["spec"]["route"]["path"] = f"/{namespace}/{name}"
        documents.append(document)
    loaded = load([("all.yaml", yaml.safe_dump_all(documents))])
    assert [(item.namespace, item.name) for item in loaded.functions] == sorted(
        names, key=lambda pair: f"{pair[0]}.{pair[1]}"
    )
    assert all(item.route.path == f"/{item.namespace}/{item.name}" for item in loaded.functions)
