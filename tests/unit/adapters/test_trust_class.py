"""Who may share a wasmtime engine."""

from __future__ import annotations

from dataclasses import replace

from hanse.adapters.engine_runtime import trust_class
from hanse.core.fabric import Resources
from hanse.core.ids import Digest, workload_id
from hanse.core.work import Data, Kind, Route, Workload

WORK = Workload(
    id=workload_id("clinic", "triage"),
    kind=Kind.FUNCTION,
    namespace="clinic",
    name="triage",
    artifact=Digest("sha256:" + "0" * 64),
    artifact_bytes=1,
    route=Route(path="/triage"),
    resources=Resources(),
    data=Data(classes=("personal", "health")),
)


def test_owners_never_share_and_neither_do_classes_of_data() -> None:
    other_owner = replace(WORK, namespace="shop")
    other_data = replace(WORK, data=Data(classes=("public",)))
    no_data = replace(WORK, data=Data())
    assert len({trust_class(one) for one in (WORK, other_owner, other_data, no_data)}) == 4


def test_the_order_in_which_classes_are_written_does_not_matter() -> None:
    assert trust_class(WORK) == "clinic/health/personal"
    assert trust_class(replace(WORK, data=Data(classes=("health", "personal", "health")))) == trust_class(WORK)
