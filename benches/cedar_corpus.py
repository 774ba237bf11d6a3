"""The public Cedar corpus through the control plane's own path (`hanse.policy.evaluate.decide`): what disagrees.

`archive -> requests, errors, disagreements`. The corpus is not part of this repository: see ``HANSE_SHARED``.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

from hanse.policy.evaluate import decide

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = Path(os.environ.get("HANSE_SHARED", str(ROOT / ".." / "shared"))) / "data/cedar/corpus-tests.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How many policy sets and requests were asked, how many of them err, and every disagreement."""

    sets: int
    requests: int
    errors: int
    wrong: tuple[str, ...]


def compare(archive: Path = ARCHIVE, limit: int | None = None) -> Compared:
    """Ask every request of the first `limit` sets (None: all): decision and reasons must be the corpus's.

    A request in which a policy errs must be a denial here, whatever Cedar says: there an erring forbid fails open.
    """
    sets = requests = errors = 0
    wrong: list[str] = []
    for name, files in _sets(archive, limit):
        asked, erred, disagreed = _disagreements(name, files)
        sets, requests, errors, wrong = sets + 1, requests + asked, errors + erred, wrong + disagreed
    return Compared(sets=sets, requests=requests, errors=errors, wrong=tuple(wrong))


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
