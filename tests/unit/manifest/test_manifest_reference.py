"""The committed reference is what the models say, and the JSON Schema describes the same language as the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hanse.manifest import json_schema, reference_markdown
from hanse.manifest.models import KINDS

REFERENCE = Path(__file__).parents[3] / "docs/reference"


def test_the_committed_page_is_the_generated_one() -> None:
    assert (REFERENCE / "manifest.md").read_text(encoding="utf-8") == reference_markdown()


def test_the_committed_schema_is_the_generated_one() -> None:
    assert json.loads((REFERENCE / "manifest.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_the_schema_forbids_unknown_fields_everywhere() -> None:
    objects = [definition for definition in json_schema()["$defs"].values() if definition["type"] == "object"]
    assert len(objects) > 20
    assert all(definition["additionalProperties"] is False for definition in objects)


def test_every_field_says_what_it_means() -> None:
    def fields(definition: dict[str, Any]) -> list[tuple[str, Any]]:
        return list(definition["properties"].items())

    silent = [
        f"{name}.{field}"
        for name, definition in json_schema()["$defs"].items()
        for field, schema in fields(definition)
        if not schema.get("description") and "$ref" not in schema
    ]
    assert silent == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_a_table_per_kind(kind: str) -> None:
    assert f"\n## {kind}\n" in reference_markdown()
