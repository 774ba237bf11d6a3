"""Proves: through the control plane's own path Cedar decides as its public corpus says, and an error is never an allow.

A slice of the corpus runs here; ``HANSE_CORPUS=all`` runs all 7,809 policy sets (62,472 requests).
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from hanse.policy.evaluate import decide

ROOT = Path(__file__).parents[3]
ARCHIVE = Path(os.environ.get("HANSE_SHARED", str(ROOT / ".." / "shared"))) / "data/cedar/corpus-tests.tar.gz"
SLICE = 300


def _sets(archive: Path, limit: int | None) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Policy sets in the archive's order: name -> its four files by suffix."""
    pending: dict[str, dict[str, str]] = {}
    given = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile():
                continue
            name, _, suffix = Path(member.name).name.partition(".")
            stream = tar.extractfile(member)
            assert stream is not None
            files = pending.setdefault(name, {})
            files[suffix] = stream.read().decode()
            if len(files) == 4:
                yield name, pending.pop(name)
                given += 1
                if given == limit:
                    return


def _disagreements(name: str, files: Mapping[str, str]) -> tuple[int, int, list[str]]:
    test: dict[str, Any] = json.loads(files["json"])
    schema = cedarpy.Schema.from_str(files["cedarschema"])
    policies = cedarpy.PolicySet.from_str(files["cedar"])
    entities = cedarpy.Entities.from_json_str(files["entities.json"], schema)
    wrong, errors = [], 0
    for request in test["requests"]:
        asked = {key: request[key] for key in ("principal", "action", "resource", "context")}
        got = decide([asked], policies, entities, schema if request["validateRequest"] else None)[0]
        errors += bool(request["errors"])
        if got.is_allowed != (request["decision"] == "allow" and not request["errors"]):
            wrong.append(f"{name} {request['description']}: decision")
        elif (not request["errors"] or request["decision"] == "deny") and set(got.policies) != set(request["reason"]):
            wrong.append(f"{name} {request['description']}: reasons")
    return len(test["requests"]), errors, wrong


def test_the_public_corpus() -> None:
    if not ARCHIVE.exists():
        pytest.skip(f"the Cedar corpus is not at {ARCHIVE}; set HANSE_SHARED")
    limit = None if os.environ.get("HANSE_CORPUS") == "all" else SLICE
    total = errors = 0
    wrong: list[str] = []
    for name, files in _sets(ARCHIVE, limit):
        asked, erred, disagreed = _disagreements(name, files)
        total, errors, wrong = total + asked, errors + erred, wrong + disagreed
    assert wrong == []
    assert total >= 8 * SLICE
    assert errors > 0, "the slice must hold policies that error, or it proves nothing of them"
